//! Whether a file is still the one that was read.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::Stat;

use crate::directory::Identity;

/// What a file was like when it was read: to replace it only if nobody else has meanwhile.
///
/// It is the file's identity, size and times of change, not its content; see
/// [`AtomicWriter::if_unchanged`](crate::AtomicWriter::if_unchanged).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    identity: Identity,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// Of the file at `path`; `None` if there is none, which then counts as unchanged as long as
    /// there is none.
    ///
    /// Symbolic links are followed, as by whoever reads the file.
    ///
    /// Take it before the file is read.
    ///
    /// # Errors
    ///
    /// The file cannot be looked at.
    pub fn of(path: impl AsRef<Path>) -> io::Result<Option<Stamp>> {
        match rustix::fs::stat(path.as_ref()) {
            Ok(stat) => Ok(Some(Stamp::of_stat(&stat))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Of an open file: what is read from it is what the stamp is of.
    ///
    /// # Errors
    ///
    /// The file cannot be looked at.
    pub fn of_file(file: &File) -> io::Result<Stamp> {
        Ok(Stamp::of_stat(&rustix::fs::fstat(file)?))
    }

    #[allow(
        clippy::unnecessary_cast,
        clippy::useless_conversion,
        reason = "their types are not the same everywhere"
    )]
    pub(crate) fn of_stat(stat: &Stat) -> Stamp {
        Stamp {
            identity: Identity::of(stat),
            size: stat.st_size as i64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}
