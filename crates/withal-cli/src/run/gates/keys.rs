//! Values of a gate's keys, as job files and `--with` have them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, forward_to_deserialize_any};
use toml::Spanned;
use toml::de::DeString;

use super::Taken;
use crate::message::shown;
use crate::source::Flaw;
use crate::suggest;

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Variable(OsString);

impl Variable {
    pub(super) fn named(name: &'static str) -> Variable {
        Variable(name.into())
    }
}

impl TryFrom<OsString> for Variable {
    type Error = String;

    fn try_from(name: OsString) -> Result<Variable, String> {
        let text = shown(&name);
        let is_name = !text.is_empty() && !text.contains('=') && !text.contains('\0');
        match is_name {
            true => Ok(Variable(name)),
            false => Err(format!("`{text}`: not a variable's name")),
        }
    }
}

impl TryFrom<String> for Variable {
    type Error = String;

    fn try_from(name: String) -> Result<Variable, String> {
        let name = Variable::try_from(OsString::from(name));
        name.map_err(|why| format!("{why}; write one as `NAME`, without `=`"))
    }
}

impl AsRef<OsStr> for Variable {
    fn as_ref(&self) -> &OsStr {
        &self.0
    }
}

impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

/// A path or another text of the system in a journal: as text where it is one, else as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Bytes {
    Text(String),
    Raw(Vec<u8>),
}

impl<T: AsRef<OsStr> + ?Sized> From<&T> for Bytes {
    fn from(text: &T) -> Bytes {
        let text = text.as_ref();
        match text.to_str() {
            Some(text) => Bytes::Text(text.to_owned()),
            None => Bytes::Raw(text.as_bytes().to_vec()),
        }
    }
}

impl From<Bytes> for OsString {
    fn from(bytes: Bytes) -> OsString {
        match bytes {
            Bytes::Text(text) => text.into(),
            Bytes::Raw(bytes) => OsString::from_vec(bytes),
        }
    }
}

impl From<Bytes> for PathBuf {
    fn from(bytes: Bytes) -> PathBuf {
        OsString::from(bytes).into()
    }
}

/// `NAME` or `NAME=VALUE`.
pub(super) fn split(argument: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = argument.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=');
    match equals.map(|equals| bytes.split_at(equals)) {
        Some((name, [_, value @ ..])) => (OsStr::from_bytes(name), Some(OsStr::from_bytes(value))),
        _ => (argument, None),
    }
}

/// A port to listen on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Value")]
pub(super) enum Port {
    /// One that nobody listens on.
    #[default]
    Free,
    Number(u16),
}

impl Port {
    /// What the kernel takes for it: it chooses one if it is 0.
    pub(super) fn number(self) -> u16 {
        match self {
            Port::Free => 0,
            Port::Number(number) => number,
        }
    }
}

impl Port {
    /// One that is free is nobody's.
    pub(super) fn takes(self) -> Option<Taken> {
        match self {
            Port::Free => None,
            Port::Number(number) => Some(Taken::Port(number)),
        }
    }
}

impl TryFrom<toml::Value> for Port {
    type Error = &'static str;

    fn try_from(value: toml::Value) -> Result<Port, &'static str> {
        const REMEDY: &str = "not a port; write a number from 1 to 65535, or \"free\"";
        match value {
            toml::Value::String(text) if text == "free" => Ok(Port::Free),
            toml::Value::Integer(number) => {
                let number = u16::try_from(number).ok().filter(|number| *number > 0);
                number.map(Port::Number).ok_or(REMEDY)
            }
            _ => Err(REMEDY),
        }
    }
}

/// `"500ms"`, `"5s"`, `"1h 30m"`, or plain seconds, as a number or a text.
pub(crate) fn duration<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    let remedy = "not a duration; write it as text, as \"5s\"";
    let parsed = crate::cli::duration(&written(deserializer, remedy)?);
    parsed.map(Some).map_err(D::Error::custom)
}

/// `"64MiB"`, or bytes, as a number or a text.
pub(super) fn size<'de, D>(deserializer: D) -> Result<Option<u64>, D::Error>
where
    D: Deserializer<'de>,
{
    let text = written(deserializer, "not a size; write it as text, as \"64MiB\"")?;
    let parsed = crate::log::size(&text);
    let parsed = parsed.map_err(|why| D::Error::custom(format!("`{text}`: {why}")));
    parsed.map(Some)
}

/// The text of a quantity, which may be written as a number.
fn written<'de, D>(deserializer: D, remedy: &str) -> Result<String, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Fraction(f64),
        Text(String),
    }

    match Written::deserialize(deserializer) {
        Ok(Written::Number(number)) => Ok(number.to_string()),
        Ok(Written::Fraction(number)) => Ok(number.to_string()),
        Ok(Written::Text(text)) => Ok(text),
        Err(_) => Err(D::Error::custom(remedy)),
    }
}

/// A text that `parse` reads.
pub(crate) fn parsed<'de, D, T>(
    deserializer: D,
    parse: fn(&str) -> Result<T, String>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(|why| D::Error::custom(format!("`{text}`: {why}")))
}

/// A key that `what` does not have.
pub(crate) fn unknown(key: &Spanned<DeString<'_>>, what: &str, known: &[&str]) -> Flaw {
    let name = key.get_ref();
    let instead = suggest::instead(name, known);
    Flaw::at(key.span(), format!("{what} has no key `{name}`; {instead}"))
}

/// The keys of a table that is read as `T`; nothing if its `Deserialize` was not derived, or does
/// not know them itself.
pub(crate) fn of<'de, T: Deserialize<'de>>() -> Option<&'static [&'static str]> {
    let mut keys = None;
    let _refused = T::deserialize(Ask(&mut keys));
    keys
}

/// The same for a table whose `Deserialize` is derived.
pub(crate) fn keys_of_table<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    of::<T>().unwrap_or_default()
}

/// Takes note of what is asked for, and has nothing to give.
struct Ask<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> Deserializer<'de> for Ask<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        *self.0 = Some(fields);
        Err(Self::Error::custom("nothing to give"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("nothing to give"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
