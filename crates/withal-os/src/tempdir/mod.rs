//! A directory that is gone when its block is left.

mod error;

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode};
use withal_core::{ContextManager, ExitCase};

pub use error::TempDirError;

use crate::directory::{Directory, FileId, Identity, file_type};
use crate::random;
use crate::report;
use crate::shown::shown;
use crate::tree;
use error::Action;

/// Makes a private directory and removes it, with all that is in it, when the block is left.
///
/// It is made in `$TMPDIR`, or `/tmp`, or where [`new_in`](TempDir::new_in) says; its name is
/// random and its mode 0700, whatever the umask. It is removed however the block ends, and an error
/// of the removal is an error of the block.
///
/// Removal goes through descriptors: symbolic links are unlinked, never followed; a mount inside is
/// not entered but reported; and nothing is removed if the directory has been replaced by another.
/// Read-only directories inside are no obstacle to their owner. While it is open it is held under a
/// shared lock, which keeps `systemd-tmpfiles` from cleaning it up.
///
/// A process that is killed leaves its directory behind.
///
/// # Examples
///
/// ```
/// use withal_core::with;
/// use withal_os::TempDir;
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let path = with(TempDir::new(), |directory| {
///     std::fs::write(directory.path().join("scratch"), "…")?;
///     Ok(directory.path().to_owned())
/// })?;
/// assert!(!path.exists());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is made before `open`, or before a block is entered with it"]
pub struct TempDir {
    /// `None` is `$TMPDIR`, looked up when it is made.
    parent: Option<PathBuf>,
    prefix: OsString,
    /// Where it will be, once that is chosen.
    chosen: Option<PathBuf>,
}

impl Default for TempDir {
    fn default() -> TempDir {
        TempDir {
            parent: None,
            prefix: OsString::from("withal-"),
            chosen: None,
        }
    }
}

impl TempDir {
    /// A directory in `$TMPDIR`, or in `/tmp` where that is not set or empty.
    pub fn new() -> TempDir {
        TempDir::default()
    }

    /// A directory in `parent`.
    pub fn new_in(parent: impl Into<PathBuf>) -> TempDir {
        TempDir {
            parent: Some(parent.into()),
            ..TempDir::default()
        }
    }

    /// What the name begins with, before 32 random characters; `withal-` unless said otherwise.
    pub fn prefix(mut self, prefix: impl Into<OsString>) -> TempDir {
        self.prefix = prefix.into();
        self
    }

    /// Chooses the random name now, so that [`path`](TempDir::path) is known before the directory is
    /// made: whoever writes it down first can remove the directory after a crash, by
    /// [`remove_temp_dir`].
    ///
    /// # Errors
    ///
    /// The prefix contains a slash; the current directory, or random bits, cannot be had.
    pub fn choose(mut self) -> Result<TempDir, TempDirError> {
        if self.chosen.is_none() {
            let (parent, action) = self.place();
            let chosen = self.choose_in(&parent);
            self.chosen =
                Some(chosen.map_err(|source| TempDirError::new(&parent, action, source))?);
        }
        Ok(self)
    }

    /// Where the directory will be, once that is [chosen](TempDir::choose).
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.chosen.as_deref()
    }

    fn choose_in(&self, parent: &Path) -> io::Result<PathBuf> {
        if self.prefix.as_bytes().contains(&b'/') {
            let detail = "its prefix contains a slash: give the directory to `new_in`";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, detail));
        }
        let mut name = self.prefix.clone();
        name.push(random::name()?);
        // Absolute, so that the path stays right after a `chdir`.
        Ok(std::path::absolute(parent)?.join(name))
    }

    /// The parent, and what errors say of it.
    fn place(&self) -> (PathBuf, Action) {
        match (&self.parent, tmpdir()) {
            (Some(parent), _) => (parent.clone(), Action::Create),
            (None, Some(parent)) => (parent, Action::CreateInTmpdir),
            (None, None) => (PathBuf::from("/tmp"), Action::Create),
        }
    }

    /// Makes the directory, as a plain value.
    ///
    /// # Errors
    ///
    /// The parent cannot be opened, or no directory can be made in it; the prefix contains a slash;
    /// a directory that was chosen before is there already.
    pub fn open(self) -> Result<OpenTempDir, TempDirError> {
        let (parent, action) = self.place();
        let chosen = self.choose()?.chosen.unwrap_or_default();
        let failed = |source| TempDirError::new(&parent, action.clone(), source);
        let (directory, name) = open_parent(&chosen).map_err(failed)?;
        rustix::fs::mkdirat(&directory, &name, Mode::RWXU).map_err(|error| failed(error.into()))?;
        let fd = open_private(&directory, &name).map_err(|error| {
            let _gone = rustix::fs::unlinkat(&directory, &name, AtFlags::REMOVEDIR);
            failed(error)
        })?;
        Ok(OpenTempDir {
            path: directory.path().join(&name),
            identity: Identity::of_fd(&fd).map_err(failed)?,
            parent: directory,
            name,
            _lock: fd,
            armed: true,
        })
    }
}

/// Removes a directory that a [`TempDir`] made and whose process has died, with all that is in it.
///
/// `id` is what it [was](OpenTempDir::id), where that is known: another directory that has its path
/// now is left alone. So is, in any case, one of another user and what is no directory. That there
/// is nothing is success.
///
/// # Errors
///
/// The path has no name at its end; something else is there; something cannot be removed: it is
/// named, and what else can be removed is.
///
/// # Examples
///
/// ```
/// use withal_os::{TempDir, remove_temp_dir};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let chosen = TempDir::new().choose()?;
/// let path = chosen.path().expect("chosen").to_owned();
/// remove_temp_dir(&path, None)?; // it has not been made: nothing to do
/// let made = chosen.open()?;
/// let id = made.id();
/// assert_eq!(made.into_path(), path);
/// remove_temp_dir(&path, Some(id))?;
/// assert!(!path.exists());
/// # Ok(())
/// # }
/// ```
pub fn remove_temp_dir(path: &Path, id: Option<FileId>) -> Result<(), TempDirError> {
    let failed = |source| {
        let detail = format!("cannot remove `{}`", shown(path));
        TempDirError::new(path, Action::Remove(detail), source)
    };
    let (parent, name) = match open_parent(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let Some(stat) = parent.stat(&name).map_err(failed)? else {
        return Ok(());
    };
    let found = Identity::of(&stat);
    let is_another = id.is_some_and(|id| id != FileId::from(found));
    let is_ours = stat.st_uid == rustix::process::geteuid().as_raw();
    if is_another || !is_ours || file_type(&stat) != FileType::Directory {
        return Err(failed(io::Error::other(
            "what has its name now is not what was made; it is left alone",
        )));
    }
    tree::remove(&parent, &name, found).map_err(|error| TempDirError::removal(path, error))
}

fn open_parent(path: &Path) -> io::Result<(Directory, OsString)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no name at its end",
        ));
    };
    Ok((Directory::open(parent)?, name.to_owned()))
}

/// Where `$TMPDIR` says; set to nothing it says nothing.
fn tmpdir() -> Option<PathBuf> {
    let value = std::env::var_os("TMPDIR").filter(|value| !value.is_empty());
    value.map(PathBuf::from)
}

/// Opens what was just made, and takes back what the umask may have taken too much.
fn open_private(parent: &Directory, name: &OsStr) -> io::Result<OwnedFd> {
    let name = CString::new(name.as_bytes())?;
    let fd = tree::open_child(parent, &name, true)?;
    let stat = rustix::fs::fstat(&fd)?;
    if stat.st_uid != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other(
            "the new directory was replaced by somebody else's: its parent is open to others and \
             not sticky",
        ));
    }
    rustix::fs::fchmod(&fd, Mode::RWXU)?;
    // Only a sign to cleaners that it is in use; where there are no locks it goes without.
    let _sign = rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared);
    Ok(fd)
}

/// A temporary directory: what a [`TempDir`] lends.
///
/// Dropped without [`close`](OpenTempDir::close) it is removed too, and an error of that is only
/// noticed.
#[must_use = "the directory is removed when this is dropped"]
pub struct OpenTempDir {
    parent: Directory,
    name: OsString,
    path: PathBuf,
    identity: Identity,
    _lock: OwnedFd,
    /// Whether it is still to be removed.
    armed: bool,
}

impl OpenTempDir {
    /// Where it is; an absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which directory it is, whatever it is called.
    #[must_use]
    pub fn id(&self) -> FileId {
        self.identity.into()
    }

    /// Keeps the directory: it is not removed when the block is left.
    ///
    /// ```
    /// # use withal_core::with;
    /// # use withal_os::TempDir;
    /// # fn main() -> Result<(), withal_core::Error> {
    /// let kept = with(TempDir::new(), |directory| Ok(directory.keep().to_owned()))?;
    /// assert!(kept.is_dir());
    /// # std::fs::remove_dir(kept).unwrap();
    /// # Ok(())
    /// # }
    /// ```
    pub fn keep(&mut self) -> &Path {
        self.armed = false;
        &self.path
    }

    /// Keeps the directory and gives its path.
    #[must_use = "nothing else knows where the directory is"]
    pub fn into_path(mut self) -> PathBuf {
        self.armed = false;
        std::mem::take(&mut self.path)
    }

    /// Removes the directory with all that is in it, unless it was kept.
    ///
    /// # Errors
    ///
    /// Something cannot be removed: it is named, and what else can be removed is. That somebody
    /// removed the directory before is no error.
    pub fn close(mut self) -> Result<(), TempDirError> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), TempDirError> {
        if !std::mem::take(&mut self.armed) {
            return Ok(());
        }
        tree::remove(&self.parent, &self.name, self.identity)
            .map_err(|error| TempDirError::removal(&self.path, error))
    }
}

impl AsRef<Path> for OpenTempDir {
    fn as_ref(&self) -> &Path {
        &self.path
    }
}

impl Drop for OpenTempDir {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            report::teardown_failed("OpenTempDir", error);
        }
    }
}

impl fmt::Debug for OpenTempDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTempDir")
            .field("path", &self.path)
            .field("kept", &!self.armed)
            .finish_non_exhaustive()
    }
}

impl ContextManager for TempDir {
    type Resource = OpenTempDir;
    type Error = TempDirError;

    fn enter(self) -> Result<OpenTempDir, TempDirError> {
        self.open()
    }

    fn exit(directory: OpenTempDir, _case: ExitCase) -> Result<(), TempDirError> {
        directory.close()
    }
}
