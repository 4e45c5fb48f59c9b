//! Preparing statements, giving them parameters, reading their rows.

use std::sync::Arc;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::{ToSql, ToSqlOutput, Value as Stored, ValueRef};
use rusqlite::{Batch, Connection, Rows, Statement};

use crate::{Error, ErrorKind, Row, Value};

pub(super) type Names = Arc<[Box<str>]>;

/// Copies parameters, so that they can go to another thread.
pub(super) fn owned(params: &[Value<'_>]) -> Vec<Value<'static>> {
    params.iter().cloned().map(Value::into_owned).collect()
}

/// A statement ends at its end: SQLite reads the first of several and forgets the others.
pub(super) fn check_single(connection: &Connection, sql: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::new(ErrorKind::Refused, why).of_statement(sql));
    if sql.contains('\0') {
        return refuse("there is a NUL in the statement");
    }
    if begins_at(sql) == sql.len() {
        return refuse("there is no statement");
    }
    if !sql.trim_end().trim_end_matches(';').contains(';') {
        return Ok(());
    }
    let mut batch = Batch::new(connection, sql);
    // What is wrong with the first, preparing it again will tell.
    match batch.next().and_then(|_| batch.next()) {
        Ok(Some(_)) => refuse("more than one statement: that is what `batch` is for"),
        _ => Ok(()),
    }
}

/// Where a statement begins, behind spaces, comments and empty statements.
pub(super) fn begins_at(sql: &str) -> usize {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|char: char| char.is_ascii_whitespace() || char == ';');
        let (begin, end) = match rest.get(..2) {
            Some("--") => ("--", "\n"),
            Some("/*") => ("/*", "*/"),
            _ => return sql.len() - rest.len(),
        };
        let comment = rest.strip_prefix(begin).unwrap_or_default();
        rest = comment.split_once(end).map_or("", |(_, rest)| rest);
    }
}

/// `$2` and `?2` are the second parameter, wherever they stand. SQLite numbers `$2` by where it
/// stands, and calls the number its name.
pub(super) fn bind(statement: &mut Statement<'_>, params: &[Value<'_>]) -> Result<(), Error> {
    let wrong = |message| Err(Error::new(ErrorKind::Parameter, message));
    let (mut takes, mut is_named, mut is_nameless) = (0, false, false);
    for index in 1..=statement.parameter_count() {
        let number = match statement.parameter_name(index) {
            None => {
                is_nameless = true;
                index
            }
            Some(name) => {
                is_named |= name.starts_with('$');
                match name.get(1..).and_then(|number| number.parse().ok()) {
                    Some(number) if !name.starts_with([':', '@']) && number > 0 => number,
                    _ => {
                        return wrong(format!("the parameter `{name}` is no number: write `$1`"));
                    }
                }
            }
        };
        takes = takes.max(number);
        if let Some(param) = params.get(number - 1) {
            if matches!(param, Value::Float(value) if value.is_nan()) {
                return wrong(format!(
                    "parameter {number} is NaN, which SQLite would store as NULL: give it NULL or text"
                ));
            }
            let bound = statement.raw_bind_parameter(index, Param(param));
            bound.map_err(|error| Error::new(ErrorKind::Parameter, error.to_string()))?;
        }
    }
    if is_named && is_nameless {
        return wrong("parameters are `$1`, `$2` or `?`, and not both".to_owned());
    }
    if takes != params.len() {
        let given = params.len();
        return wrong(format!(
            "it takes {takes} parameters, and there are {given}"
        ));
    }
    Ok(())
}

struct Param<'v>(&'v Value<'v>);

impl ToSql for Param<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Bool(value) => ValueRef::Integer(i64::from(*value)),
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Float(value) => ValueRef::Real(*value),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Runs a statement to its end; gives how many rows it had.
pub(super) fn run(statement: &mut Statement<'_>) -> rusqlite::Result<u64> {
    let mut rows = statement.raw_query();
    let mut count = 0;
    while rows.next()?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Reads at most `limit` rows to the end of `into`; tells whether there may be more.
///
/// `names` are taken from the first row: before it, SQLite may still find that the schema has
/// changed, and prepare the statement anew.
pub(super) fn read(
    rows: &mut Rows<'_>,
    names: &mut Option<Names>,
    limit: usize,
    into: &mut Vec<Row>,
) -> rusqlite::Result<bool> {
    for _ in 0..limit {
        let Some(row) = rows.next()? else {
            return Ok(false);
        };
        let statement: &Statement<'_> = row.as_ref();
        let names = names.get_or_insert_with(|| {
            let names = statement.column_names();
            names.map(Box::from).collect()
        });
        let values = (0..names.len()).map(|column| {
            let value = row.get_ref(column)?;
            Stored::try_from(value).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    column,
                    value.data_type(),
                    Box::new(error),
                )
            })
        });
        let values = values.collect::<rusqlite::Result<_>>()?;
        into.push(Row::sqlite(Arc::clone(names), values));
    }
    Ok(true)
}
