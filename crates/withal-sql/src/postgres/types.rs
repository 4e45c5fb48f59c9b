//! Parameters to the server, and values from it.

use std::borrow::Cow;
use std::error::Error as StdError;

use jiff::civil::{Date, DateTime, Time};
use jiff::{SignedDuration, Span, Timestamp};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Column, Row};

use crate::Value;
use crate::cell::Cell;

type BoxError = Box<dyn StdError + Sync + Send>;

/// A parameter, in binary where its type is that of the statement's, else as text, which the
/// server reads as whatever it needs.
#[derive(Debug)]
pub(super) struct Param<'p, 'v>(pub(super) &'p Value<'v>);

impl ToSql for Param<'_, '_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match (self.0, self.encode_format(ty)) {
            (Value::Null, _) => return Ok(IsNull::Yes),
            (Value::Bool(value), Format::Binary) => return value.to_sql(ty, out),
            (Value::Int(value), Format::Binary) => match *ty {
                Type::INT2 => return i16::try_from(*value)?.to_sql(ty, out),
                Type::INT4 => return i32::try_from(*value)?.to_sql(ty, out),
                _ => return value.to_sql(ty, out),
            },
            (Value::Float(value), Format::Binary) => return value.to_sql(ty, out),
            (Value::Bytes(bytes), Format::Binary) => return bytes.as_ref().to_sql(ty, out),
            (Value::Bytes(_), Format::Text) => {
                return Err(format!("bytes are no {}", ty.name()).into());
            }
            (Value::Text(text), _) => out.extend_from_slice(text.as_bytes()),
            (Value::Bool(value), Format::Text) => {
                out.extend_from_slice(value.to_string().as_bytes())
            }
            (Value::Int(value), Format::Text) => {
                out.extend_from_slice(value.to_string().as_bytes())
            }
            (Value::Float(value), Format::Text) => {
                out.extend_from_slice(value.to_string().as_bytes())
            }
        }
        Ok(IsNull::No)
    }

    fn encode_format(&self, ty: &Type) -> Format {
        let is_binary = match self.0 {
            Value::Null => true,
            Value::Bool(_) => *ty == Type::BOOL,
            Value::Int(_) => [Type::INT2, Type::INT4, Type::INT8].contains(ty),
            Value::Float(_) => *ty == Type::FLOAT8,
            Value::Bytes(_) => *ty == Type::BYTEA,
            Value::Text(_) => false,
        };
        match is_binary {
            true => Format::Binary,
            false => Format::Text,
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// A value of a row.
#[inline]
pub(crate) fn cell(row: &Row, column: usize) -> Result<Cell<'_>, BoxError> {
    match (row.try_get(column)?, row.columns().get(column)) {
        (Raw(Some(raw)), Some(column)) => decode(column.type_(), raw),
        _ => Ok(Cell::Null),
    }
}

/// A value of a row, if it is a whole number.
#[inline]
pub(crate) fn int(row: &Row, column: usize) -> Option<i64> {
    let (ty, raw) = typed(row, column)?;
    match *ty {
        Type::INT2 => Some(i16::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT4 => Some(i32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT8 => Some(i64::from_be_bytes(raw.try_into().ok()?)),
        _ => None,
    }
}

/// A value of a row, if it is text.
#[inline]
pub(crate) fn text(row: &Row, column: usize) -> Option<&str> {
    let (ty, raw) = typed(row, column)?;
    match *ty {
        Type::TEXT | Type::VARCHAR => std::str::from_utf8(raw).ok(),
        _ => None,
    }
}

/// Whether a value of a row is `NULL`.
#[inline]
pub(crate) fn is_null(row: &Row, column: usize) -> bool {
    match row.try_get(column) {
        Ok(Raw(raw)) => {
            let is_void = |column: &Column| *column.type_() == Type::VOID;
            raw.is_none() || row.columns().get(column).is_some_and(is_void)
        }
        Err(_) => false,
    }
}

#[inline]
fn typed(row: &Row, column: usize) -> Option<(&Type, &[u8])> {
    let Raw(raw) = row.try_get(column).ok()?;
    Some((row.columns().get(column)?.type_(), raw?))
}

/// A value as it came.
struct Raw<'r>(Option<&'r [u8]>);

impl<'r> FromSql<'r> for Raw<'r> {
    #[inline]
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Raw<'r>, BoxError> {
        Ok(Raw(Some(raw)))
    }

    #[inline]
    fn from_sql_null(_: &Type) -> Result<Raw<'r>, BoxError> {
        Ok(Raw(None))
    }

    #[inline]
    fn accepts(_: &Type) -> bool {
        true
    }
}

/// In an array.
impl<'r> FromSql<'r> for Cell<'r> {
    #[inline]
    fn from_sql(ty: &Type, raw: &'r [u8]) -> Result<Cell<'r>, BoxError> {
        decode(ty, raw)
    }

    fn from_sql_null(_: &Type) -> Result<Cell<'r>, BoxError> {
        Ok(Cell::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[inline]
fn decode<'r>(ty: &Type, raw: &'r [u8]) -> Result<Cell<'r>, BoxError> {
    Ok(match *ty {
        Type::BOOL => Cell::Bool(bool::from_sql(ty, raw)?),
        Type::INT2 => Cell::Int(i16::from_sql(ty, raw)?.into()),
        Type::INT4 => Cell::Int(i32::from_sql(ty, raw)?.into()),
        Type::INT8 => Cell::Int(i64::from_sql(ty, raw)?),
        Type::FLOAT8 => Cell::Float(f64::from_sql(ty, raw)?),
        Type::TEXT | Type::VARCHAR => Cell::Text(Cow::Borrowed(std::str::from_utf8(raw)?)),
        Type::BYTEA => Cell::Bytes(raw),
        _ => return decode_other(ty, raw),
    })
}

fn decode_other<'r>(ty: &Type, raw: &'r [u8]) -> Result<Cell<'r>, BoxError> {
    match ty.kind() {
        Kind::Domain(inner) => return decode(inner, raw),
        Kind::Enum(_) => return Ok(Cell::Text(Cow::Borrowed(std::str::from_utf8(raw)?))),
        Kind::Array(_) => return <Vec<Cell<'r>>>::from_sql(ty, raw).map(Cell::Array),
        _ => {}
    }
    Ok(match *ty {
        Type::OID => Cell::Int(u32::from_sql(ty, raw)?.into()),
        Type::FLOAT4 => Cell::Float(f32::from_sql(ty, raw)?.into()),
        Type::NUMERIC => Cell::Decimal(numeric(raw)?),
        Type::JSON => Cell::Json(std::str::from_utf8(raw)?),
        Type::JSONB => match raw.split_first() {
            Some((1, text)) => Cell::Json(std::str::from_utf8(text)?),
            _ => return Err("a version of jsonb that is not known".into()),
        },
        Type::UUID => Cell::Text(Cow::Owned(uuid(raw)?)),
        Type::TIMESTAMPTZ => Cell::Text(Cow::Owned(match infinite(raw)? {
            Ok(micros) => epoch_timestamp(micros)?.to_string(),
            Err(infinity) => infinity.to_owned(),
        })),
        Type::TIMESTAMP => Cell::Text(Cow::Owned(match infinite(raw)? {
            Ok(micros) => EPOCH
                .checked_add(SignedDuration::from_micros(micros))?
                .to_string(),
            Err(infinity) => infinity.to_owned(),
        })),
        Type::DATE => Cell::Text(Cow::Owned(match i32::from_be_bytes(raw.try_into()?) {
            i32::MAX => "infinity".to_owned(),
            i32::MIN => "-infinity".to_owned(),
            days => EPOCH
                .date()
                .checked_add(Span::new().try_days(days)?)?
                .to_string(),
        })),
        Type::TIME => {
            let micros = i64::from_be_bytes(raw.try_into()?);
            let time = Time::midnight().checked_add(SignedDuration::from_micros(micros))?;
            Cell::Text(Cow::Owned(time.to_string()))
        }
        Type::INTERVAL => Cell::Text(Cow::Owned(interval(raw)?)),
        Type::VOID => Cell::Null,
        _ if <&str as FromSql<'_>>::accepts(ty) => {
            Cell::Text(Cow::Borrowed(<&str>::from_sql(ty, raw)?))
        }
        _ => {
            let name = ty.name();
            return Err(
                format!("no form in Rust; select it as text: `column::text` ({name})").into(),
            );
        }
    })
}

/// When Postgres began to count.
const EPOCH: DateTime = Date::constant(2000, 1, 1).at(0, 0, 0, 0);
/// In microseconds since 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

fn epoch_timestamp(micros: i64) -> Result<Timestamp, BoxError> {
    let since_1970 = micros
        .checked_add(EPOCH_MICROS)
        .ok_or("a time too far away")?;
    Ok(Timestamp::from_microsecond(since_1970)?)
}

/// Microseconds, or the name of an infinity.
fn infinite(raw: &[u8]) -> Result<Result<i64, &'static str>, BoxError> {
    Ok(match i64::from_be_bytes(raw.try_into()?) {
        i64::MAX => Err("infinity"),
        i64::MIN => Err("-infinity"),
        micros => Ok(micros),
    })
}

fn uuid(raw: &[u8]) -> Result<String, BoxError> {
    let bits = format!("{:032x}", u128::from_be_bytes(raw.try_into()?));
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    let parts: Vec<&str> = parts
        .into_iter()
        .filter_map(|part| bits.get(part))
        .collect();
    Ok(parts.join("-"))
}

/// As ISO 8601 has it.
fn interval(raw: &[u8]) -> Result<String, BoxError> {
    let (micros, rest) = raw.split_first_chunk().ok_or("too short")?;
    let (days, rest) = rest.split_first_chunk().ok_or("too short")?;
    let (micros, days) = (i64::from_be_bytes(*micros), i32::from_be_bytes(*days));
    let months = i32::from_be_bytes(rest.try_into()?);
    // Each part has a sign of its own.
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, rest) = (
        micros.unsigned_abs() / 1_000_000,
        micros.unsigned_abs() % 1_000_000,
    );
    Ok(format!("P{months}M{days}DT{sign}{seconds}.{rest:06}S"))
}

/// The digits of a `numeric`, which come in groups of four.
fn numeric(raw: &[u8]) -> Result<String, BoxError> {
    let (words, _) = raw.as_chunks();
    let words: Vec<i16> = words.iter().map(|word| i16::from_be_bytes(*word)).collect();
    let [_, weight, sign, scale, groups @ ..] = &*words else {
        return Err("a numeric that is too short".into());
    };
    match sign.cast_unsigned() {
        0x0000 | 0x4000 => {}
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        _ => return Err("a numeric with a sign that is not known".into()),
    }
    let group = |place: i32| -> i16 {
        let index = i32::from(*weight) - place;
        let index = usize::try_from(index).ok();
        index
            .and_then(|index| groups.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::new();
    for place in (0..=i32::from(*weight).max(0)).rev() {
        text.push_str(&format!("{:04}", group(place)));
    }
    let whole = text.trim_start_matches('0');
    let mut text = if whole.is_empty() {
        "0".to_owned()
    } else {
        whole.to_owned()
    };
    let scale = usize::try_from(*scale)?;
    if scale > 0 {
        let mut fraction = String::new();
        let mut place = -1;
        while fraction.len() < scale {
            fraction.push_str(&format!("{:04}", group(place)));
            place -= 1;
        }
        fraction.truncate(scale);
        text.push('.');
        text.push_str(&fraction);
    }
    if sign.cast_unsigned() == 0x4000 {
        text.insert(0, '-');
    }
    Ok(text)
}
