//! Why a file or directory was not replaced, or not for certain.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::shown::shown;

/// A file or directory was not replaced; or it was, and something after that failed.
///
/// [`is_committed`](WriteError::is_committed) tells the two apart. Nothing is to be retried on the
/// same writer: it is gone, and so is its temporary file.
#[derive(Debug)]
pub struct WriteError {
    path: PathBuf,
    kind: WriteErrorKind,
    detail: Cow<'static, str>,
    source: Option<io::Error>,
}

/// What kind of thing a [`WriteError`] reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WriteErrorKind {
    /// The path can name no file: it is empty, ends in `/` or `..`, or contains NUL. Not committed.
    InvalidPath,
    /// The target is a directory, device, FIFO or socket, or for
    /// [`AtomicDir`](crate::AtomicDir) no directory. Name a file in the directory, or replace it
    /// whole with `AtomicDir`; write to a device directly. Not committed.
    WrongType,
    /// The target is a symbolic link and [`Symlinks::Refuse`](crate::Symlinks::Refuse) was asked
    /// for. Not committed.
    Symlink,
    /// The target exists and `no_clobber` was asked for. Not committed.
    AlreadyExists,
    /// The target is not the file any more that
    /// [`if_unchanged`](crate::AtomicWriter::if_unchanged) was told of. Not committed.
    Changed,
    /// The new content has not the size that [`size`](crate::AtomicWriter::size) promised. Not
    /// committed.
    WrongSize,
    /// The temporary was removed, replaced or cut short by somebody else. Not committed.
    Lost,
    /// The filesystem or kernel cannot do what was asked for. Not committed.
    Unsupported,
    /// An operation failed before the rename; the operation and the cause are named. Not committed:
    /// the target is as it was.
    NotCommitted,
    /// The async runtime was shut down before the commit began. Not committed.
    Abandoned,
    /// The new content is in place, but the directory could not be synced: a power cut may still
    /// bring the old one back. Committed.
    NotDurable,
    /// The new content is in place, but the old file could not be given the name of its backup; the
    /// message says where it is. Committed.
    NotKept,
    /// The new directory is in place, but the old one could not be removed; the message says where
    /// it is. Committed.
    NotRemoved,
}

impl WriteError {
    pub(crate) fn new(
        path: &Path,
        kind: WriteErrorKind,
        detail: impl Into<Cow<'static, str>>,
    ) -> WriteError {
        WriteError {
            path: path.to_owned(),
            kind,
            detail: detail.into(),
            source: None,
        }
    }

    pub(crate) fn io(
        path: &Path,
        kind: WriteErrorKind,
        detail: impl Into<Cow<'static, str>>,
        source: impl Into<io::Error>,
    ) -> WriteError {
        WriteError {
            source: Some(source.into()),
            ..WriteError::new(path, kind, detail)
        }
    }

    pub(crate) fn not_committed(
        path: &Path,
        detail: impl Into<Cow<'static, str>>,
        source: impl Into<io::Error>,
    ) -> WriteError {
        WriteError::io(path, WriteErrorKind::NotCommitted, detail, source)
    }

    /// The target, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> WriteErrorKind {
        self.kind
    }

    /// Which operation failed, or why none was tried.
    #[must_use]
    pub fn operation(&self) -> &str {
        &self.detail
    }

    /// What the system said, if it was a system call that failed.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        self.source.as_ref()
    }

    /// Whether the new content is in place: the failure came after the rename.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        matches!(
            self.kind,
            WriteErrorKind::NotDurable | WriteErrorKind::NotKept | WriteErrorKind::NotRemoved
        )
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, detail) = (shown(&self.path), &self.detail);
        if self.is_committed() {
            write!(f, "`{path}` was written, but {detail}")
        } else {
            write!(f, "`{path}` was not written: {detail}")
        }
    }
}

impl std::error::Error for WriteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

impl From<WriteError> for io::Error {
    /// Keeps the kind of the cause, and the whole error as the payload.
    fn from(error: WriteError) -> io::Error {
        let kind = match (&error.source, error.kind) {
            (Some(source), _) => source.kind(),
            (None, WriteErrorKind::InvalidPath) => io::ErrorKind::InvalidInput,
            (None, WriteErrorKind::AlreadyExists) => io::ErrorKind::AlreadyExists,
            (None, WriteErrorKind::Unsupported) => io::ErrorKind::Unsupported,
            (None, _) => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
