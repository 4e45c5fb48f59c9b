//! What is promised of databases.
#![allow(
    missing_docs,
    unused_results,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "tests"
)]

#[cfg(feature = "postgres")]
mod bad_input;
#[cfg(feature = "postgres")]
mod commits;
#[cfg(feature = "postgres")]
mod copies;
#[cfg(feature = "postgres")]
mod environment;
mod given_up;
#[cfg(feature = "postgres")]
mod migrate;
#[cfg(feature = "postgres")]
mod old_server;
#[cfg(feature = "postgres")]
mod postgres;
mod statements;
mod support;
mod transactions;
