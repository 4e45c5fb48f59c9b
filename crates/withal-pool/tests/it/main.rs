//! The pool, through the interface its users have.

mod closing;
mod dummy;
mod hooks;
mod leasing;
mod listing;
mod notices;
mod upkeep;
mod waiting;
