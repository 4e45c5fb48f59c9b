#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

mod batch;
mod checkpoint;
mod checksum;
mod compress;
mod drop_line;
mod error;
mod events;
mod files;
mod hole;
mod keeper;
#[cfg(feature = "tracing")]
mod layer;
mod log;
mod name;
mod options;
mod patience;
mod queue;
mod read;
mod records;
mod recover;
mod repair;
mod restore;
mod retention;
mod ring;
mod scan;
mod segment;
mod sidecar;
mod stats;
mod sync;
mod text;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio;
mod verify;
mod watch;
mod writeback;
mod writer;

/// For tests with a disk of their own.
#[doc(hidden)]
pub mod storage;

pub use checkpoint::{Checkpoint, CheckpointOptions};
pub use error::{LogError, LogErrorKind};
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub use layer::{Lost, Pressure, TracingLayer, tracing_layer};
pub use log::{Log, LogOptions, Progress, Ticket};
pub use options::{CommitRing, Durability, OnFull, TailRule};
pub use read::{Reader, ReverseReader, last_lines};
pub use records::Records;
pub use recover::Recovery;
#[doc(hidden)]
pub use repair::repair_in;
pub use repair::{RepairAction, RepairKind, RepairOptions, repair};
#[doc(hidden)]
pub use stats::stats_in;
pub use stats::{Stats, stats};
pub use text::{decode, is_continued, is_unended};
#[doc(hidden)]
pub use verify::verify_in;
pub use verify::{Problem, ProblemKind, Verdict, Verification, verify};
