//! A real directory.

use std::any::Any;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;
use withal_os::{FileLock, start_writeback, write_atomic};

use super::{File, FileSystem, Overwrite, Storage, file_system};

/// A directory of the file system.
#[derive(Debug)]
pub struct Disk {
    /// As it was given, for messages.
    path: PathBuf,
    /// The same place, whatever the working directory becomes.
    place: PathBuf,
    /// For the sync of names.
    directory: fs::File,
}

impl Disk {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    ///
    /// If there is none, or it cannot be opened.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Disk> {
        let path = path.into();
        let place = std::path::absolute(&path)?;
        let (place, directory) = match fs::File::open(&place) {
            Ok(directory) => (place, directory),
            // Whoever may not search what it lies in can still be in there.
            Err(_) => (path.clone(), fs::File::open(&path)?),
        };
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Disk {
            path,
            place,
            directory,
        })
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.place.join(name)
    }

    /// Opens the directory at `path`, made durably if there is none; its parent must exist.
    ///
    /// # Errors
    ///
    /// If it cannot be made or opened.
    pub fn open_or_create(path: impl Into<PathBuf>) -> io::Result<Disk> {
        let path = path.into();
        let is_new = match fs::create_dir(&path) {
            Ok(()) => true,
            // Who made it may have been killed before its name was synced.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::read_dir(&path)?.next().is_none()
            }
            Err(error) => return Err(error),
        };
        if is_new {
            let parent = path.parent().filter(|parent| *parent != Path::new(""));
            fs::File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Disk::open(path)
    }

    /// Makes the folder that `name` is in, durably, if there is none.
    fn make_folder_of(&self, name: &str) -> io::Result<()> {
        let Some(folder) = Path::new(name).parent().filter(|p| *p != Path::new("")) else {
            return Ok(());
        };
        match fs::create_dir(self.at(folder)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            // Who made it may have been killed before it was synced.
            _ => self.directory.sync_all(),
        }
    }

    /// Makes or replaces a file, durably and with the mode of all others.
    fn make(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let (folder, file) = name.rsplit_once('/').unwrap_or((".", name));
        let temporary = format!("{folder}/.{file}.new");
        match self.remove(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let new = self.create(&temporary)?;
        let made = new
            .append_all(content)
            .map_err(|(_, error)| error)
            .and_then(|()| new.sync_data())
            .and_then(|()| self.rename(&temporary, name));
        if let Err(error) = made {
            // If it cannot be removed, the next attempt does that.
            drop(self.remove(&temporary));
            return Err(error);
        }
        fs::File::open(self.at(folder))?.sync_all()
    }
}

impl Storage for Disk {
    fn display(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        file_system::of(&self.directory, &self.place)
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        match FileLock::exclusive(self.path.join(name)).try_lock() {
            Ok(held) => Ok(Box::new(held)),
            Err(busy) if busy.is_busy() => {
                Err(io::Error::new(io::ErrorKind::WouldBlock, busy.to_string()))
            }
            Err(other) => Err(io::Error::other(other)),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.place)? {
            // What has no text for a name is not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let path = self.at(name);
        self.make_folder_of(name)?;
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).append(true).create_new(true).mode(0o640);
        Ok(Box::new(DiskFile(options.open(path)?)))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        // Anything may have the name of a file of ours: a pipe must not wait for its other end.
        let at_once = OFlags::NONBLOCK.bits() as i32;
        let options = options.read(true).append(write).custom_flags(at_once);
        let path = self.at(name);
        let file = match options.open(&path) {
            // Whoever has a lease of the file, such as Samba, is asked for it first.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && path.is_file() => {
                options.custom_flags(0).open(&path)
            }
            opened => opened,
        };
        Ok(Box::new(DiskFile(file?)))
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.make_folder_of(name)?;
        match self.at(name).try_exists()? {
            // It keeps its mode.
            true => Ok(write_atomic(self.at(name), content)?),
            false => self.make(name, content),
        }
    }

    #[cfg(target_os = "linux")]
    fn overwritten(&self, name: &str, len: u64) -> io::Result<Option<Box<dyn Overwrite>>> {
        if !self.file_system()?.is_in_place {
            return Ok(None);
        }
        let path = self.at(name);
        let is_there = match fs::metadata(&path) {
            Ok(there) => there.len() == len,
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !is_there {
            let len = usize::try_from(len).map_err(io::Error::other)?;
            self.make(name, &vec![0; len])?;
        }
        let mut options = fs::OpenOptions::new();
        let past_the_cache = (OFlags::DIRECT | OFlags::DSYNC).bits() as i32;
        match options.write(true).custom_flags(past_the_cache).open(&path) {
            Ok(file) => Ok(Some(Box::new(DirectFile(file)))),
            // This file system has no way past the cache.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.remove(name)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn overwritten(&self, _: &str, _: u64) -> io::Result<Option<Box<dyn Overwrite>>> {
        Ok(None)
    }

    fn point(&self, name: &str, target: &str) -> io::Result<()> {
        let temporary = self.at(format!(".{name}.new"));
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match std::os::unix::fs::symlink(target, &temporary) {
            Err(error) if has_no_links(&error) => Ok(()),
            linked => linked.and_then(|()| fs::rename(temporary, self.at(name))),
        }
    }

    fn pointed(&self, name: &str) -> Option<String> {
        let target = fs::read_link(self.at(name)).ok()?;
        target.into_os_string().into_string().ok()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.at(from), self.at(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.at(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.directory.sync_all()
    }
}

/// Whether it means that the file system has no symbolic links: FAT, for example, and much of FUSE.
fn has_no_links(error: &io::Error) -> bool {
    let known = [Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP];
    Errno::from_io_error(error).is_some_and(|error| known.contains(&error))
}

/// Written past the system's cache, to the disk itself.
#[cfg(target_os = "linux")]
#[derive(Debug)]
struct DirectFile(fs::File);

#[cfg(target_os = "linux")]
impl Overwrite for DirectFile {
    fn overwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
}

#[derive(Debug)]
struct DiskFile(fs::File);

impl File for DiskFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut &self.0, bytes)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(&self.0, buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::ErrorKind::Unsupported.into()),
            done => Ok(done?),
        }
    }

    fn start_writeback(&self, offset: u64, len: u64) {
        start_writeback(&self.0, offset, len);
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_means_that_there_are_no_links_is_no_error() {
        let means = |error: Errno| has_no_links(&error.into());
        assert!([Errno::PERM, Errno::NOSYS, Errno::OPNOTSUPP].map(means) == [true; 3]);
        let others = [
            Errno::IO,
            Errno::NOSPC,
            Errno::ROFS,
            Errno::ACCESS,
            Errno::EXIST,
        ];
        assert!(others.map(means) == [false; 5]);
        assert!(!has_no_links(&io::ErrorKind::PermissionDenied.into()));
    }
}
