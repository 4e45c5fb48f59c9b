//! What a destructor could not do, said where somebody may hear it.

use std::panic::Location;

use withal_core::{BoxError, Entry, Error, Notice, NoticeKind, emit_notice};

/// Reports that dropping a `name` could not undo everything: `Drop` has no caller to tell.
#[cold]
#[track_caller]
pub(crate) fn teardown_failed(name: &'static str, error: impl Into<BoxError>) {
    let entry = Entry::at(name, Location::caller());
    let error = Error::new(error);
    emit_notice(&Notice::new(
        NoticeKind::TeardownFailed,
        Some(&entry),
        Some(&error),
    ));
}
