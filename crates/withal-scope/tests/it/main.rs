//! Behaviour of scopes, stacks and the reaper, through the public interface.
#![allow(
    missing_docs,
    unused_results,
    clippy::disallowed_methods,
    clippy::unit_arg,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests say what they check in their names"
)]

mod cancellation;
mod compile_fail;
mod contextlib;
mod endings;
mod generators;
mod many;
mod product;
mod reaper;
mod registry;
mod stack;
mod support;
mod tasks;
