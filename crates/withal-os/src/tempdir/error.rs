//! Why a temporary directory was not made, or not removed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::shown::shown;
use crate::tree::TreeError;

/// A temporary directory could not be made, or not all of it be removed.
#[derive(Debug)]
pub struct TempDirError {
    path: PathBuf,
    action: Action,
    source: io::Error,
}

#[derive(Clone, Debug)]
pub(crate) enum Action {
    Create,
    /// The same where `$TMPDIR` says.
    CreateInTmpdir,
    /// What could not be removed, in words.
    Remove(String),
}

impl TempDirError {
    pub(crate) fn new(path: &Path, action: Action, source: io::Error) -> TempDirError {
        TempDirError {
            path: path.to_owned(),
            action,
            source,
        }
    }

    pub(crate) fn removal(path: &Path, error: TreeError) -> TempDirError {
        let detail = error.to_string();
        TempDirError::new(path, Action::Remove(detail), error.source)
    }

    /// The directory that was to be removed, or the parent it was to be made in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system said.
    #[must_use]
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }
}

impl fmt::Display for TempDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match &self.action {
            Action::Create => write!(f, "cannot make a temporary directory in `{path}`"),
            Action::CreateInTmpdir => write!(
                f,
                "cannot make a temporary directory in `{path}`, where `$TMPDIR` points"
            ),
            Action::Remove(detail) => {
                write!(f, "temporary directory `{path}` was not removed: {detail}")
            }
        }
    }
}

impl std::error::Error for TempDirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
