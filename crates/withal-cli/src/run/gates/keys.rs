//! Values of a gate's keys, as job files and `--with` have them.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::message::shown;

/// The name of an environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
        OsString::from(name).try_into()
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

/// `"500ms"`, `"5s"`, `"1h 30m"`, or plain seconds, as a number or a text.
pub(crate) fn duration<'de, D>(deserializer: D) -> Result<Option<Duration>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Seconds(u64),
        Fraction(f64),
        Text(String),
    }

    let text = match Written::deserialize(deserializer) {
        Ok(Written::Seconds(seconds)) => seconds.to_string(),
        Ok(Written::Fraction(seconds)) => seconds.to_string(),
        Ok(Written::Text(text)) => text,
        Err(_) => {
            return Err(D::Error::custom(
                "not a duration; write it as text, as \"5s\"",
            ));
        }
    };
    let parsed = crate::cli::duration(&text);
    parsed.map(Some).map_err(D::Error::custom)
}
