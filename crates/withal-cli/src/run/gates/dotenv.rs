//! Files of variables, as dotenv has them.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context as _;

use super::Variable;
use crate::message::shown;

/// The variables of a file, in its order. What is wrong is said with its place, and without what
/// stands there.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<(Variable, OsString)>> {
    let name = shown(path);
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("`{name}` cannot be read"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    parse(text)
        .map_err(|Flaw { line, column, why }| anyhow::anyhow!("{name}:{line}:{column}: {why}"))
}

/// Something wrong, and where, counted from 1.
#[derive(Debug, PartialEq, Eq)]
struct Flaw {
    line: usize,
    column: usize,
    why: &'static str,
}

fn parse(text: &str) -> Result<Vec<(Variable, OsString)>, Flaw> {
    if let Some(flaw) = refers_to_nothing(text) {
        return Err(flaw);
    }
    let taken = Cell::new(0);
    let lines = Lines {
        rest: text.as_bytes(),
        taken: &taken,
        is_at_start: true,
    };
    let mut variables = Vec::new();
    for entry in dotenvy::Iter::new(lines) {
        let (name, value) = entry.map_err(|error| flaw(text, taken.get(), &error))?;
        let at_its_end = |why| Flaw {
            line: taken.get(),
            column: 1,
            why,
        };
        if value.contains('\0') {
            return Err(at_its_end("a NUL character, which no variable can have"));
        }
        let name = Variable::try_from(OsString::from(name));
        let name = name.map_err(|_| at_its_end("not a variable's name"))?;
        variables.push((name, value.into()));
    }
    Ok(variables)
}

/// The first `$` that does not stand for a variable: the parser would leave it out, and what follows
/// it. A password may have one.
fn refers_to_nothing(text: &str) -> Option<Flaw> {
    let mut known: HashSet<&str> = HashSet::new();
    let (mut line, mut line_start, mut entry_start) = (1, 0, 0);
    let (mut quote, mut is_escaped, mut is_comment) = (None, false, false);
    let mut before = '\n';
    for (at, character) in text.char_indices() {
        let (_, rest) = text.split_at(at);
        match (quote, character) {
            _ if std::mem::take(&mut is_escaped) => {}
            (None, '\n') => {
                let (_, entry) = text.split_at(entry_start);
                let name = entry.split('=').next().unwrap_or_default();
                let name = name.trim_start().trim_start_matches("export ");
                let _ = known.insert(name.trim());
                (entry_start, is_comment) = (at + 1, false);
            }
            _ if is_comment => {}
            (None, '#') if before.is_whitespace() => is_comment = true,
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None | Some('"'), '\\') => is_escaped = true,
            (None | Some('"'), '$') => {
                let stands = referred(rest)
                    .is_none_or(|name| known.contains(name) || std::env::var_os(name).is_some());
                if !stands {
                    return Some(Flaw {
                        line,
                        column: text.get(line_start..at).unwrap_or_default().chars().count() + 1,
                        why: "`$` stands before the name of no variable that is set here; for the \
                              sign itself write `\\$`, or put the value between single quotes",
                    });
                }
            }
            _ => {}
        }
        if character == '\n' {
            (line, line_start) = (line + 1, at + 1);
        }
        before = character;
    }
    None
}

/// The name that a `$` at the beginning refers to, perhaps an empty one; nothing if that is for the
/// parser to refuse.
fn referred(text: &str) -> Option<&str> {
    let name = text.get(1..).unwrap_or_default();
    match name.strip_prefix('{') {
        Some(braced) => braced.split_once('}').map(|(name, _)| name),
        None => {
            let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
            let end = name.find(|character| !is_part(character));
            name.get(..end.unwrap_or(name.len()))
        }
    }
}

/// Gives a text line by line, so that the parser, which counts no lines, has taken no more of it
/// than it has looked at. The last line is ended for it: it takes a space before the end otherwise
/// for something that goes on.
struct Lines<'a> {
    rest: &'a [u8],
    /// How many lines were taken.
    taken: &'a Cell<usize>,
    is_at_start: bool,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let line = match self.rest.iter().position(|byte| *byte == b'\n') {
            Some(newline) => self.rest.split_at(newline + 1).0,
            None if self.rest.is_empty() && !self.is_at_start => b"\n",
            None => self.rest,
        };
        let part = line.split_at(line.len().min(buffer.len())).0;
        if let (Some(space), [.., last]) = (buffer.get_mut(..part.len()), part) {
            space.copy_from_slice(part);
            if std::mem::replace(&mut self.is_at_start, *last == b'\n') {
                self.taken.set(self.taken.get() + 1);
            }
        }
        self.rest = self.rest.get(part.len()..).unwrap_or_default();
        Ok(part.len())
    }
}

/// Where in `text` the parser has failed, having taken that many lines.
///
/// It gives the entry, or its value alone, and how many characters of that were good.
fn flaw(text: &str, taken: usize, error: &dotenvy::Error) -> Flaw {
    let dotenvy::Error::LineParse(part, good) = error else {
        return Flaw {
            line: taken,
            column: 1,
            why: "cannot be read",
        };
    };
    let height = part.lines().count().max(1);
    let first = (taken + 1).saturating_sub(height).max(1);
    let entry: Vec<&str> = text.lines().skip(first - 1).take(height).collect();
    let entry = entry.join("\n");
    let is_whole = entry.starts_with(part.trim_end());
    let before = match is_whole {
        true => 0,
        false => entry.find('=').map_or(0, |equals| {
            let value = entry.get(equals..).unwrap_or_default();
            equals + value.find(part.trim_end()).unwrap_or_default()
        }),
    };
    let (good, why) = if is_whole && *good >= part.len() && part.contains('=') {
        (0, "a quote without its end")
    } else if is_whole {
        (*good, "not of the form NAME=VALUE")
    } else if let Some(open) = part.rfind("${").filter(|at| !part[*at..].contains('}')) {
        (part[..open].chars().count(), "`${` without its `}`")
    } else {
        let why = "not a value: quote one with spaces; `\\` stands before `\\`, a quote, `$`, a space or `n` only";
        (*good, why)
    };
    let before: String = entry
        .chars()
        .take(entry[..before].chars().count() + good)
        .collect();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Flaw {
        line: first + before.matches('\n').count(),
        column: before[line_start..].chars().count() + 1,
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::{Flaw, parse};

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let parsed = parse(text).unwrap();
        let parsed: Vec<_> = parsed
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect();
        assert_eq!(parsed, expected, "{text:?}");
    }

    #[test]
    fn variables_are_written_as_dotenv_has_them() {
        check("", &[]);
        check("\n# A=1\n\n", &[]);
        check("A=1", &[("A", "1")]);
        check("A=1 ", &[("A", "1")]);
        check("A=1\r\nB=2 # two\r\n", &[("A", "1"), ("B", "2")]);
        check(
            "export A='a b'\nB=\"x\ny\"\n",
            &[("A", "a b"), ("B", "x\ny")],
        );
        check("A=\nA=2", &[("A", ""), ("A", "2")]);
        check("A='$B'\nC=<${A}>", &[("A", "$B"), ("C", "<$B>")]);
        check("A=pa\\$word # $x", &[("A", "pa$word")]);
        check(
            "A=1\nexport B=$A\nC=\"${B}\"",
            &[("A", "1"), ("B", "1"), ("C", "1")],
        );
    }

    #[test]
    fn what_is_wrong_has_a_place_and_is_not_shown() {
        let check = |text: &str, line: usize, column: usize, part: &str| {
            let flaw = parse(text).unwrap_err();
            assert_eq!(
                (flaw.line, flaw.column),
                (line, column),
                "{text:?}: {flaw:?}"
            );
            assert!(flaw.why.contains(part), "{flaw:?}");
        };
        check("A=1\n\nB 2\n", 3, 3, "NAME=VALUE");
        check("2A=1", 1, 1, "NAME=VALUE");
        check("# ü\n=1", 2, 1, "NAME=VALUE");
        check("A=b c", 1, 5, "quote one with spaces");
        check("A=1\nB='x\ny\nz\n", 2, 1, "a quote without its end");
        check("A=\"x\ny\" z", 2, 4, "quote one with spaces");
        check("A=ü\\q", 1, 5, "not a value");
        check("A=1\nB=x${C", 2, 4, "without its `}`");
        check("A=a\0b", 1, 1, "NUL");
        let nothing = "the name of no variable";
        check("A=1\nTOKEN=pa$word", 2, 9, nothing);
        check("A=abc$\nB=2", 1, 6, nothing);
        check("A=a$1b", 1, 4, nothing);
        check("A=ü${NOPE_NOT_SET}", 1, 4, nothing);
        check("A=\"pa$word\"", 1, 6, nothing);
        check("A=1 # $x\n# $y\nB='$z'\nC=\"\n$A${B}$\"", 5, 7, nothing);
        let long = format!("A='{}'\nB", "x".repeat(100_000));
        assert_eq!(
            parse(&long),
            Err(Flaw {
                line: 2,
                column: 2,
                why: "not of the form NAME=VALUE"
            })
        );
    }
}
