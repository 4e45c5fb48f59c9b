//! The directory a server has to itself.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, fchown, flock, open};
use rustix::io::Errno;
use withal_os::{FileId, OpenTempDir, TempDir, remove_temp_dir};

use super::account::Account;
use super::error::ServerError;

/// The longest path of a directory that still has room for a socket: 108 bytes hold
/// `/withal-pg-`, 32 random characters, `/.s.PGSQL.12345` and a final zero.
const LONGEST: usize = 49;

/// A directory this young may not be locked yet by whoever has just made it.
const JUST_MADE: Duration = Duration::from_secs(60);

/// A private directory for the server's files and socket, and whose it is.
#[derive(Debug)]
pub(super) struct Home {
    directory: OpenTempDir,
    account: Account,
}

impl Home {
    /// Makes one for a server of this `name` in `parent`, or where temporary files go.
    ///
    /// What servers of processes that were killed have left there is removed first.
    pub(super) fn make(
        name: &str,
        parent: Option<&Path>,
        account: Account,
    ) -> Result<Home, ServerError> {
        let parent = parent.map_or_else(temporary, Path::to_owned);
        sweep(&parent, &prefix(name), account);
        Home::make_chosen(directory(name, Some(&parent)), account)
    }

    /// Makes this one.
    pub(super) fn make_chosen(directory: TempDir, account: Account) -> Result<Home, ServerError> {
        let failed = "make a directory for a server";
        Ok(Home {
            directory: directory.open().map_err(ServerError::doing(failed))?,
            account,
        })
    }

    pub(super) fn id(&self) -> FileId {
        self.directory.id()
    }

    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub(super) fn account(&self) -> Account {
        self.account
    }

    /// Gives it, with all that is in it, to the server's user.
    pub(super) fn hand_over(&self) -> Result<(), ServerError> {
        let failed = ServerError::doing("give a server its directory");
        self.account.own(self.path()).map_err(failed)
    }

    pub(super) fn remove(self) -> Result<(), ServerError> {
        let failed = ServerError::doing("remove the directory of a server");
        self.directory.close().map_err(failed)
    }
}

/// The directory that a server of this `name` would have.
pub(super) fn directory(name: &str, parent: Option<&Path>) -> TempDir {
    let parent = parent.map_or_else(temporary, Path::to_owned);
    TempDir::new_in(parent).prefix(prefix(name))
}

/// Removes the directory of a server of this `name` that has ended, and whose process was killed.
pub(super) fn clear(
    name: &str,
    path: &Path,
    id: Option<FileId>,
    account: Account,
) -> Result<(), ServerError> {
    let failed = "remove the directory of a server";
    let file_name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = file_name.strip_prefix(&prefix(name));
    let is_random =
        |it: &str| it.len() == 32 && it.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !path.is_absolute() || !random.is_some_and(is_random) {
        let why = format!("`{}`: no name that is chosen for one", path.display());
        return Err(ServerError::doing(failed)(why));
    }
    take_back(path, id, account).map_err(ServerError::doing(failed))?;
    remove_temp_dir(path, id).map_err(ServerError::doing(failed))
}

/// Makes it ours again, if it was handed over: what others own is not removed.
fn take_back(path: &Path, id: Option<FileId>, account: Account) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match open(path, flags, Mode::empty()) {
        // It is gone, or none: that is told by who removes it.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        opened => opened?,
    };
    let metadata = fs::File::from(directory.try_clone()?).metadata()?;
    let found = FileId {
        device: metadata.dev(),
        inode: metadata.ino(),
    };
    let us = rustix::process::geteuid();
    let is_handed_over = metadata.uid() == account.uid() && metadata.uid() != us.as_raw();
    if is_handed_over && id.is_none_or(|id| id == found) {
        fchown(&directory, Some(us), None)?;
    }
    Ok(())
}

fn prefix(name: &str) -> String {
    format!("withal-{name}-")
}

fn temporary() -> PathBuf {
    let said = std::env::temp_dir();
    match said.as_os_str().len() <= LONGEST {
        true => said,
        false => PathBuf::from("/tmp"),
    }
}

/// Removes directories of servers whose process was killed together with its supervisor.
fn sweep(parent: &Path, prefix: &str, account: Account) {
    // What cannot be listed cannot be swept; that nothing can be made in it is told soon enough.
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let names = entries.filter(|it| it.file_name().to_string_lossy().starts_with(prefix));
    for entry in names {
        // Somebody may sweep it at the same time, or own it: then it is theirs.
        if is_abandoned(&entry.path(), account).unwrap_or(false) {
            let _theirs = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether it is one of ours, not brand-new, and not held by the lock of a living process.
fn is_abandoned(path: &Path, account: Account) -> io::Result<bool> {
    let metadata = fs::symlink_metadata(path)?;
    let ours = [account.uid(), rustix::process::geteuid().as_raw()];
    let age = metadata.modified()?.elapsed().unwrap_or_default();
    if !metadata.is_dir() || !ours.contains(&metadata.uid()) || age < JUST_MADE {
        return Ok(false);
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = open(path, flags, Mode::empty())?;
    Ok(flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok())
}
