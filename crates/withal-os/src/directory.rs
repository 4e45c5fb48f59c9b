//! An open directory, and what one needs to know about the files in it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// Which file something is, whatever it is called: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    pub(crate) fn of(stat: &Stat) -> Identity {
        Identity {
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }

    pub(crate) fn of_fd(fd: impl AsFd) -> io::Result<Identity> {
        Ok(Identity::of(&rustix::fs::fstat(fd)?))
    }
}

/// Which file something is, whatever it is called: to know it again in another process.
///
/// The kernel gives an inode to another file once this one is gone, and may number devices anew when
/// the machine starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// The filesystem it is on.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
}

impl FileId {
    /// Of what is at `path`, links not followed; `None` if there is nothing.
    ///
    /// # Errors
    ///
    /// It cannot be looked at.
    pub fn of(path: impl AsRef<Path>) -> io::Result<Option<FileId>> {
        match rustix::fs::lstat(path.as_ref()) {
            Ok(stat) => Ok(Some(Identity::of(&stat).into())),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<Identity> for FileId {
    fn from(Identity { device, inode }: Identity) -> FileId {
        FileId { device, inode }
    }
}

/// A directory held by descriptor, so that it stays the same one however it is renamed.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens the directory at `path`; an empty path is the current one.
    pub(crate) fn open(path: &Path) -> io::Result<Directory> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Directory {
            fd,
            path: path.to_owned(),
        })
    }

    /// What it was called when it was opened.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file called `name`, links not followed; `None` if there is none.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        self.stat_as(name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// What `name` leads to, links followed; `None` if there is nothing.
    pub(crate) fn stat_followed(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        self.stat_as(name, AtFlags::empty())
    }

    fn stat_as(&self, name: &OsStr, flags: AtFlags) -> io::Result<Option<Stat>> {
        match rustix::fs::statat(&self.fd, name, flags) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Unlinks `name`; that it is gone already is no error.
    pub(crate) fn unlink(&self, name: &OsStr) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes the names in it durable.
    ///
    /// Filesystems that know no such thing answer EINVAL: there is nothing to be had.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_names(&self.fd)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A name in a directory, by whatever path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    directory: Identity,
    name: OsString,
}

impl Name {
    pub(crate) fn of(directory: &Directory, name: &OsStr) -> io::Result<Name> {
        Ok(Name {
            directory: Identity::of_fd(directory)?,
            name: name.to_owned(),
        })
    }
}

/// Syncs a directory's descriptor; see [`Directory::sync`].
pub(crate) fn sync_names(fd: impl AsFd) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| rustix::fs::fsync(fd.as_fd())) {
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The type in words, with its article.
pub(crate) fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::RegularFile => "a regular file",
        FileType::Directory => "a directory",
        FileType::Symlink => "a symbolic link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice => "a character device",
        FileType::BlockDevice => "a block device",
        _ => "a file of unknown type",
    }
}
