#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod cancelled;
mod cell;
mod cursor;
mod database;
mod driver;
mod error;
pub mod migrate;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
mod retry;
mod row;
mod session;
#[cfg(feature = "sqlite")]
mod sqlite;
mod transaction;
mod url;
mod value;

pub use cursor::{Cursor, OpenCursor};
pub use database::{Connection, Database, OpenDatabase, Sessions};
pub use error::{Error, ErrorKind};
pub use options::Isolation;
pub use retry::retry_serializable;
pub use row::{ColumnIndex, Row};
pub use session::Session;
pub use transaction::{Begin, Transaction};
pub use value::Value;
