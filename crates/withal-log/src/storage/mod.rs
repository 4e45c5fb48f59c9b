//! The few file operations that a log is made of.
//!
//! All of a log's input and output goes through these traits, so that a test can put a disk behind
//! them that loses, tears and fails as disks do.

mod disk;
mod file_system;

use std::any::Any;
use std::fmt;
use std::io;

pub use disk::Disk;

use crate::options::TailRule;

/// How much of a file a bad sector takes with it, and what a disk replaces at once.
pub const PAGE: u64 = 4096;

/// What a directory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// What it is called.
    pub name: String,
    /// How far text that was not synced can be trusted after a crash.
    pub tail_rule: TailRule,
    /// Whether what is replaced in a file stays where it lies, so that it is durable by one write.
    pub is_in_place: bool,
}

/// A directory, whose files are named by a path relative to it.
pub trait Storage: fmt::Debug + Send + Sync {
    /// How messages name a file.
    fn display(&self, name: &str) -> String;

    /// The file system it lies on.
    ///
    /// # Errors
    ///
    /// Why that cannot be known.
    fn file_system(&self) -> io::Result<FileSystem>;

    /// Keeps other writers out until the answer is dropped.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`], with a message that names the holder, if another has it; or
    /// why it cannot be taken.
    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>>;

    /// The names of all files, in no order.
    ///
    /// # Errors
    ///
    /// Why the directory cannot be read.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a new, empty file.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`], or why it cannot be made.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Opens a file, to add to it if `write`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`], or why it cannot be opened.
    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn File>>;

    /// Makes or replaces a small file, durably: at any moment it is the old or the new one.
    ///
    /// # Errors
    ///
    /// Why it cannot be written; it is then as it was.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()>;

    /// Opens a file of `len` bytes whose pages are replaced where they lie; makes it durably and full
    /// of zeros if there is none of that length. `None` where that is not quicker than to sync.
    ///
    /// # Errors
    ///
    /// Why it cannot be made or opened.
    fn overwritten(&self, name: &str, len: u64) -> io::Result<Option<Box<dyn Overwrite>>>;

    /// Makes `name` a symbolic link to `target`, or changes it to that, at once. Where there are no
    /// symbolic links it does nothing.
    ///
    /// # Errors
    ///
    /// Why it cannot be made.
    fn point(&self, name: &str, target: &str) -> io::Result<()>;

    /// What the symbolic link `name` points to; nothing if it is none, or cannot be read.
    fn pointed(&self, name: &str) -> Option<String>;

    /// Renames a file; what had the new name is gone.
    ///
    /// # Errors
    ///
    /// Why it cannot be renamed.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// Why it cannot be removed.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes names made, changed and removed so far durable.
    ///
    /// # Errors
    ///
    /// Why the directory cannot be synced.
    fn sync(&self) -> io::Result<()>;
}

/// An open file of a [`Storage`] that has its length, and keeps its place on the disk.
pub trait Overwrite: fmt::Debug + Send + Sync {
    /// Replaces a part of it, durably: when it returns, a power loss leaves the new one. The address
    /// of `bytes`, their length and `offset` are multiples of [`PAGE`].
    ///
    /// # Errors
    ///
    /// Why it could not. That part of it may then be anything.
    fn overwrite(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
}

/// An open file of a [`Storage`].
pub trait File: fmt::Debug + Send + Sync {
    /// Adds bytes at the end; gives how many it took.
    ///
    /// # Errors
    ///
    /// Why it took none.
    fn append(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Reads at `offset`; gives how many bytes there were, 0 at the end.
    ///
    /// # Errors
    ///
    /// Why it cannot be read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Where to try again if it cannot be read at `offset`: how much is damaged together.
    fn behind_damage(&self, offset: u64) -> u64 {
        (offset / PAGE + 1) * PAGE
    }

    /// How long it is.
    ///
    /// # Errors
    ///
    /// Why that cannot be known.
    fn size(&self) -> io::Result<u64>;

    /// Cuts it to `len` bytes, and gives back what was reserved beyond.
    ///
    /// # Errors
    ///
    /// Why it cannot be cut.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Sets disk space aside for `len` bytes at `offset`; its length stays.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`], or [`io::ErrorKind::Unsupported`].
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Has the system begin to bring `len` bytes at `offset` to the disk, and waits for nothing.
    ///
    /// A hint: only [`sync_data`](File::sync_data) tells what has become of them.
    fn start_writeback(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }

    /// Makes content and length durable.
    ///
    /// # Errors
    ///
    /// Why they could not be made so. What was written since the last success may then be lost,
    /// even if a later call succeeds: never call it again.
    fn sync_data(&self) -> io::Result<()>;
}

impl dyn File + '_ {
    /// Fills `buffer` from `offset` as far as there is content.
    pub(crate) fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_until_damage(rest, offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }

    /// As `read_full`, but only up to what cannot be read: that is the error of the next call, from
    /// there.
    pub(crate) fn read_until_damage(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(filled)
    }

    /// Reads all of it, so many bytes at a time; gives how many there were.
    pub(crate) fn each_piece(
        &self,
        size: usize,
        mut give: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<u64> {
        let mut buffer = vec![0; size];
        let mut at = 0;
        loop {
            let read = self.read_full(&mut buffer, at)?;
            let (piece, _) = buffer.split_at(read);
            if piece.is_empty() {
                return Ok(at);
            }
            give(piece)?;
            at += read as u64;
        }
    }

    /// Adds all of `bytes`; if it cannot, gives how many it took, and why not more.
    pub(crate) fn append_all(&self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let taken = bytes.len() - rest.len();
            match self.append(rest) {
                Ok(0) => return Err((taken, io::ErrorKind::WriteZero.into())),
                Ok(more) => rest = rest.get(more..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((taken, error)),
            }
        }
        Ok(())
    }
}
