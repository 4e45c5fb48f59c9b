//! The pool, cancelled at every await point in every way, with every step going wrong.
//!
//! A program of its own: the kit counts the descriptors of the process, and other tests start
//! runtimes beside it.

#[path = "../it/dummy.rs"]
#[expect(dead_code, reason = "shared with the other tests, which use all of it")]
mod dummy;
mod faults;
