//! What may go to another thread: everything.

use std::fs::File;

use withal_os::{
    AtomicDir, AtomicFile, AtomicWriter, Capture, Captured, ChangedDir, Chdir, ChdirError,
    FileLock, HeldLock, LockError, OpenTempDir, Redirect, RedirectError, Redirected, StagedDir,
    TempDir, TempDirError, WriteError,
};

fn check<T: Send + Sync + Unpin + 'static>() {}

#[test]
fn managers_resources_and_errors_are_send_and_sync() {
    check::<AtomicWriter>();
    check::<AtomicFile>();
    check::<AtomicDir>();
    check::<withal_os::AtomicBatch>();
    check::<withal_os::BatchError>();
    check::<withal_os::Stamp>();
    check::<StagedDir>();
    check::<WriteError>();
    check::<TempDir>();
    check::<OpenTempDir>();
    check::<TempDirError>();
    check::<FileLock>();
    check::<HeldLock>();
    check::<LockError>();
    check::<Redirect<File>>();
    check::<Redirected<File>>();
    check::<Capture>();
    check::<Captured>();
    check::<RedirectError>();
    check::<Chdir>();
    check::<ChangedDir>();
    check::<ChdirError>();
}

#[cfg(feature = "tokio")]
#[test]
fn so_are_the_async_ones() {
    check::<withal_os::tokio::AtomicWriter>();
    check::<withal_os::tokio::AtomicFile>();
    check::<withal_os::tokio::FileLock>();
    check::<withal_os::tokio::Blocking<TempDir>>();
}
