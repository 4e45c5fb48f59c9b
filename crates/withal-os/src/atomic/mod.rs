//! Files and directories that are replaced whole or not at all.

mod acl;
mod attributes;
mod backup;
mod batch;
mod commit;
mod dir;
mod error;
mod file;
mod options;
mod stale;
mod stamp;
mod target;
mod temporary;
mod umask;
mod writer;

pub use batch::{AtomicBatch, BatchError};
pub use dir::{AtomicDir, StagedDir};
pub use error::{WriteError, WriteErrorKind};
pub use file::AtomicFile;
pub use options::{Durability, Preserve, Symlinks};
pub use stamp::Stamp;
#[cfg(feature = "tokio")]
pub(crate) use writer::write;
pub use writer::{AtomicWriter, write_atomic};

#[cfg(test)]
mod tests;
