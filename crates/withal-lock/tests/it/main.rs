//! What is promised of leases, on private servers of each kind.
#![allow(
    missing_docs,
    unused_results,
    clippy::panic,
    clippy::unit_arg,
    clippy::unwrap_used,
    reason = "tests"
)]

mod failures;
mod holding;
mod support;
mod waiting;
