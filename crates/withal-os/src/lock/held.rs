//! A lock that is held.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use withal_core::{ContextManager, ExitCase};

use crate::lock::error::LockError;
use crate::lock::record;
use crate::report;

/// A lock that is held, until it is released or dropped: what a [`FileLock`](crate::FileLock)
/// lends.
///
/// It is a context manager itself, for a lock that was taken first and enters a block or stack
/// later. Child processes do not inherit it, unless they are forked without running a program.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct HeldLock {
    path: PathBuf,
    file: File,
    recorded: bool,
    released: bool,
}

impl HeldLock {
    pub(crate) fn new(path: PathBuf, file: File, recorded: bool) -> HeldLock {
        HeldLock {
            path,
            file,
            recorded,
            released: false,
        }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lock file, open: the lock is on this description of it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Releases the lock.
    ///
    /// # Errors
    ///
    /// The system refuses; the lock is then gone with its descriptor.
    pub fn release(mut self) -> Result<(), LockError> {
        self.unlock()
    }

    fn unlock(&mut self) -> Result<(), LockError> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        let cleared = match self.recorded {
            true => record::clear(&self.file),
            false => Ok(()),
        };
        // Not left to closing it: a forked child may have the descriptor too.
        rustix::fs::flock(&self.file, FlockOperation::Unlock)
            .map_err(Into::into)
            .and(cleared)
            .map_err(|source| LockError::Lock {
                path: self.path.clone(),
                source,
            })
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let Err(error) = self.unlock() {
            report::teardown_failed("HeldLock", error);
        }
    }
}

impl ContextManager for HeldLock {
    type Resource = HeldLock;
    type Error = LockError;

    fn enter(self) -> Result<HeldLock, LockError> {
        Ok(self)
    }

    fn exit(held: HeldLock, _case: ExitCase) -> Result<(), LockError> {
        held.release()
    }
}
