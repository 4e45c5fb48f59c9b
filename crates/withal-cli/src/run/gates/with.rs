//! `--with`: a gate of any kind, with the keys a job file has for it.

use std::ops::Range;
use std::path::Path;

use clap::ArgMatches;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

use super::{Origin, Planned, described};
use crate::source::Flaw;
use crate::wording;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Any gate with its keys, as `tempdir:id=work,env=SCRATCH`; a `service`, a process beside the
    /// command, and a `hook`, programs that acquire and release, are asked for only so
    #[arg(short, long, value_name = "KIND[:KEY=VALUE,…]")]
    with: Vec<String>,
}

impl Options {
    /// The gates, each with its position on the command line.
    pub(super) fn planned(self, matches: &ArgMatches) -> anyhow::Result<Vec<(usize, Planned)>> {
        let positions = matches.indices_of("with").into_iter().flatten();
        let planned = positions.zip(&self.with).map(|(position, text)| {
            let planned = parse(text);
            let planned = planned.map_err(|why| anyhow::anyhow!("--with {}: {why}", kind(text)));
            Ok((position, planned?))
        });
        planned.collect()
    }
}

/// The kind alone: the keys may have secrets.
fn kind(text: &str) -> &str {
    text.split(':').next().unwrap_or(text)
}

fn parse(text: &str) -> Result<Planned, String> {
    let (name, keys) = text.split_once(':').unwrap_or((text, ""));
    let keys = in_toml(keys)?;
    let keys = parsed(&keys).ok_or("its keys are not as in TOML")?;
    let name = Spanned::new(0..0, name.to_owned());
    let values = keys.get_ref().iter();
    let values = values.map(|(key, value)| (key.get_ref().to_string(), value.span()));
    let values: Vec<_> = values.collect();
    let planned = described(&name, keys, Path::new("")).map_err(|flaw| why(flaw, &values))?;
    Ok(Planned {
        origin: planned.origin.map(Origin::elsewhere),
        ..planned
    })
}

/// Why it is wrong, and with which of the keys, for nothing points there.
fn why(flaw: Flaw, values: &[(String, Range<usize>)]) -> String {
    let Flaw { span, why } = flaw;
    // A text without its brackets is taken for one in quotes.
    let brackets = ["a text, not a list; ", "a text, not a table; "];
    let misfit = brackets.into_iter().find(|it| why.starts_with(it));
    let why = match misfit {
        Some(misfit) => {
            format!("{misfit}texts in brackets stand in quotes, as {{A=\"b\"}} and [\"c\"]")
        }
        None => why,
    };
    let key = span.and_then(|span| {
        let mut values = values.iter();
        values.find(|(_, value)| value.start <= span.start && span.end <= value.end)
    });
    match key {
        Some((key, _)) if wording::is_misfit(&why) => format!("`{key}`: {why}"),
        _ => why,
    }
}

/// The keys as a table of TOML: as they are, or, if they are none, with quotes around texts.
fn in_toml(text: &str) -> Result<String, String> {
    let as_it_is = format!("keys = {{{text}}}");
    if parsed(&as_it_is).is_some() {
        return Ok(as_it_is);
    }
    let pairs = pairs(text).into_iter().map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("`{pair}`: no value; write `key=value`"))?;
        let (key, value) = (key.trim(), value.trim());
        let value = match DeTable::parse(&format!("value = {value}")) {
            Ok(_) => value.to_owned(),
            Err(_) => Value::from(value).to_string(),
        };
        Ok(format!("{key} = {value}"))
    });
    let pairs: Result<Vec<String>, String> = pairs.collect();
    Ok(format!("keys = {{{}}}", pairs?.join(", ")))
}

/// The parts between commas, but for those in brackets and quotes.
fn pairs(text: &str) -> Vec<&str> {
    let mut pairs = Vec::new();
    let (mut start, mut depth, mut quote, mut is_escaped) = (0, 0_usize, None, false);
    for (at, character) in text.char_indices() {
        match (quote, character) {
            _ if std::mem::take(&mut is_escaped) => {}
            (Some('"'), '\\') => is_escaped = true,
            (Some(open), _) if open == character => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, '[' | '{') => depth += 1,
            (None, ']' | '}') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                pairs.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    pairs.push(text.get(start..).unwrap_or_default());
    pairs
}

fn parsed(text: &str) -> Option<Spanned<DeTable<'_>>> {
    let mut table = DeTable::parse(text).ok()?;
    let keys = table.get_mut().remove("keys")?;
    match (keys.span(), keys.into_inner()) {
        (span, DeValue::Table(keys)) => Some(Spanned::new(span, keys)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use toml::{Table, Value};

    use super::{in_toml, parse};

    #[test]
    fn keys_are_written_as_in_toml_or_without_quotes() {
        let check = |text: &str, expected: &[(&str, Value)]| {
            let expected = expected.iter().cloned();
            let expected = expected.map(|(key, value)| (key.to_owned(), value));
            let table: Table = in_toml(text).unwrap().parse().unwrap();
            assert_eq!(table["keys"], Value::Table(expected.collect()), "{text}");
        };
        let text = |text: &str| Value::String(text.to_owned());
        check("", &[]);
        check(
            "path=a/b.lock,wait=5s",
            &[("path", text("a/b.lock")), ("wait", text("5s"))],
        );
        check(
            "path='a,b', n=5",
            &[("path", text("a,b")), ("n", Value::Integer(5))],
        );
        check(
            "on=true,path=x",
            &[("on", Value::Boolean(true)), ("path", text("x"))],
        );
        let words = Value::Array(vec![text("rm"), text("-r")]);
        check(r#"release=["rm", "-r"]"#, &[("release", words.clone())]);
        check(
            r#"id=h,release=["rm", "-r"],path="a,\"b""#,
            &[
                ("id", text("h")),
                ("release", words),
                ("path", text("a,\"b")),
            ],
        );
        check("path=it's,b=c", &[("path", text("it's,b=c"))]);
        check("path=a \"b\" \\c", &[("path", text("a \"b\" \\c"))]);
        assert!(in_toml("path").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_without_values() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).err().as_deref(), Some(expected), "{text}");
        };
        let kinds = crate::run::gates::NAMES.join(", ");
        check(
            "elephant",
            &format!("`elephant`: no such kind of gate; there are {kinds}"),
        );
        check(
            "tempdri",
            "`tempdri`: no such kind of gate; did you mean `tempdir`?",
        );
        check("lock:", "no `path`; write `path = …`");
        check(
            "tempdir:enc=X",
            "a gate `tempdir` has no key `enc`; did you mean `env`?",
        );
        check(
            "tempdir:id=a b",
            "`a b`: no id; write letters, digits, `-` and `_`",
        );
        check(
            "tempdir:when=never",
            "`never`: not known; write `always` or `env:NAME`",
        );
        let remedy = "texts in brackets stand in quotes, as {A=\"b\"} and [\"c\"]";
        check(
            "env:set={TOKEN=\"s3cret\",MODE=test}",
            &format!("`set`: a text, not a table; {remedy}"),
        );
        check(
            "hook:acquire=[\"true\"],release=[s3cret]",
            &format!("`release`: a text, not a list; {remedy}"),
        );
        check(
            "tempdir:size_limit=5,env=6",
            "`env`: a number, not a text; write it in quotes",
        );
        check(
            "tempdir:env=A=B",
            "`A=B`: not a variable's name; write one as `NAME`, without `=`",
        );
        check(
            "lock:path=a,wait=x",
            "not a duration; write `500ms`, `5s`, `10m`, `1h` or plain seconds",
        );
    }
}
