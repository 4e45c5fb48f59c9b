//! Private servers start, answer, and leave nothing.
//!
//! A process of its own: servers are processes, and these tests kill some.
#![cfg(feature = "servers")]
#![allow(
    missing_docs,
    unused_results,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests say what they check in their names"
)]

mod gone;
mod postgres;
mod redis;
mod support;
#[cfg(feature = "tls")]
mod tls;
