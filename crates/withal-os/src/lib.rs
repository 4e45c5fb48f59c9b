#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("withal-os needs Linux: build `withal` without its feature `os` elsewhere");

mod atomic;
mod chdir;
mod directory;
mod layers;
mod lock;
mod random;
mod redirect;
mod report;
mod shown;
mod tempdir;
mod tree;
mod writeback;

/// The managers for async code, on tokio.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub mod tokio;

pub use atomic::{
    AtomicBatch, AtomicDir, AtomicFile, AtomicWriter, BatchError, Durability, Preserve, StagedDir,
    Stamp, Symlinks, WriteError, WriteErrorKind, write_atomic,
};
pub use chdir::{ChangedDir, Chdir, ChdirError, chdir};
pub use directory::FileId;
pub use lock::{FileLock, HeldLock, Holder, LockError};
pub use redirect::{
    Capture, Captured, Redirect, RedirectError, Redirected, capture_stderr, capture_stdout,
    redirect_stderr, redirect_stdout,
};
pub use tempdir::{OpenTempDir, TempDir, TempDirError, remove_temp_dir};
pub use writeback::start_writeback;
