//! A whole directory, replaced in one step.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, RenameFlags, Stat};
use rustix::io::Errno;
use withal_core::{ContextManager, ExitCase};

use crate::atomic::commit::sync_directory;
use crate::atomic::error::{WriteError, WriteErrorKind};
use crate::atomic::options::{Durability, Symlinks};
use crate::atomic::target::Target;
use crate::atomic::umask::umask;
use crate::atomic::{stale, temporary};
use crate::directory::{Identity, file_type, sync_names, type_name};
use crate::report;
use crate::shown::shown;
use crate::tree;

/// Replaces a directory, with all that is in it, whole or not at all.
///
/// The block fills an empty directory beside the target. If it succeeds, everything in it is
/// synced, the two directories change places in one step (`renameat2` with `RENAME_EXCHANGE`), and
/// the old one is removed. If it fails, panics or is cancelled, the new directory is removed and
/// the target is as it was. It starts empty: copy or link what is to stay.
///
/// Use it where several files must change together. Processes that have files of the old directory
/// open, or have it as their working directory, keep the old one. A target that is a symbolic link
/// is followed; the link stays.
///
/// # Examples
///
/// ```
/// use std::fs;
/// use withal_core::with;
/// use withal_os::AtomicDir;
///
/// # fn main() -> Result<(), withal_core::Error> {
/// # let directory = withal_os::TempDir::new().open().unwrap();
/// # let path = directory.path().join("site");
/// with(AtomicDir::create(&path), |site| {
///     fs::write(site.path().join("index.html"), "<h1>new</h1>")?;
///     fs::write(site.path().join("style.css"), "h1 { color: red }")?;
///     Ok(())
/// })?;
/// assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is made before `open`, or before a block is entered with it"]
pub struct AtomicDir {
    path: PathBuf,
    durability: Durability,
    mode: Option<u32>,
}

impl AtomicDir {
    /// A new content for the directory at `path`, which is replaced or made.
    pub fn create(path: impl Into<PathBuf>) -> AtomicDir {
        AtomicDir {
            path: path.into(),
            durability: Durability::default(),
            mode: None,
        }
    }

    /// What is known to be on disk after the commit; [`Durability::Durable`] unless said otherwise.
    ///
    /// Durable syncs every file by itself, which takes its time for thousands of them. `Content`
    /// is the same here: an old directory is not emptied before the new one is known to last.
    pub fn durability(mut self, durability: Durability) -> AtomicDir {
        self.durability = durability;
        self
    }

    /// The mode of the new directory itself. Without it that of the old one is kept, and a
    /// directory that was not there gets 0777 less the umask.
    pub fn mode(mut self, mode: u32) -> AtomicDir {
        self.mode = Some(mode);
        self
    }

    /// Makes the new directory, as a plain value.
    ///
    /// # Errors
    ///
    /// The path names no directory, or something else than a directory; none can be made beside it.
    pub fn open(self) -> Result<StagedDir, WriteError> {
        let target = Target::resolve(&self.path, Symlinks::Follow)?;
        let _old = old(&target)?;
        stale::sweep(&target.parent, FileType::Directory);
        let failed = |error| {
            let directory = shown(target.parent.path());
            target.failed(
                format!("cannot make a temporary directory in `{directory}`"),
                error,
            )
        };
        let (temporary, fd) =
            temporary::create_dir(&target.parent, &target.name).map_err(failed)?;
        let identity = Identity::of_fd(&fd).map_err(failed)?;
        Ok(StagedDir {
            path: target.parent.path().join(&temporary),
            options: self,
            target,
            temporary,
            fd,
            identity,
            armed: true,
        })
    }
}

/// The directory that is there now, if any.
fn old(target: &Target) -> Result<Option<Stat>, WriteError> {
    match target.stat()? {
        None => Ok(None),
        Some(stat) if file_type(&stat) == FileType::Directory => Ok(Some(stat)),
        Some(stat) => Err(target.wrong_type(format!(
            "it is {}, and only a directory can be replaced by one",
            type_name(file_type(&stat))
        ))),
    }
}

/// The new content of a directory, on its way: what an [`AtomicDir`] lends.
#[must_use = "the target is only replaced by `commit`; dropping this removes what was made"]
pub struct StagedDir {
    options: AtomicDir,
    target: Target,
    temporary: OsString,
    path: PathBuf,
    /// Holds the lock that says its writer is alive.
    fd: OwnedFd,
    identity: Identity,
    armed: bool,
}

impl StagedDir {
    /// Where to put the new files: a directory that becomes the target.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the new directory in the target's place and removes the old one.
    ///
    /// # Errors
    ///
    /// [`WriteError::is_committed`] says on which side of the exchange it failed. Before it, the
    /// target is as it was and the new directory is removed: a file cannot be synced, or the
    /// filesystem cannot exchange directories
    /// ([`Unsupported`](crate::WriteErrorKind::Unsupported)). After it,
    /// [`NotDurable`](crate::WriteErrorKind::NotDurable), and then the old directory is left for
    /// the next writer to remove; or [`NotRemoved`](crate::WriteErrorKind::NotRemoved).
    pub fn commit(mut self) -> Result<(), WriteError> {
        let committed = self.exchange();
        if committed.is_err() {
            // The commit's own error is the one to hear; what is left behind is swept later.
            let _ = self.remove();
        }
        committed
    }

    /// Removes the new directory; the target is as it was.
    ///
    /// # Errors
    ///
    /// Something in the new directory cannot be removed; the rest is.
    pub fn abort(mut self) -> Result<(), WriteError> {
        self.remove()
    }

    fn exchange(&mut self) -> Result<(), WriteError> {
        let old = old(&self.target)?;
        let mode = self.options.mode.unwrap_or_else(|| match &old {
            Some(old) => old.st_mode,
            None => 0o777 & !umask(),
        });
        let (parent, name) = (&self.target.parent, &self.target.name);
        let durable = self.options.durability != Durability::Atomic;
        if durable {
            tree::sync(parent, &self.temporary, self.identity).map_err(|error| {
                let detail = format!("cannot sync its new content: {error}");
                self.target.failed(detail, error.source)
            })?;
        }
        // After the walk, which a mode without the owner's rights would stop.
        rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode & 0o7777))
            .map_err(|error| self.target.failed("cannot set its mode", error.into()))?;
        if durable {
            sync_names(&self.fd)
                .map_err(|error| self.target.failed("cannot sync its mode", error))?;
        }
        let flags = match old {
            Some(_) => RenameFlags::EXCHANGE,
            None => RenameFlags::NOREPLACE,
        };
        rustix::fs::renameat_with(parent, &self.temporary, parent, name, flags)
            .map_err(|error| self.not_exchanged(error))?;
        // From here on the temporary's name is that of the old directory, if of any.
        self.armed = false;
        if durable {
            // The old directory must not be emptied before the exchange is known to last.
            sync_directory(&self.target)?;
        }
        match old {
            Some(old) => self.remove_old(Identity::of(&old)),
            None => Ok(()),
        }
    }

    fn not_exchanged(&self, error: Errno) -> WriteError {
        let (kind, detail) = match error {
            // EXDEV within one directory: an overlay whose directories come from several layers.
            Errno::INVAL | Errno::NOSYS | Errno::XDEV | Errno::OPNOTSUPP => (
                WriteErrorKind::Unsupported,
                "this kernel or filesystem cannot exchange two directories",
            ),
            Errno::NOENT => (
                WriteErrorKind::Lost,
                "it or its temporary directory was removed by somebody else",
            ),
            Errno::BUSY => (
                WriteErrorKind::NotCommitted,
                "it is a mount point, which cannot be moved; replace a directory inside it",
            ),
            _ => (WriteErrorKind::NotCommitted, "cannot put it in place"),
        };
        WriteError::io(&self.target.given, kind, detail, error)
    }

    fn remove_old(&self, old: Identity) -> Result<(), WriteError> {
        tree::remove(&self.target.parent, &self.temporary, old).map_err(|error| {
            let detail = format!("the old directory was not removed: {error}");
            WriteError::io(
                &self.target.given,
                WriteErrorKind::NotRemoved,
                detail,
                error.source,
            )
        })
    }

    fn remove(&mut self) -> Result<(), WriteError> {
        if !std::mem::take(&mut self.armed) {
            return Ok(());
        }
        tree::remove(&self.target.parent, &self.temporary, self.identity).map_err(|error| {
            let detail = format!("its temporary directory was not removed: {error}");
            self.target.failed(detail, error.source)
        })
    }
}

impl Drop for StagedDir {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            report::teardown_failed("StagedDir", error);
        }
    }
}

impl fmt::Debug for StagedDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedDir")
            .field("target", &self.target.given)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl ContextManager for AtomicDir {
    type Resource = StagedDir;
    type Error = WriteError;

    fn enter(self) -> Result<StagedDir, WriteError> {
        self.open()
    }

    /// Commits if all went well, aborts otherwise.
    fn exit(staged: StagedDir, case: ExitCase) -> Result<(), WriteError> {
        if case.is_succeeded() {
            staged.commit()
        } else {
            staged.abort()
        }
    }
}
