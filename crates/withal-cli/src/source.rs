//! A TOML file, and what is wrong with it: which line, what there, and what to write instead.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::DeTable;

use crate::confidential;
use crate::message::{MASK, shown};
use crate::wording;

/// The text of a file.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    text: String,
}

/// Something in it that is wrong.
#[derive(Debug)]
pub(crate) struct Flaw {
    /// Where, in bytes; nowhere in particular if it is something that is not there.
    pub(crate) span: Option<Range<usize>>,
    pub(crate) why: String,
}

impl Flaw {
    pub(crate) fn at(span: Range<usize>, why: impl Into<String>) -> Flaw {
        Flaw {
            span: Some(span),
            why: why.into(),
        }
    }

    pub(crate) fn anywhere(why: impl Into<String>) -> Flaw {
        Flaw {
            span: None,
            why: why.into(),
        }
    }
}

impl From<toml::de::Error> for Flaw {
    fn from(error: toml::de::Error) -> Flaw {
        let message = error.message().trim().replace('\n', "; ");
        Flaw {
            span: error.span(),
            why: wording::of(&message),
        }
    }
}

/// A flaw with its file; several lines, the last two of which show the place.
#[derive(Debug)]
pub(crate) struct BadSource(String);

impl fmt::Display for BadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSource {}

impl Source {
    pub(crate) fn read(path: &Path) -> Result<Source, BadSource> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Source {
                path: path.to_owned(),
                text,
            }),
            Err(error) => Err(BadSource(format!(
                "{}: cannot be read: {error}",
                shown(path)
            ))),
        }
    }

    /// The directory that its paths are relative to.
    pub(crate) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    pub(crate) fn parse<T: DeserializeOwned>(&self) -> Result<T, Flaw> {
        toml::from_str(&self.text).map_err(Flaw::from)
    }

    /// The file as a table.
    pub(crate) fn table(&self) -> Result<Spanned<DeTable<'_>>, Flaw> {
        DeTable::parse(&self.text).map_err(Flaw::from)
    }

    /// What is written at `span`.
    pub(crate) fn written(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }

    /// Where in `span` the text `part` stands; `span` itself if it is written there in other ways.
    pub(crate) fn part(&self, span: Range<usize>, part: &str) -> Range<usize> {
        self.written(span.clone())
            .find(part)
            .map_or(span.clone(), |at| {
                let start = span.start + at;
                start..start + part.len()
            })
    }

    /// Shows a flaw where it is. Passwords and values of variables are not shown.
    pub(crate) fn report(&self, flaw: &Flaw) -> BadSource {
        let path = shown(&self.path);
        let (why, _) = masked(&flaw.why);
        let Some(span) = flaw.span.clone() else {
            return BadSource(format!("{path}: {why}"));
        };
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let number = before.matches('\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text.get(line_start..).unwrap_or_default();
        let line = line.lines().next().unwrap_or_default();
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;

        let line_end = line_start + line.len();
        let values = confidential::places(&self.text).into_iter();
        let values = values.filter(|value| value.start < line_end && line_start < value.end);
        let values = values.map(|value| {
            value.start.saturating_sub(line_start)..value.end.min(line_end) - line_start
        });
        let (text, place) = masked_at(line, merged(secrets(line), values));
        let from = place(span.start - line_start);
        let to = place((span.end - line_start).min(line.len())).max(from);
        let width = |part: Option<&str>| part.unwrap_or_default().chars().count();
        let indent = " ".repeat(width(text.get(..from)));
        let carets = "^".repeat(width(text.get(from..to)).max(1));
        // A tab is as wide as the place it stands at says; one space is what can be counted with.
        let text = text.replace('\t', " ");
        let margin = " ".repeat(number.to_string().len());
        BadSource(format!(
            "{path}:{number}:{column}: {why}\n {number} | {text}\n {margin} | {indent}{carets}"
        ))
    }
}

/// The text without the passwords of its URLs, and where in it is what was at a byte before.
fn masked(text: &str) -> (String, impl Fn(usize) -> usize + use<>) {
    masked_at(text, secrets(text))
}

/// The same for what stands at `secrets`.
fn masked_at(text: &str, secrets: Vec<Range<usize>>) -> (String, impl Fn(usize) -> usize + use<>) {
    let mut masked = String::new();
    let mut end = 0;
    for secret in &secrets {
        masked.push_str(text.get(end..secret.start).unwrap_or_default());
        masked.push_str(MASK);
        end = secret.end;
    }
    masked.push_str(text.get(end..).unwrap_or_default());
    let place = move |at: usize| {
        let mut removed = 0;
        let mut added = 0;
        for secret in secrets.iter().take_while(|secret| secret.start < at) {
            if at < secret.end {
                return secret.start + added - removed;
            }
            removed += secret.len();
            added += MASK.len();
        }
        at + added - removed
    };
    (masked, place)
}

/// The places of both, in order; those that are parts of `values` are not counted twice.
fn merged(
    mut places: Vec<Range<usize>>,
    values: impl Iterator<Item = Range<usize>>,
) -> Vec<Range<usize>> {
    for value in values {
        places.retain(|place| place.end <= value.start || value.end <= place.start);
        places.push(value);
    }
    places.sort_by_key(|place| place.start);
    places
}

/// Where passwords may stand: between `://user:` and the last `@` of the URL, in an option
/// `password=`. Without an `@` it is the rest of the URL, which may be a password cut short.
fn secrets(text: &str) -> Vec<Range<usize>> {
    let mut secrets = Vec::new();
    let ends = ['"', '\'', '`', ' ', '\t', '\n'];
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find("://")) {
        let start = from + found + "://".len();
        let url = text.get(start..).unwrap_or_default();
        let url = url
            .get(..url.find(ends).unwrap_or(url.len()))
            .unwrap_or_default();
        let end = start + url.rfind('@').unwrap_or(url.len());
        if let Some(colon) = url.find(':').map(|colon| start + colon + 1)
            && colon < end
        {
            secrets.push(colon..end);
        }
        from = start + url.len();
    }
    const OPTION: &str = "password=";
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(OPTION)) {
        let start = from + found + OPTION.len();
        let rest = text.get(start..).unwrap_or_default();
        let is_end = |c: char| c == '&' || ends.contains(&c);
        let end = start + rest.find(is_end).unwrap_or(rest.len());
        let is_hidden = secrets
            .iter()
            .any(|secret| secret.start <= start && end <= secret.end);
        if !is_hidden && start < end {
            secrets.push(start..end);
        }
        from = end;
    }
    secrets.sort_by_key(|secret| secret.start);
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, part: &str, expected: &str) {
        let source = Source {
            path: "a.toml".into(),
            text: text.to_owned(),
        };
        let start = text.find(part).unwrap();
        let flaw = Flaw::at(start..start + part.len(), "why");
        assert_eq!(source.report(&flaw).to_string(), expected);
    }

    #[test]
    fn a_flaw_is_shown_where_it_is() {
        check(
            "a = 1\nnme = 2\n",
            "nme",
            "a.toml:2:1: why\n 2 | nme = 2\n   | ^^^",
        );
        check(
            "é = 'ü' # x",
            "'ü'",
            "a.toml:1:5: why\n 1 | é = 'ü' # x\n   |     ^^^",
        );
        check(
            "\ta = [\n1\n]",
            "[\n1\n]",
            "a.toml:1:6: why\n 1 |  a = [\n   |      ^",
        );
        check("a =", "", "a.toml:1:1: why\n 1 | a =\n   | ^");
    }

    #[test]
    fn passwords_are_not_shown_and_carets_stay_in_place() {
        check(
            "url = \"postgres://ada:s3cret@db/orders\" # here",
            "# here",
            "a.toml:1:41: why\n 1 | url = \"postgres://ada:***@db/orders\" # here\n   |                                      ^^^^^^",
        );
        check(
            "url = \"postgres://ada:p@ss@db\"",
            "\"postgres://ada:p@ss@db\"",
            "a.toml:1:7: why\n 1 | url = \"postgres://ada:***@db\"\n   |       ^^^^^^^^^^^^^^^^^^^^^^^",
        );
    }

    #[test]
    fn what_may_be_a_password_is_masked() {
        let check = |text: &str, expected: &str| assert_eq!(masked(text).0, expected);
        check("postgres://ada:s3cret", "postgres://ada:***");
        check(
            "'postgres://ada:s3@cret@h:1/d'",
            "'postgres://ada:***@h:1/d'",
        );
        check(
            "postgres://h/d?password=s3&a=b",
            "postgres://h/d?password=***&a=b",
        );
        check(
            "postgres://a:b@h postgres://c:d@h",
            "postgres://a:***@h postgres://c:***@h",
        );
        check("postgres://ada@h/d", "postgres://ada@h/d");
        check("sqlite:orders.db", "sqlite:orders.db");
    }
}
