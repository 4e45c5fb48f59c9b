//! Each tool catches what is broken on purpose, and passes what is not.
#![allow(
    missing_docs,
    unused_results,
    clippy::disallowed_methods,
    clippy::unit_arg,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests say what they check in their names"
)]

mod cancel;
mod faults;
mod laws;
