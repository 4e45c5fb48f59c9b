//! Everything `withal-core` promises, through the interface its users have.
//!
//! Tests named `c048_…` and `w13_…` are rows of `docs/contextlib.md`.

#![allow(
    unused_results,
    clippy::indexing_slicing,
    clippy::unit_arg,
    clippy::unnecessary_wraps,
    clippy::unwrap_used,
    reason = "tests drop values on purpose, fail by panicking, and end bodies with `Ok(log(..))`"
)]

mod auto_traits;
mod compile_fail;
mod contextmanager;
mod decorator;
mod errors;
mod lent;
mod locks;
mod notices;
mod panics;
mod product;
mod protocol;
mod reentrant;
mod size;
mod stack;
mod stack_life;
mod statement;
mod support;
mod suppress;
mod utilities;
