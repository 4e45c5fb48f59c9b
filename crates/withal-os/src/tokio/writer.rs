//! The manager, for tasks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use withal_core::{AsyncContextManager, ExitCase};

use crate::tokio::blocking::{RuntimeGone, run};
use crate::tokio::file::AtomicFile;
use crate::{Durability, Preserve, Stamp, Symlinks, WriteError, WriteErrorKind};

/// Replaces a file whole or not at all: [`withal_os::AtomicWriter`](crate::AtomicWriter) for async
/// code.
///
/// The options are the same, and mean the same. System calls run on blocking threads.
///
/// # Cancel safety
///
/// A block whose future is dropped in its body aborts; a commit that has begun runs to its end.
///
/// # Examples
///
/// ```
/// use tokio::io::AsyncWriteExt;
/// use withal_os::tokio::AtomicWriter;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = withal_os::TempDir::new().open()?;
/// # let path = directory.path().join("config.toml");
/// // In a scope: `let file = s.enter(AtomicWriter::create(&path)).await?;`
/// let mut file = AtomicWriter::create(&path).open().await?;
/// file.write_all(b"answer = 42\n").await?;
/// file.commit().await?;
/// assert_eq!(std::fs::read(&path)?, b"answer = 42\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`, or before a block is entered with it"]
pub struct AtomicWriter(crate::AtomicWriter);

impl From<crate::AtomicWriter> for AtomicWriter {
    fn from(writer: crate::AtomicWriter) -> AtomicWriter {
        AtomicWriter(writer)
    }
}

impl AtomicWriter {
    /// A writer of the file at `path`, which is replaced or made.
    pub fn create(path: impl Into<PathBuf>) -> AtomicWriter {
        AtomicWriter(crate::AtomicWriter::create(path))
    }

    /// A writer of a file at `path` that must not exist; see
    /// [`create_new`](crate::AtomicWriter::create_new).
    pub fn create_new(path: impl Into<PathBuf>) -> AtomicWriter {
        AtomicWriter(crate::AtomicWriter::create_new(path))
    }

    /// Whether an existing target is an error; see
    /// [`no_clobber`](crate::AtomicWriter::no_clobber).
    pub fn no_clobber(self, no_clobber: bool) -> AtomicWriter {
        AtomicWriter(self.0.no_clobber(no_clobber))
    }

    /// What is known to be on disk after the commit; see
    /// [`durability`](crate::AtomicWriter::durability).
    pub fn durability(self, durability: Durability) -> AtomicWriter {
        AtomicWriter(self.0.durability(durability))
    }

    /// What is done with a target that is a symbolic link; see
    /// [`symlinks`](crate::AtomicWriter::symlinks).
    pub fn symlinks(self, symlinks: Symlinks) -> AtomicWriter {
        AtomicWriter(self.0.symlinks(symlinks))
    }

    /// How many bytes the new content will have; see [`size`](crate::AtomicWriter::size).
    pub fn size(self, bytes: u64) -> AtomicWriter {
        AtomicWriter(self.0.size(bytes))
    }

    /// The mode of the new file; see [`mode`](crate::AtomicWriter::mode).
    pub fn mode(self, mode: u32) -> AtomicWriter {
        AtomicWriter(self.0.mode(mode))
    }

    /// Whether the mode of the old file is kept; see
    /// [`permissions`](crate::AtomicWriter::permissions).
    pub fn permissions(self, permissions: Preserve) -> AtomicWriter {
        AtomicWriter(self.0.permissions(permissions))
    }

    /// Whether user and group are kept; see [`owner`](crate::AtomicWriter::owner).
    pub fn owner(self, owner: Preserve) -> AtomicWriter {
        AtomicWriter(self.0.owner(owner))
    }

    /// Whether the access list is kept; see [`acl`](crate::AtomicWriter::acl).
    pub fn acl(self, acl: Preserve) -> AtomicWriter {
        AtomicWriter(self.0.acl(acl))
    }

    /// Whether the SELinux label is kept; see [`selinux`](crate::AtomicWriter::selinux).
    pub fn selinux(self, selinux: Preserve) -> AtomicWriter {
        AtomicWriter(self.0.selinux(selinux))
    }

    /// Whether the other extended attributes are kept; see [`xattrs`](crate::AtomicWriter::xattrs).
    pub fn xattrs(self, xattrs: Preserve) -> AtomicWriter {
        AtomicWriter(self.0.xattrs(xattrs))
    }

    /// Keeps the old file at `path`; see [`backup`](crate::AtomicWriter::backup).
    pub fn backup(self, path: impl Into<PathBuf>) -> AtomicWriter {
        AtomicWriter(self.0.backup(path))
    }

    /// Keeps the old file beside the new one; see
    /// [`backup_suffix`](crate::AtomicWriter::backup_suffix).
    pub fn backup_suffix(self, suffix: impl Into<OsString>) -> AtomicWriter {
        AtomicWriter(self.0.backup_suffix(suffix))
    }

    /// Commits only if the target is still as it was when `stamp` was taken; see
    /// [`if_unchanged`](crate::AtomicWriter::if_unchanged).
    pub fn if_unchanged(self, stamp: Option<Stamp>) -> AtomicWriter {
        AtomicWriter(self.0.if_unchanged(stamp))
    }

    /// The target.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Opens the writer as a plain value.
    ///
    /// # Errors
    ///
    /// Those of [`AtomicWriter::open`](crate::AtomicWriter::open); and
    /// [`WriteErrorKind::Abandoned`] if the runtime was shut down first.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves no temporary file.
    pub async fn open(self) -> Result<AtomicFile, WriteError> {
        let path = self.0.path().to_owned();
        run(move || self.0.open().map(AtomicFile::new))
            .await
            .unwrap_or_else(|gone| Err(abandoned(&path, &gone)))
    }
}

fn abandoned(path: &Path, gone: &RuntimeGone) -> WriteError {
    WriteError::new(path, WriteErrorKind::Abandoned, gone.to_string())
}

impl AsyncContextManager for AtomicWriter {
    type Resource = AtomicFile;
    type Error = WriteError;

    async fn enter(self) -> Result<AtomicFile, WriteError> {
        self.open().await
    }

    /// Commits if all went well, aborts otherwise.
    async fn exit(file: AtomicFile, case: ExitCase) -> Result<(), WriteError> {
        if case.is_succeeded() {
            file.commit().await
        } else {
            file.abort().await
        }
    }
}

/// Replaces the file at `path` by one that contains `bytes`, whole or not at all, durably.
///
/// # Errors
///
/// Those of [`withal_os::write_atomic`](crate::write_atomic); and [`WriteErrorKind::Abandoned`] if
/// the runtime was shut down first.
///
/// # Cancel safety
///
/// Once polled it runs to its end on a blocking thread; dropped, one does not know when.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = withal_os::TempDir::new().open()?;
/// # let path = directory.path().join("state");
/// withal_os::tokio::write_atomic(&path, "ready\n").await?;
/// assert_eq!(std::fs::read(&path)?, b"ready\n");
/// # Ok(())
/// # }
/// ```
pub async fn write_atomic(
    path: impl AsRef<Path>,
    bytes: impl Into<Vec<u8>>,
) -> Result<(), WriteError> {
    let (path, bytes) = (path.as_ref().to_owned(), bytes.into());
    let writer = crate::AtomicWriter::create(&path);
    run(move || crate::atomic::write(writer, &bytes))
        .await
        .unwrap_or_else(|gone| Err(abandoned(&path, &gone)))
}
