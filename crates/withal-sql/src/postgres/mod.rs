//! Sessions of Postgres.

mod cache;
mod config;
mod connect;
mod copy;
mod cursor;
mod remedy;
mod session;
mod settle;
mod tls;
mod types;

pub(crate) use config::Config;
pub(crate) use cursor::{PostgresCursor, RowStream};
pub(crate) use session::Postgres;
