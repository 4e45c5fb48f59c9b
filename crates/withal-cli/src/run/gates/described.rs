//! A gate as a table of keys describes it, in a job file or after `--with`.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::noted::Limits;
use super::{NAMES, Planned, Unresolved, Variable, keys, keys_of, read};
use crate::source::{Flaw, Source};
use crate::suggest;

/// The keys that gates of every kind have.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    id: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "keys::duration")]
    timeout: Option<Duration>,
    #[serde(default, deserialize_with = "keys::duration")]
    teardown_timeout: Option<Duration>,
    #[serde(default)]
    when: When,
}

pub(super) const COMMON: [&str; 4] = ["id", "timeout", "teardown_timeout", "when"];

/// When a gate is acquired.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum When {
    #[default]
    Always,
    /// If this variable is set, and not to nothing.
    Set(Variable),
}

impl When {
    pub(super) fn holds(&self) -> bool {
        match self {
            When::Always => true,
            When::Set(variable) => std::env::var_os(variable).is_some_and(|it| !it.is_empty()),
        }
    }
}

impl TryFrom<String> for When {
    type Error = String;

    fn try_from(text: String) -> Result<When, String> {
        match text.split_once(':') {
            None if text == "always" => Ok(When::Always),
            Some(("env", name)) => Ok(When::Set(name.to_owned().try_into()?)),
            _ => Err(format!("`{text}`: not known; write `always` or `env:NAME`")),
        }
    }
}

/// Where a gate is described.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// In the job file; nowhere if it is not described there.
    span: Option<Range<usize>>,
    /// Its texts, which may refer to other gates.
    texts: Vec<Spanned<String>>,
}

impl Origin {
    /// A text of a file.
    pub(crate) fn of(span: Range<usize>, source: &Source) -> Origin {
        let text = Spanned::new(span.clone(), source.written(span.clone()).to_owned());
        Origin {
            span: Some(span),
            texts: vec![text],
        }
    }

    /// What is wrong, where it is.
    pub(crate) fn flaw(&self, error: &anyhow::Error, source: &Source) -> Flaw {
        let why = format!("{error:#}");
        let Some(unresolved) = error.downcast_ref::<Unresolved>() else {
            return Flaw {
                span: self.span.clone(),
                why,
            };
        };
        let reference = unresolved.reference.to_string();
        let mut texts = self.texts.iter();
        let span = match texts.find(|text| text.get_ref().contains(&reference)) {
            Some(text) => Some(source.part(text.span(), &reference)),
            None => self.span.clone(),
        };
        Flaw { span, why }
    }

    /// The same, described elsewhere than in a job file.
    pub(super) fn elsewhere(self) -> Origin {
        Origin { span: None, ..self }
    }

    /// Whether it is described in a job file.
    pub(super) fn is_in_file(&self) -> bool {
        self.span.is_some()
    }

    /// Whether a text of it refers to the gate `id`.
    pub(super) fn refers_to(&self, id: &str) -> bool {
        let reference = format!("${{{id}.");
        let mut texts = self.texts.iter();
        texts.any(|text| text.get_ref().contains(&reference))
    }
}

/// The gate of the kind `name` with these keys; relative paths in them are relative to `directory`.
pub(crate) fn described(
    name: &Spanned<String>,
    mut keys: Spanned<DeTable<'_>>,
    directory: &Path,
) -> Result<Planned, Flaw> {
    let (span, name) = (name.span(), name.get_ref().as_str());
    if !NAMES.contains(&name) {
        let why = format!(
            "`{name}`: no such kind of gate; {}",
            suggest::instead(name, NAMES)
        );
        return Err(Flaw::at(span, why));
    }
    let origin = Origin {
        span: Some(keys.span()),
        texts: texts(keys.get_ref()),
    };
    check_keys(name, keys.get_ref())?;
    check_dates(keys.get_ref())?;
    modes_as_text(keys.get_mut());
    let mut common = DeTable::new();
    for key in COMMON {
        common.extend(keys.get_mut().remove_entry(key));
    }
    let common = Deserializer::from(Spanned::new(keys.span(), common));
    let common = Common::deserialize(common).map_err(Flaw::from)?;
    if let Some(id) = &common.id {
        check_id(id)?;
    }
    let span = keys.span();
    let gate = read(name, Deserializer::from(keys)).expect("the kind is among the names");
    let gate = gate.map_err(|error| {
        let flaw = Flaw::from(error);
        Flaw {
            span: flaw.span.or(Some(span)),
            ..flaw
        }
    })?;
    let id = common.id.map(Spanned::into_inner);
    Ok(Planned {
        id: id.clone(),
        limits: Limits {
            acquire: common.timeout,
            release: common.teardown_timeout,
        },
        when: common.when,
        directory: directory.to_owned(),
        origin: Some(origin),
        ..Planned::new(id.unwrap_or_else(|| name.to_owned()), gate)
    })
}

/// A mode is read as it is written: 600 means the digits of `"600"`, and so does 0o600.
fn modes_as_text(keys: &mut DeTable<'_>) {
    if let Some(mode) = keys.get_mut("mode")
        && let DeValue::Integer(number) = mode.get_ref()
        && matches!(number.radix(), 8 | 10)
    {
        let digits = number.as_str().to_owned();
        *mode.get_mut() = DeValue::String(digits.into());
    }
}

fn check_keys(name: &str, keys: &DeTable<'_>) -> Result<(), Flaw> {
    let Some(own) = keys_of(name) else {
        return Ok(());
    };
    let known = [own, &COMMON].concat();
    match keys
        .keys()
        .find(|key| !known.contains(&key.get_ref().as_ref()))
    {
        Some(unknown) => Err(keys::unknown(unknown, &format!("a gate `{name}`"), &known)),
        None => Ok(()),
    }
}

fn check_id(id: &Spanned<String>) -> Result<(), Flaw> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_".contains(c);
    let name = id.get_ref();
    if name.is_empty() || !name.chars().all(is_plain) {
        let why = format!("`{name}`: no id; write letters, digits, `-` and `_`");
        return Err(Flaw::at(id.span(), why));
    }
    if name == super::template::ENVIRONMENT {
        let why = "`env` is the environment, as in `${env.HOME}`; give the gate another id";
        return Err(Flaw::at(id.span(), why));
    }
    Ok(())
}

/// All texts of a table, tables in it included.
fn texts(table: &DeTable<'_>) -> Vec<Spanned<String>> {
    fn collect(value: &Spanned<DeValue<'_>>, texts: &mut Vec<Spanned<String>>) {
        match value.get_ref() {
            DeValue::String(text) => texts.push(Spanned::new(value.span(), text.to_string())),
            DeValue::Array(values) => values.iter().for_each(|value| collect(value, texts)),
            DeValue::Table(table) => table.values().for_each(|value| collect(value, texts)),
            _ => {}
        }
    }
    let mut all = Vec::new();
    table.values().for_each(|value| collect(value, &mut all));
    all
}

/// Looks for dates and times: no key has one, and to serde they look like tables.
pub(crate) fn check_dates(table: &DeTable<'_>) -> Result<(), Flaw> {
    fn check(value: &Spanned<DeValue<'_>>) -> Result<(), Flaw> {
        match value.get_ref() {
            DeValue::Datetime(_) => {
                const WHY: &str = "a date or time, not a text; write it in quotes";
                Err(Flaw::at(value.span(), WHY))
            }
            DeValue::Array(values) => values.iter().try_for_each(check),
            DeValue::Table(table) => check_dates(table),
            _ => Ok(()),
        }
    }
    table.values().try_for_each(check)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use toml::Spanned;
    use toml::de::{DeTable, DeValue};

    use super::{COMMON, described};
    use crate::run::kinds;
    use crate::source::Flaw;
    use crate::wording::tests::{VALUES, check_words};

    /// What is wrong with a gate that has these keys.
    fn flaw(kind: &str, keys: &str) -> Option<Flaw> {
        let text = format!("gate = {{ {keys} }}");
        let mut table = DeTable::parse(&text).unwrap();
        let gate = table.get_mut().remove("gate").unwrap();
        let span = gate.span();
        let DeValue::Table(gate) = gate.into_inner() else {
            panic!("{text}");
        };
        let kind = Spanned::new(0..0, kind.to_owned());
        described(&kind, Spanned::new(span, gate), Path::new("")).err()
    }

    #[test]
    fn whatever_is_wrong_with_a_key_is_said_in_our_words_in_its_place_with_what_to_write() {
        let mut flaws = 0;
        for (kind, keys, _) in kinds() {
            let mut texts = vec![String::new(), "nosuch = 1".to_owned()];
            for key in keys.iter().chain(&COMMON) {
                texts.extend(VALUES.iter().map(|value| format!("{key} = {value}")));
            }
            for keys in texts {
                if let Some(flaw) = flaw(kind, &keys) {
                    check_words(&format!("{kind} {keys}"), &flaw);
                    flaws += 1;
                }
            }
        }
        assert!(flaws > 500, "{flaws}");
    }

    #[test]
    fn a_key_that_is_missing_or_not_known_is_named() {
        for (kind, keys, _) in kinds() {
            let flaw = flaw(kind, "nosuch = 1").unwrap();
            assert!(
                flaw.why
                    .contains(&format!("`{kind}` has no key `nosuch`; "))
            );
            assert!(keys.iter().all(|key| flaw.why.contains(key)), "{flaw:?}");
        }
        let check = |kind: &str, key: &str| {
            let flaw = flaw(kind, "").unwrap();
            assert_eq!(flaw.why, format!("no `{key}`; write `{key} = …`"));
        };
        for kind in ["lock", "output", "log", "env-file"] {
            check(kind, "path");
        }
        for kind in ["pg-lock", "redis-lock"] {
            check(kind, "key");
        }
        check("mock", "file");
        check("service", "command");
    }

    #[test]
    fn keys_in_tables_are_checked_as_well() {
        let check = |ready: &str| {
            let keys = format!("command = ['a'], ready = {ready}");
            check_words(&keys, &flaw("service", &keys).unwrap());
        };
        for key in ["tcp", "http", "log", "exec", "within"] {
            for value in VALUES {
                let ready = format!("{{ {key} = {value} }}");
                if flaw("service", &format!("command = ['a'], ready = {ready}")).is_some() {
                    check(&ready);
                }
            }
        }
        check("{ tpc = 'a' }");
        check("{}");
        check("{ tcp = 'a', http = 'b' }");
    }
}
