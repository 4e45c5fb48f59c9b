//! The managers for async code, on tokio.

mod blocking;
mod file;
mod lock;
mod writer;

pub use blocking::{Blocking, blocking};
pub use file::AtomicFile;
pub use lock::FileLock;
pub use writer::{AtomicWriter, write_atomic};
