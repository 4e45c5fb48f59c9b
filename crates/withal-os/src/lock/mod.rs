//! A lock between processes, on a file.

mod error;
mod file;
mod held;
mod holder;
mod record;

pub use error::LockError;
pub use file::FileLock;
#[cfg(feature = "tokio")]
pub(crate) use file::{FIRST_PAUSE, LAST_PAUSE};
pub use held::HeldLock;
pub use holder::Holder;

#[cfg(test)]
mod tests;
