//! A directory tree, removed or synced through descriptors alone.
//!
//! No path is walked twice, no symbolic link is followed, no mount is entered, and only one
//! descriptor is held however deep the tree is: the way up is `..`, checked to be the directory
//! one came from.

use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::directory::{Directory, Identity, file_type, sync_names};
use crate::shown::shown;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// How often a directory that others keep filling is emptied again.
const MAX_PASSES: usize = 8;

/// What could not be done, the first of it, and where.
#[derive(Debug)]
pub(crate) struct TreeError {
    pub(crate) path: PathBuf,
    pub(crate) failure: TreeFailure,
    pub(crate) source: io::Error,
    /// How many other files and directories failed too.
    pub(crate) others: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TreeFailure {
    Open,
    Read,
    Remove,
    Sync,
    /// It is a mount point.
    Mount,
    /// It is not the directory it was.
    Replaced,
}

impl fmt::Display for TreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match self.failure {
            TreeFailure::Open => write!(f, "cannot open `{path}`")?,
            TreeFailure::Read => write!(f, "cannot read the directory `{path}`")?,
            TreeFailure::Remove => write!(f, "cannot remove `{path}`")?,
            TreeFailure::Sync => write!(f, "cannot sync `{path}`")?,
            TreeFailure::Mount => write!(f, "`{path}` is a mount point, which is not entered")?,
            TreeFailure::Replaced => write!(f, "`{path}` was moved or replaced by somebody else")?,
        }
        match self.others {
            0 => Ok(()),
            others => write!(f, " (nor {others} more)"),
        }
    }
}

impl From<TreeError> for io::Error {
    fn from(error: TreeError) -> io::Error {
        io::Error::new(error.source.kind(), error.to_string())
    }
}

/// Removes the directory `name` in `parent` and all that is in it, if it is the one that `expected`
/// says. That it is gone already is no error.
///
/// What cannot be removed does not stop the rest from being removed.
pub(crate) fn remove(
    parent: &Directory,
    name: &OsStr,
    expected: Identity,
) -> Result<(), TreeError> {
    let root = CString::new(name.as_bytes()).unwrap_or_default();
    let mut walk = Walk::new(parent, &root);
    for pass in 0..=MAX_PASSES {
        match walk.open_root(parent, &root, expected)? {
            None => return Ok(()),
            Some(fd) => walk.run(fd, &Remove)?,
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => break,
            // What stayed inside is the reason, and has been noted.
            Err(Errno::NOTEMPTY) if walk.first.is_some() => break,
            Err(Errno::NOTEMPTY) if pass < MAX_PASSES => {}
            Err(error) => {
                walk.note(None, TreeFailure::Remove, error.into());
                break;
            }
        }
    }
    walk.first.map_or(Ok(()), Err)
}

/// Syncs every file and directory under the directory `root`, which is `name` in `parent`.
pub(crate) fn sync(parent: &Directory, name: &OsStr, expected: Identity) -> Result<(), TreeError> {
    let root = CString::new(name.as_bytes()).unwrap_or_default();
    let mut walk = Walk::new(parent, &root);
    match walk.open_root(parent, &root, expected)? {
        None => walk.note(None, TreeFailure::Replaced, Errno::NOENT.into()),
        Some(fd) => walk.run(fd, &Sync)?,
    }
    walk.first.map_or(Ok(()), Err)
}

/// What is done on a walk.
trait Visit {
    /// Whether directories are made readable and writable to do it.
    const CHANGES: bool;

    /// A file that is no directory; EISDIR says that it is one after all.
    fn file(&self, directory: &OwnedFd, name: &CStr, kind: FileType) -> rustix::io::Result<()>;

    /// A directory on the way up, all that is in it having been visited.
    fn leave(&self, directory: &OwnedFd) -> rustix::io::Result<()>;

    /// The same directory, from its parent.
    fn directory(&self, parent: &OwnedFd, name: &CStr) -> rustix::io::Result<()>;

    const FAILURE: TreeFailure;
}

struct Remove;

impl Visit for Remove {
    const CHANGES: bool = true;
    const FAILURE: TreeFailure = TreeFailure::Remove;

    fn file(&self, directory: &OwnedFd, name: &CStr, _kind: FileType) -> rustix::io::Result<()> {
        ignore_missing(rustix::fs::unlinkat(directory, name, AtFlags::empty()))
    }

    fn leave(&self, _directory: &OwnedFd) -> rustix::io::Result<()> {
        Ok(())
    }

    fn directory(&self, parent: &OwnedFd, name: &CStr) -> rustix::io::Result<()> {
        ignore_missing(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR))
    }
}

struct Sync;

impl Visit for Sync {
    const CHANGES: bool = false;
    const FAILURE: TreeFailure = TreeFailure::Sync;

    fn file(&self, directory: &OwnedFd, name: &CStr, kind: FileType) -> rustix::io::Result<()> {
        let stat = match kind {
            FileType::RegularFile => None,
            _ => Some(rustix::fs::statat(
                directory,
                name,
                AtFlags::SYMLINK_NOFOLLOW,
            )?),
        };
        match stat.map_or(FileType::RegularFile, |stat| file_type(&stat)) {
            FileType::Directory => Err(Errno::ISDIR),
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(directory, name, flags, Mode::empty())?;
                rustix::io::retry_on_intr(|| rustix::fs::fsync(&fd))
            }
            // Links and special files have no content: they are durable with their directory.
            _ => Ok(()),
        }
    }

    fn leave(&self, directory: &OwnedFd) -> rustix::io::Result<()> {
        sync_names(directory).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn directory(&self, _parent: &OwnedFd, _name: &CStr) -> rustix::io::Result<()> {
        Ok(())
    }
}

fn ignore_missing(result: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        result => result,
    }
}

/// A directory on the way from the root to where the walk is.
struct Level {
    name: CString,
    identity: Identity,
    /// Directories in it that are yet to be visited.
    pending: Vec<CString>,
    passes: usize,
    /// Whether something in it failed, so that it cannot be expected to be empty.
    failed: bool,
}

struct Walk {
    /// What the root's parent was called when it was opened.
    parent: PathBuf,
    root: CString,
    levels: Vec<Level>,
    first: Option<TreeError>,
}

impl Walk {
    fn new(parent: &Directory, root: &CStr) -> Walk {
        Walk {
            parent: parent.path().to_owned(),
            root: root.to_owned(),
            levels: Vec::new(),
            first: None,
        }
    }

    /// `None` if there is nothing of that name any more.
    fn open_root(
        &self,
        parent: &Directory,
        name: &CStr,
        expected: Identity,
    ) -> Result<Option<OwnedFd>, TreeError> {
        let fd = match open_child(parent, name, true) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(self.error(None, TreeFailure::Replaced, another()));
            }
            Err(Errno::XDEV) => {
                return Err(self.error(None, TreeFailure::Mount, mounted()));
            }
            Err(error) => return Err(self.error(None, TreeFailure::Open, error.into())),
        };
        match Identity::of_fd(&fd) {
            Ok(found) if found == expected => Ok(Some(fd)),
            Ok(_) => Err(self.error(None, TreeFailure::Replaced, another())),
            Err(error) => Err(self.error(None, TreeFailure::Open, error)),
        }
    }

    fn run<V: Visit>(&mut self, root: OwnedFd, visit: &V) -> Result<(), TreeError> {
        let name = self.root.clone();
        let mut here = root;
        let _entered = self.enter(&here, name, visit);
        while let Some(level) = self.levels.last_mut() {
            if let Some(name) = level.pending.pop() {
                if let Some(child) = self.descend::<V>(&here, &name)
                    && self.enter(&child, name, visit)
                {
                    here = child;
                }
                continue;
            }
            if let Err(error) = visit.leave(&here) {
                self.note(None, V::FAILURE, error.into());
            }
            match self.ascend(here, visit)? {
                Some(parent) => here = parent,
                None => break,
            }
        }
        Ok(())
    }

    /// Makes a directory the one the walk is in, and lists it.
    fn enter<V: Visit>(&mut self, here: &OwnedFd, name: CString, visit: &V) -> bool {
        match Identity::of_fd(here) {
            Ok(identity) => self.levels.push(Level {
                name,
                identity,
                pending: Vec::new(),
                passes: 0,
                failed: false,
            }),
            Err(error) => {
                self.note(Some(&name), TreeFailure::Open, error);
                return false;
            }
        }
        self.list(here, visit);
        true
    }

    /// Lists a directory: files are visited at once, directories remembered.
    fn list<V: Visit>(&mut self, here: &OwnedFd, visit: &V) {
        let mut directories = Vec::new();
        let entries = match Dir::read_from(here) {
            Ok(entries) => entries,
            Err(error) => return self.note(None, TreeFailure::Read, error.into()),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.note(None, TreeFailure::Read, error.into());
                    break;
                }
            };
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                directories.push(name.to_owned());
                continue;
            }
            match visit.file(here, name, entry.file_type()) {
                Ok(()) => {}
                Err(Errno::ISDIR) => directories.push(name.to_owned()),
                Err(Errno::BUSY) => self.note(Some(name), TreeFailure::Mount, mounted()),
                Err(error) => self.note(Some(name), V::FAILURE, error.into()),
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.pending = directories;
        }
    }

    fn descend<V: Visit>(&mut self, here: &OwnedFd, name: &CStr) -> Option<OwnedFd> {
        match open_child(here, name, V::CHANGES) {
            Ok(child) => return Some(child),
            Err(Errno::NOENT) => {}
            Err(Errno::XDEV) => self.note(Some(name), TreeFailure::Mount, mounted()),
            // Replaced by a file since the listing: the next pass removes it.
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => self.note(Some(name), TreeFailure::Open, error.into()),
        }
        None
    }

    /// Goes back to the parent and finishes the directory left; `None` at the root.
    fn ascend<V: Visit>(&mut self, here: OwnedFd, visit: &V) -> Result<Option<OwnedFd>, TreeError> {
        let Some(left) = self.levels.pop() else {
            return Ok(None);
        };
        let Some(level) = self.levels.last_mut() else {
            return Ok(None);
        };
        level.failed |= left.failed;
        let expected = level.identity;
        let parent = rustix::fs::openat(&here, c"..", DIRECTORY, Mode::empty())
            .map_err(|error| self.error(Some(&left.name), TreeFailure::Open, error.into()))?;
        if Identity::of_fd(&parent).ok() != Some(expected) {
            return Err(self.error(Some(&left.name), TreeFailure::Replaced, another()));
        }
        match visit.directory(&parent, &left.name) {
            Ok(()) => {}
            Err(Errno::NOTEMPTY) if left.failed => {}
            // Filled by somebody since it was listed, or the listing missed names that moved.
            Err(Errno::NOTEMPTY) if left.passes < MAX_PASSES => {
                self.levels.push(Level {
                    passes: left.passes + 1,
                    ..left
                });
                self.list(&here, visit);
                return Ok(Some(here));
            }
            Err(error) => self.note(Some(&left.name), V::FAILURE, error.into()),
        }
        Ok(Some(parent))
    }

    /// Notes a failure at `name` in the directory the walk is in, or at that directory itself.
    fn note(&mut self, name: Option<&CStr>, failure: TreeFailure, source: io::Error) {
        if let Some(level) = self.levels.last_mut() {
            level.failed = true;
        }
        match &mut self.first {
            Some(first) => first.others += 1,
            None => self.first = Some(self.error(name, failure, source)),
        }
    }

    fn error(&self, name: Option<&CStr>, failure: TreeFailure, source: io::Error) -> TreeError {
        let mut path = self.parent.clone();
        match self.levels.as_slice() {
            [] => path.push(OsStr::from_bytes(self.root.to_bytes())),
            levels => path.extend(
                levels
                    .iter()
                    .map(|level| OsStr::from_bytes(level.name.to_bytes())),
            ),
        }
        path.extend(name.map(|name| OsStr::from_bytes(name.to_bytes())));
        TreeError {
            path,
            failure,
            source,
            others: 0,
        }
    }
}

/// Opens the directory `name`, which must be no link and no mount.
///
/// With `changes`, a directory of one's own that forbids what removal needs is allowed it first.
pub(crate) fn open_child(
    parent: impl AsFd,
    name: &CStr,
    changes: bool,
) -> rustix::io::Result<OwnedFd> {
    let parent = parent.as_fd();
    let opened = match open_here(parent, name, DIRECTORY) {
        Err(Errno::ACCESS) if changes => {
            let fd = open_here(
                parent,
                name,
                OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            )?;
            // The only way to change the mode of what can only be held by path.
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            rustix::fs::chmodat(rustix::fs::CWD, path, Mode::RWXU, AtFlags::empty())?;
            open_here(parent, name, DIRECTORY)?
        }
        opened => opened?,
    };
    if changes {
        let mode = Mode::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode);
        if !mode.contains(Mode::RWXU) {
            // Not ours to change: then removing what is in it says so.
            let _refused = rustix::fs::fchmod(&opened, mode | Mode::RWXU);
        }
    }
    Ok(opened)
}

/// Opens without leaving the mount that `parent` is on.
fn open_here(parent: impl AsFd, name: &CStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let parent = parent.as_fd();
    let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
        // Linux before 5.6, or a sandbox that does not know the call: a mount of another
        // filesystem is still seen by its device.
        Err(Errno::NOSYS | Errno::PERM) => {
            let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            match rustix::fs::fstat(&fd)?.st_dev == rustix::fs::fstat(parent)?.st_dev {
                true => Ok(fd),
                false => Err(Errno::XDEV),
            }
        }
        opened => opened,
    }
}

/// Why what has another's place is left alone, and what to do.
fn another() -> io::Error {
    io::Error::other("what has its name now is left alone; remove what you do not need by hand")
}

/// What to do with a mount that is in the way.
fn mounted() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "unmount it, then remove it by hand",
    )
}
