//! The pool, through the interface its users have.

mod dummy;
mod leasing;
