//! Postgres and SQLite with connections, transactions and cursors that leak nothing.
#![forbid(unsafe_code)]
#![allow(dead_code, unused_imports, reason = "the public API is on its way")]

mod cell;
mod error;
mod options;
mod row;
#[cfg(feature = "sqlite")]
mod sqlite;
mod url;
mod value;

pub use error::{Error, ErrorKind};
pub use options::Isolation;
pub use row::{ColumnIndex, Row};
pub use value::Value;
