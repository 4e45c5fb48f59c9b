//! `--with`: a gate of any kind, with the keys a job file has for it.

use clap::ArgMatches;
use serde::Deserialize;
use toml::{Table, Value};

use super::noted::Limits;
use super::{NAMES, Planned, keys, read};

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Any gate with its keys, as `tempdir:id=work,env=SCRATCH`
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
    let keys = table(keys)?;
    let read = planned(name, name, keys);
    read.ok_or_else(|| format!("no such kind of gate; there are {}", NAMES.join(", ")))?
        .map_err(|error| error.message().to_owned())
}

/// The keys that gates of every kind have.
#[derive(Debug, Deserialize)]
struct Common {
    id: Option<String>,
    #[serde(default, deserialize_with = "keys::duration")]
    timeout: Option<std::time::Duration>,
    #[serde(default, deserialize_with = "keys::duration")]
    teardown_timeout: Option<std::time::Duration>,
}

const COMMON: [&str; 3] = ["id", "timeout", "teardown_timeout"];

/// A gate of the kind `name`; `None` if there is no such kind.
fn planned(name: &str, label: &str, mut keys: Table) -> Option<Result<Planned, toml::de::Error>> {
    let mut common = Table::new();
    for key in COMMON {
        common.extend(keys.remove_entry(key));
    }
    let common: Common = match common.try_into() {
        Ok(common) => common,
        Err(error) => return Some(Err(error)),
    };
    let gate = match read(name, keys)? {
        Ok(gate) => gate,
        Err(error) => return Some(Err(error)),
    };
    let label = common.id.as_deref().unwrap_or(label).to_owned();
    Some(Ok(Planned {
        label,
        id: common.id,
        limits: Limits {
            acquire: common.timeout,
            release: common.teardown_timeout,
        },
        gate,
    }))
}

/// `key=value` after `key=value`, as in TOML, where a text needs no quotes.
fn table(text: &str) -> Result<Table, String> {
    if let Ok(table) = format!("keys = {{{text}}}").parse::<Table>()
        && let Some(Value::Table(keys)) = table.get("keys")
    {
        return Ok(keys.clone());
    }
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("`{pair}`: no value; write `key=value`"))?;
        Ok((key.trim().to_owned(), value_of(value.trim())))
    });
    pairs.collect()
}

fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>();
    let parsed = parsed.ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use toml::Value;

    use super::{parse, table};

    #[test]
    fn keys_are_written_as_in_toml_or_without_quotes() {
        let check = |text: &str, expected: &[(&str, Value)]| {
            let expected = expected.iter().cloned();
            let expected = expected
                .map(|(key, value)| (key.to_owned(), value))
                .collect();
            assert_eq!(table(text), Ok(expected), "{text}");
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
        check(r#"release=["rm", "-r"]"#, &[("release", words)]);
        assert!(table("path").is_err());
    }

    #[test]
    fn what_is_wrong_is_said_without_values() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).err().as_deref(), Some(expected), "{text}");
        };
        let kinds = super::NAMES.join(", ");
        check("temp", &format!("no such kind of gate; there are {kinds}"));
        check("lock:", "missing field `path`");
        check("tempdir:enc=X", "unknown field `enc`, expected `env`");
        check("tempdir:env=A=B", "`A=B`: not a variable's name");
        check(
            "lock:path=a,wait=x",
            "not a duration; write `500ms`, `5s`, `10m`, `1h` or plain seconds",
        );
    }
}
