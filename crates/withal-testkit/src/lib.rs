#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod cancel;
mod descriptors;
mod faults;
mod lab;
pub mod laws;
mod leaks;
#[cfg(feature = "proxy")]
#[cfg_attr(docsrs, doc(cfg(feature = "proxy")))]
pub mod proxy;

/// Private, real servers: the crate `withal-servers`.
#[cfg(feature = "servers")]
#[cfg_attr(docsrs, doc(cfg(feature = "servers")))]
#[doc(inline)]
pub use withal_servers as servers;

pub use cancel::{Cancel, CancelReport, Leak, Way, cancel_everywhere};
pub use descriptors::{Descriptor, open_descriptors};
pub use faults::{
    Fault, FaultBreach, FaultReport, Faults, Faulty, FaultyResource, Injected, Plan, Step, faults,
};
pub use leaks::{LeakCheck, Leaks, alive_tasks, assert_no_open};
