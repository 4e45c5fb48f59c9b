#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cancel;
mod leaks;

pub use cancel::{CancelReport, Leak, cancel_everywhere};
pub use leaks::{assert_no_open, open_descriptors};
