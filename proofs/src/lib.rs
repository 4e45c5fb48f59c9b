//! What the proofs share: what is submitted, what must be there after a crash, and the count.

#![forbid(unsafe_code)]

pub mod check;
pub mod dice;
pub mod submitted;
pub mod tally;
