#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod batch;
mod error;
mod events;
mod files;
mod keeper;
mod log;
mod name;
mod options;
mod queue;
mod read;
mod recover;
mod retention;
mod scan;
mod segment;
mod sidecar;
mod text;
mod verify;
mod writer;

/// For tests with a disk of their own.
#[doc(hidden)]
pub mod storage;

pub use error::{LogError, LogErrorKind};
pub use log::{Log, LogOptions, Progress, Ticket};
pub use options::{Durability, OnFull};
pub use read::Reader;
pub use recover::Recovery;
pub use text::decode;
#[doc(hidden)]
pub use verify::verify_in;
pub use verify::{Problem, ProblemKind, Verdict, Verification, verify};
