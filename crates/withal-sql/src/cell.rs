//! One value of an answer, whatever database it came from.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::value::SeqDeserializer;
use serde::de::{Error as _, IntoDeserializer, Visitor};

/// A value as the database gave it.
#[derive(Debug)]
#[cfg_attr(
    not(feature = "postgres"),
    expect(dead_code, reason = "SQLite has no such values")
)]
pub(crate) enum Cell<'c> {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A number that may be too exact for a float, as text.
    Decimal(String),
    Text(Cow<'c, str>),
    Bytes(&'c [u8]),
    Json(&'c str),
    Array(Vec<Cell<'c>>),
}

#[cfg(feature = "sqlite")]
impl Cell<'_> {
    pub(crate) fn of_sqlite(value: &rusqlite::types::Value) -> Cell<'_> {
        use rusqlite::types::Value;
        match value {
            Value::Null => Cell::Null,
            Value::Integer(value) => Cell::Int(*value),
            Value::Real(value) => Cell::Float(*value),
            Value::Text(text) => Cell::Text(Cow::Borrowed(text)),
            Value::Blob(bytes) => Cell::Bytes(bytes),
        }
    }
}

/// Why a value is not what was asked for.
#[derive(Debug)]
pub(crate) struct Problem {
    message: String,
    is_of_column: bool,
}

impl Problem {
    pub(crate) fn of_row(message: String) -> Problem {
        Problem {
            message,
            is_of_column: false,
        }
    }

    /// It is about the column that was read last.
    pub(crate) fn in_column(self) -> Problem {
        Problem {
            is_of_column: true,
            ..self
        }
    }

    pub(crate) fn is_of_column(&self) -> bool {
        self.is_of_column
    }
}

impl serde::de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Problem {
        Problem::of_row(message.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Reads a value as whatever is asked for and loses nothing: as a float, a fraction is rounded, but
/// no whole number is, and nothing becomes an infinity or zero.
pub(crate) struct CellDeserializer<'c>(pub(crate) Cell<'c>);

impl<'c> IntoDeserializer<'c, Problem> for Cell<'c> {
    type Deserializer = CellDeserializer<'c>;

    fn into_deserializer(self) -> CellDeserializer<'c> {
        CellDeserializer(self)
    }
}

fn json<'c, V: Visitor<'c>>(
    text: &'c str,
    read: impl FnOnce(
        &mut serde_json::Deserializer<serde_json::de::StrRead<'c>>,
        V,
    ) -> serde_json::Result<V::Value>,
    visitor: V,
) -> Result<V::Value, Problem> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = read(&mut reader, visitor).map_err(Problem::custom)?;
    reader.end().map_err(Problem::custom)?;
    Ok(value)
}

/// Numbers that came as text.
macro_rules! as_number {
    ($($method:ident $visit:ident $number:ty),+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            match &self.0 {
                Cell::Decimal(text) => match text.parse::<$number>() {
                    Ok(number) => visitor.$visit(number),
                    Err(_) => self.deserialize_any(visitor),
                },
                _ => self.deserialize_any(visitor),
            }
        }
    )+};
}

fn is_equal(int: i64, float: impl Into<f64>) -> bool {
    // A float of that size is whole, and fits.
    float.into() as i128 == i128::from(int)
}

fn narrow(wide: f64) -> Option<f32> {
    let float = wide as f32;
    let is_kept = match wide.fract() == 0.0 {
        true => f64::from(float) == wide,
        false => float != 0.0,
    };
    is_kept.then_some(float)
}

/// A number that came as text.
fn float<F: FromStr + Copy + Into<f64>>(text: &str) -> Option<F> {
    let float: F = text.parse().ok()?;
    let wide: f64 = float.into();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_kept = match fraction.trim_end_matches('0') {
        // All digits of the float are written.
        "" => text.ends_with("Infinity") || format!("{wide:.0}") == whole,
        _ => wide.is_finite() && wide != 0.0,
    };
    is_kept.then_some(float)
}

fn inexact(kind: &str, others: &str) -> Problem {
    Problem::of_row(format!(
        "the number is none that {kind} has: read it as {others} or, cast to text, as String"
    ))
}

/// Structure that came as JSON, and in SQLite as text.
macro_rules! as_json {
    ($self:ident, $visitor:ident, $read:expr) => {
        match $self.0 {
            Cell::Json(text) | Cell::Text(Cow::Borrowed(text)) => json(text, $read, $visitor),
            _ => $self.deserialize_any($visitor),
        }
    };
}

impl<'de> serde::Deserializer<'de> for CellDeserializer<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Cell::Null => visitor.visit_none(),
            Cell::Bool(value) => visitor.visit_bool(value),
            Cell::Int(value) => visitor.visit_i64(value),
            Cell::Float(value) => visitor.visit_f64(value),
            Cell::Decimal(text) => visitor.visit_string(text),
            Cell::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Cell::Text(Cow::Owned(text)) => visitor.visit_string(text),
            Cell::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Cell::Json(text) => json(
                text,
                |reader, visitor| serde::Deserializer::deserialize_any(reader, visitor),
                visitor,
            ),
            Cell::Array(cells) => visitor.visit_seq(SeqDeserializer::new(cells.into_iter())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Cell::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    /// SQLite has no booleans.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Cell::Int(value @ (0 | 1)) => visitor.visit_bool(value == 1),
            _ => self.deserialize_any(visitor),
        }
    }

    as_number! {
        deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i128,
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32, deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u128
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let number = match &self.0 {
            Cell::Int(value) => Some(*value as f32).filter(|float| is_equal(*value, *float)),
            Cell::Float(value) => narrow(*value),
            Cell::Decimal(text) => float(text),
            _ => return self.deserialize_any(visitor),
        };
        visitor.visit_f32(number.ok_or_else(|| inexact("f32", "f64, i64"))?)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let number = match &self.0 {
            Cell::Int(value) => Some(*value as f64).filter(|float| is_equal(*value, *float)),
            Cell::Decimal(text) => float(text),
            _ => return self.deserialize_any(visitor),
        };
        visitor.visit_f64(number.ok_or_else(|| inexact("f64", "i64"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Cell::Json(text) => visitor.visit_borrowed_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.0 {
            Cell::Bytes(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.iter().copied())),
            _ => as_json!(self, visitor, |reader, visitor| {
                serde::Deserializer::deserialize_seq(reader, visitor)
            }),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        as_json!(self, visitor, |reader, visitor| {
            serde::Deserializer::deserialize_map(reader, visitor)
        })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        as_json!(self, visitor, |reader, visitor| {
            serde::Deserializer::deserialize_struct(reader, name, fields, visitor)
        })
    }

    /// A variant's name; or, of JSON, whatever serde made of it.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.0 {
            Cell::Text(text) => visitor.visit_enum(text.into_deserializer()),
            Cell::Json(text) => json(
                text,
                |reader, visitor| {
                    serde::Deserializer::deserialize_enum(reader, name, variants, visitor)
                },
                visitor,
            ),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct identifier ignored_any
    }
}
