#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod cancel;
mod descriptors;
mod faults;
mod lab;
pub mod laws;
mod leaks;

pub use cancel::{Cancel, CancelReport, Leak, Way, cancel_everywhere};
pub use descriptors::{Descriptor, open_descriptors};
pub use faults::{
    Fault, FaultBreach, FaultReport, Faults, Faulty, FaultyResource, Injected, Plan, Step, faults,
};
pub use leaks::{LeakCheck, Leaks, alive_tasks, assert_no_open};
