//! Parameters of statements.

use std::borrow::Cow;
use std::fmt;

/// A parameter of a statement; [`params!`](crate::params) makes them.
///
/// What has no variant of its own goes as text: Postgres reads a [`Text`](Value::Text) as whatever
/// type the parameter has, so `uuid.to_string()`, `"2026-11-21T10:00:00Z"` and `"12.50"` are right
/// for a `uuid`, a `timestamptz` and a `numeric`.
///
/// `Debug` does not show what it holds: parameters are data, and have no place in logs.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Value<'v> {
    /// `NULL`.
    Null,
    /// `boolean`; in SQLite 0 or 1.
    Bool(bool),
    /// Any integer that fits the type of the parameter.
    Int(i64),
    /// Any floating-point number.
    Float(f64),
    /// Text, or the text form of any other type.
    Text(Cow<'v, str>),
    /// `bytea`; in SQLite a blob.
    Bytes(Cow<'v, [u8]>),
}

impl Value<'_> {
    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(value) => Value::Bool(value),
            Value::Int(value) => Value::Int(value),
            Value::Float(value) => Value::Float(value),
            Value::Text(value) => Value::Text(Cow::Owned(value.into_owned())),
            Value::Bytes(value) => Value::Bytes(Cow::Owned(value.into_owned())),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Value::Null => "Null",
            Value::Bool(_) => "Bool(_)",
            Value::Int(_) => "Int(_)",
            Value::Float(_) => "Float(_)",
            Value::Text(_) => "Text(_)",
            Value::Bytes(_) => "Bytes(_)",
        })
    }
}

macro_rules! from_copied {
    ($variant:ident, $into:ty: $($from:ty),+) => {$(
        impl From<$from> for Value<'_> {
            fn from(value: $from) -> Self {
                Value::$variant(<$into>::from(value))
            }
        }

        impl From<&$from> for Value<'_> {
            fn from(value: &$from) -> Self {
                Value::$variant(<$into>::from(*value))
            }
        }
    )+};
}

from_copied!(Bool, bool: bool);
from_copied!(Int, i64: i8, i16, i32, i64, u8, u16, u32);
from_copied!(Float, f64: f32, f64);

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(text: &'v String) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Value::Text(Cow::Owned(text))
    }
}

impl<'v> From<Cow<'v, str>> for Value<'v> {
    fn from(text: Cow<'v, str>) -> Self {
        Value::Text(text)
    }
}

impl<'v> From<&'v [u8]> for Value<'v> {
    fn from(bytes: &'v [u8]) -> Self {
        Value::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'v, const N: usize> From<&'v [u8; N]> for Value<'v> {
    fn from(bytes: &'v [u8; N]) -> Self {
        Value::Bytes(Cow::Borrowed(bytes))
    }
}

impl<'v> From<&'v Vec<u8>> for Value<'v> {
    fn from(bytes: &'v Vec<u8>) -> Self {
        Value::Bytes(Cow::Borrowed(bytes))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Value::Bytes(Cow::Owned(bytes))
    }
}

/// JSON as text: for `json` and `jsonb`, and SQLite's functions.
impl From<&serde_json::Value> for Value<'_> {
    fn from(json: &serde_json::Value) -> Self {
        Value::Text(Cow::Owned(json.to_string()))
    }
}

impl From<serde_json::Value> for Value<'_> {
    fn from(json: serde_json::Value) -> Self {
        Value::from(&json)
    }
}

impl<'v, T: Into<Value<'v>>> From<Option<T>> for Value<'v> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// The parameters of a statement, in order: `params![7, "Ada", None::<i64>]`.
///
/// In the statement they are `$1`, `$2` and so on, for every database.
#[macro_export]
macro_rules! params {
    () => { &[] as &[$crate::Value<'_>] };
    ($($value:expr),+ $(,)?) => { &[$($crate::Value::from($value)),+][..] };
}
