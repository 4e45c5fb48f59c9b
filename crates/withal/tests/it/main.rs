//! The attribute macros, and how errors leave a block, as an application meets them.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests say what they check in their names"
)]

mod compile;
mod decorators;
mod errors;
mod makers;
mod streams;
mod support;
