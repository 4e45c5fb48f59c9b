//! The log, through its public door, on real and on faulty disks.
#![allow(
    missing_docs,
    unused_results,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests"
)]

mod basics;
mod checkpoint;
mod child;
mod compressed;
mod crash;
mod damage;
mod deferred;
mod disk;
mod holes;
mod hooks;
#[cfg(feature = "tracing")]
mod layer;
mod live;
mod policies;
mod reading;
mod ring;
mod strict;
#[cfg(feature = "tokio")]
mod tokio;
