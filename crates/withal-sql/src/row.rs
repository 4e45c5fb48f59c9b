//! Rows, and how they become values and structs.

use std::fmt;
#[cfg(feature = "sqlite")]
use std::sync::Arc;

use serde::Deserialize;
use serde::de::IntoDeserializer;

use crate::cell::{Cell, CellDeserializer, Problem};
use crate::{Error, ErrorKind};

/// A row of an answer.
///
/// # Examples
///
/// ```no_run
/// # async fn f(conn: &withal_sql::Session) -> Result<(), withal_sql::Error> {
/// use serde::Deserialize;
/// use withal_sql::params;
///
/// #[derive(Deserialize)]
/// struct Account { id: i64, owner: String, limit: Option<f64> }
///
/// let row = conn.query_one("SELECT id, owner, \"limit\" FROM accounts WHERE id = $1", params![7]).await?;
/// let owner: String = row.get("owner")?;
/// let account: Account = row.read()?;
/// let (id, owner, limit): (i64, String, Option<f64>) = row.read()?;
/// # Ok(())
/// # }
/// ```
pub struct Row(Repr);

enum Repr {
    #[cfg(feature = "postgres")]
    Postgres(tokio_postgres::Row),
    #[cfg(feature = "sqlite")]
    Sqlite(Arc<[Box<str>]>, Vec<rusqlite::types::Value>),
}

/// Which column: its name, or its number from 0.
pub trait ColumnIndex: fmt::Display {
    /// Where it is among `names`.
    #[doc(hidden)]
    fn find<'n>(&self, names: impl Iterator<Item = &'n str>) -> Option<usize>;
}

impl ColumnIndex for usize {
    fn find<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> Option<usize> {
        names.nth(*self).map(|_| *self)
    }
}

impl ColumnIndex for &str {
    fn find<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> Option<usize> {
        names.position(|name| name == *self)
    }
}

impl Row {
    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(row: tokio_postgres::Row) -> Row {
        Row(Repr::Postgres(row))
    }

    /// The names are shared by all rows of an answer.
    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite(names: Arc<[Box<str>]>, values: Vec<rusqlite::types::Value>) -> Row {
        Row(Repr::Sqlite(names, values))
    }

    /// How many columns it has.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            #[cfg(feature = "postgres")]
            Repr::Postgres(row) => row.len(),
            #[cfg(feature = "sqlite")]
            Repr::Sqlite(_, values) => values.len(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of a column.
    #[must_use]
    pub fn name(&self, column: usize) -> Option<&str> {
        match &self.0 {
            #[cfg(feature = "postgres")]
            Repr::Postgres(row) => row.columns().get(column).map(|column| column.name()),
            #[cfg(feature = "sqlite")]
            Repr::Sqlite(names, _) => names.get(column).map(|name| &**name),
        }
    }

    /// The names of all columns, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|column| self.name(column))
    }

    /// The value of a column; an `Option` if it may be `NULL`.
    ///
    /// # Errors
    ///
    /// [`Decode`](ErrorKind::Decode), with the column and its type, if there is no such column or
    /// it holds something else.
    pub fn get<'r, T: Deserialize<'r>>(&'r self, column: impl ColumnIndex) -> Result<T, Error> {
        let Some(index) = column.find(self.names()) else {
            let names: Vec<&str> = self.names().collect();
            let names = names.join(", ");
            return Err(Error::new(
                ErrorKind::Decode,
                format!("no column `{column}`: there are {names}"),
            ));
        };
        T::deserialize(Column { row: self, index }).map_err(|problem| self.wrong(index, &problem))
    }

    /// The whole row as a struct, whose fields are found by the names of columns, as a tuple, in
    /// the order of columns, or, if there is one column only, as its value.
    ///
    /// # Errors
    ///
    /// [`Decode`](ErrorKind::Decode), with the column and its type, if a field has no column or is
    /// something else.
    pub fn read<'r, T: Deserialize<'r>>(&'r self) -> Result<T, Error> {
        let mut reader = RowDeserializer { row: self, at: 0 };
        T::deserialize(&mut reader).map_err(|problem| match reader.at.checked_sub(1) {
            Some(column) if problem.is_of_column() => self.wrong(column, &problem),
            _ => Error::new(ErrorKind::Decode, format!("cannot read the row: {problem}")),
        })
    }

    #[inline]
    fn cell(&self, column: usize) -> Result<Cell<'_>, Problem> {
        match &self.0 {
            #[cfg(feature = "postgres")]
            Repr::Postgres(row) => crate::postgres::cell(row, column)
                .map_err(|error| Problem::of_row(error_chain(&*error))),
            #[cfg(feature = "sqlite")]
            Repr::Sqlite(_, values) => Ok(values.get(column).map_or(Cell::Null, Cell::of_sqlite)),
        }
    }

    /// The value, if it is a whole number.
    #[inline]
    fn int(&self, column: usize) -> Option<i64> {
        match &self.0 {
            #[cfg(feature = "postgres")]
            Repr::Postgres(row) => crate::postgres::int(row, column),
            #[cfg(feature = "sqlite")]
            Repr::Sqlite(_, values) => match values.get(column) {
                Some(rusqlite::types::Value::Integer(value)) => Some(*value),
                _ => None,
            },
        }
    }

    /// The value, if it is text.
    #[inline]
    fn text(&self, column: usize) -> Option<&str> {
        match &self.0 {
            #[cfg(feature = "postgres")]
            Repr::Postgres(row) => crate::postgres::text(row, column),
            #[cfg(feature = "sqlite")]
            Repr::Sqlite(_, values) => match values.get(column) {
                Some(rusqlite::types::Value::Text(text)) => Some(text),
                _ => None,
            },
        }
    }

    #[inline]
    fn is_null(&self, column: usize) -> bool {
        match &self.0 {
            #[cfg(feature = "postgres")]
            Repr::Postgres(row) => crate::postgres::is_null(row, column),
            #[cfg(feature = "sqlite")]
            Repr::Sqlite(_, values) => {
                matches!(values.get(column), Some(rusqlite::types::Value::Null))
            }
        }
    }

    fn type_name(&self, column: usize) -> String {
        match &self.0 {
            #[cfg(feature = "postgres")]
            Repr::Postgres(row) => row
                .columns()
                .get(column)
                .map_or_else(String::new, |column| column.type_().name().to_owned()),
            #[cfg(feature = "sqlite")]
            Repr::Sqlite(_, values) => values.get(column).map_or_else(String::new, |value| {
                value.data_type().to_string().to_lowercase()
            }),
        }
    }

    fn wrong(&self, column: usize, problem: &Problem) -> Error {
        let name = self.name(column).unwrap_or_default();
        let kind = self.type_name(column);
        Error::new(
            ErrorKind::Decode,
            format!("column `{name}` of type {kind}: {problem}"),
        )
    }
}

#[cfg(feature = "postgres")]
fn error_chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => error_chain(source),
        None => error.to_string(),
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// Reads one column. What is read most is read without a [`Cell`] in between.
struct Column<'r> {
    row: &'r Row,
    index: usize,
}

macro_rules! as_cell {
    ($($method:ident($($argument:ident: $kind:ty),*))+) => {$(
        #[inline]
        fn $method<V: serde::de::Visitor<'de>>(
            self,
            $($argument: $kind,)*
            visitor: V,
        ) -> Result<V::Value, Problem> {
            let cell = self.row.cell(self.index)?;
            CellDeserializer(cell).$method($($argument,)* visitor)
        }
    )+};
}

macro_rules! plain {
    ($($method:ident $plain:ident $visit:ident),+) => {$(
        #[inline]
        fn $method<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            match self.row.$plain(self.index) {
                Some(value) => visitor.$visit(value),
                None => CellDeserializer(self.row.cell(self.index)?).$method(visitor),
            }
        }
    )+};
}

impl<'de> serde::Deserializer<'de> for Column<'de> {
    type Error = Problem;

    #[inline]
    fn deserialize_option<V: serde::de::Visitor<'de>>(
        self,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match self.row.is_null(self.index) {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    plain! {
        deserialize_i8 int visit_i64, deserialize_i16 int visit_i64,
        deserialize_i32 int visit_i64, deserialize_i64 int visit_i64,
        deserialize_i128 int visit_i64,
        deserialize_u8 int visit_i64, deserialize_u16 int visit_i64,
        deserialize_u32 int visit_i64, deserialize_u64 int visit_i64,
        deserialize_u128 int visit_i64,
        deserialize_str text visit_borrowed_str, deserialize_string text visit_borrowed_str
    }

    as_cell! {
        deserialize_any() deserialize_bool() deserialize_char()
        deserialize_f32() deserialize_f64() deserialize_bytes() deserialize_byte_buf()
        deserialize_unit() deserialize_seq() deserialize_map()
        deserialize_identifier() deserialize_ignored_any()
        deserialize_unit_struct(name: &'static str)
        deserialize_newtype_struct(name: &'static str)
        deserialize_tuple(len: usize)
        deserialize_tuple_struct(name: &'static str, len: usize)
        deserialize_struct(name: &'static str, fields: &'static [&'static str])
        deserialize_enum(name: &'static str, variants: &'static [&'static str])
    }
}

/// Reads one column after the other.
struct RowDeserializer<'r> {
    row: &'r Row,
    /// How many columns have been begun.
    at: usize,
}

impl<'de> RowDeserializer<'de> {
    #[inline]
    fn next(&mut self) -> Option<Column<'de>> {
        let index = self.at;
        if index == self.row.len() {
            return None;
        }
        self.at += 1;
        Some(Column {
            row: self.row,
            index,
        })
    }

    /// Whether there is one column only, which has a structure of its own.
    fn is_single(&self, has_structure: impl FnOnce(&Cell<'_>) -> bool) -> bool {
        self.row.len() == 1 && self.row.cell(0).is_ok_and(|cell| has_structure(&cell))
    }

    /// The only column.
    fn single(&mut self) -> Result<Column<'de>, Problem> {
        match (self.row.len(), self.next()) {
            (1, Some(column)) => Ok(column),
            (len, _) => Err(Problem::of_row(format!("one value of {len} columns"))),
        }
    }
}

impl<'de> serde::de::MapAccess<'de> for &mut RowDeserializer<'de> {
    type Error = Problem;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        match self.row.name(self.at) {
            Some(name) => seed.deserialize(name.into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Problem> {
        match self.next() {
            Some(column) => seed.deserialize(column).map_err(Problem::in_column),
            None => Err(Problem::of_row("no more columns".to_owned())),
        }
    }
}

impl<'de> serde::de::SeqAccess<'de> for &mut RowDeserializer<'de> {
    type Error = Problem;

    fn next_element_seed<T: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Problem> {
        match self.next() {
            Some(column) => seed
                .deserialize(column)
                .map(Some)
                .map_err(Problem::in_column),
            None => Ok(None),
        }
    }
}

macro_rules! as_single_column {
    ($($method:ident)+) => {$(
        fn $method<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            self.single()?.$method(visitor).map_err(Problem::in_column)
        }
    )+};
}

impl<'de> serde::Deserializer<'de> for &mut RowDeserializer<'de> {
    type Error = Problem;

    as_single_column! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_option
    }

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_map(self)
    }

    fn deserialize_seq<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.is_single(|cell| matches!(cell, Cell::Array(_) | Cell::Bytes(_) | Cell::Json(_)))
        {
            true => {
                let cell = self.single()?;
                cell.deserialize_seq(visitor).map_err(Problem::in_column)
            }
            false => visitor.visit_seq(self),
        }
    }

    fn deserialize_map<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.is_single(|cell| matches!(cell, Cell::Json(_))) {
            true => {
                let cell = self.single()?;
                cell.deserialize_map(visitor).map_err(Problem::in_column)
            }
            false => visitor.visit_map(self),
        }
    }

    fn deserialize_tuple<V: serde::de::Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        if len != self.row.len() {
            let columns = self.row.len();
            return Err(Problem::of_row(format!(
                "a tuple of {len}, and there are {columns} columns"
            )));
        }
        visitor.visit_seq(self)
    }

    fn deserialize_tuple_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_newtype_struct<V: serde::de::Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let cell = self.single()?;
        cell.deserialize_enum(name, variants, visitor)
            .map_err(Problem::in_column)
    }

    fn deserialize_unit<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! { struct identifier ignored_any unit_struct }
}
