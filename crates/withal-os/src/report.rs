//! What a destructor could not do, said where somebody may hear it.

use std::panic::Location;

use withal_core::{BoxError, Entry, NoticeKind, emit_error};

/// Reports that dropping a `name` could not undo everything: `Drop` has no caller to tell.
#[cold]
#[track_caller]
pub(crate) fn teardown_failed(name: &'static str, error: impl Into<BoxError>) {
    notice(NoticeKind::TeardownFailed, name, error);
}

/// Reports what a `name` was to try, could not do, and goes on without.
#[cold]
#[track_caller]
pub(crate) fn worked_around(name: &'static str, error: impl Into<BoxError>) {
    notice(NoticeKind::WorkedAround, name, error);
}

#[track_caller]
fn notice(kind: NoticeKind, name: &'static str, error: impl Into<BoxError>) {
    let entry = Entry::at(name, Location::caller());
    emit_error(kind, Some(&entry), error);
}
