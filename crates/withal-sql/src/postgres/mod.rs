//! Sessions of Postgres.

mod ahead;
mod cache;
mod committing;
mod config;
mod connect;
mod copy;
mod cursor;
mod environment;
mod passfile;
mod refusal;
mod remedy;
mod service;
mod session;
mod settle;
mod tls;
mod types;

pub(crate) use config::Config;
pub(crate) use cursor::{PostgresCursor, RowStream};
pub(crate) use refusal::Refusal;
pub(crate) use session::Postgres;
pub(crate) use types::{cell, int, is_null, text};
