//! Why a lock was not had.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::lock::holder::Holder;
use crate::shown::shown;

/// A lock was not taken, or not released as it should be.
#[derive(Debug)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds it. Try again later, or wait longer.
    #[non_exhaustive]
    Busy {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as can be known.
        holder: Option<Holder>,
        /// How long it was waited for; zero if it was only tried.
        limit: Duration,
    },
    /// The path names something that is no lock file, or nothing can be opened there.
    #[non_exhaustive]
    Open {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file could be opened, but the lock not be taken or released: most often, its filesystem
    /// knows no locks.
    #[non_exhaustive]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LockError {
    /// The error of the last try, as that of a wait that was given up after `limit`.
    pub(crate) fn after(self, limit: Duration) -> LockError {
        match self {
            LockError::Busy { path, holder, .. } => LockError::Busy {
                path,
                holder,
                limit,
            },
            other => other,
        }
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            LockError::Busy { path, .. }
            | LockError::Open { path, .. }
            | LockError::Lock { path, .. } => path,
        }
    }

    /// Whether somebody else holds the lock.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, LockError::Busy { .. })
    }

    /// Who holds the lock, if somebody else does and can be named.
    #[must_use]
    pub fn holder(&self) -> Option<&Holder> {
        match self {
            LockError::Busy { holder, .. } => holder.as_ref(),
            _ => None,
        }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(self.path());
        match self {
            LockError::Busy { holder, limit, .. } => {
                match holder {
                    Some(holder) => write!(f, "`{path}` is locked by {holder}")?,
                    None => write!(f, "`{path}` is locked by another process")?,
                }
                match limit.is_zero() {
                    true => Ok(()),
                    false => write!(f, ", still after {limit:?}"),
                }
            }
            LockError::Open { .. } => write!(f, "cannot open the lock file `{path}`"),
            LockError::Lock { .. } => write!(f, "cannot lock `{path}`"),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Busy { .. } => None,
            LockError::Open { source, .. } | LockError::Lock { source, .. } => Some(source),
        }
    }
}
