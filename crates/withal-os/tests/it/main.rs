//! One binary for all tests. It runs itself again where a test needs a process of its own.
//!
//! Tests named `c068_…` are rows of `docs/contextlib.md`.

#![allow(
    unused_results,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unit_arg,
    clippy::unwrap_used,
    reason = "tests drop values on purpose, fail by panicking, and end bodies with `Ok(log(..))`"
)]

mod atomic_dir;
mod attributes;
mod auto_traits;
mod batch;
mod chdir;
mod child;
mod concurrency;
mod crash;
mod faults;
mod full;
mod kill;
mod lock;
mod notices;
mod redirect;
mod refused;
mod stale;
mod support;
mod tempdir;
#[cfg(feature = "tokio")]
mod tokio;
mod writer;
