//! The manager, with its options.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use withal_core::{ContextManager, ExitCase};

use crate::atomic::error::WriteError;
use crate::atomic::file::AtomicFile;
use crate::atomic::options::{Backup, Durability, Options, Preserve, Symlinks};
use crate::atomic::stale;
use crate::atomic::stamp::Stamp;
use crate::atomic::target::Target;

/// Replaces a file whole or not at all.
///
/// The new content goes to a temporary file in the target's directory, is synced, is renamed over
/// the target, and the directory is synced. If the block fails, panics or is cancelled, the
/// temporary file is gone and the target is as it was. Readers see the old file or the new one,
/// never a part.
///
/// # The temporary file
///
/// It has mode 0600 and no name (`O_TMPFILE`) until the commit, so a writer that is killed before
/// leaves nothing. The commit calls it `.TARGET.RANDOM.withal-tmp`, syncs it and renames it, and
/// holds it under a lock while that lasts. One that is left by a kill or a power cut in just that
/// moment is removed by the first writer of another process in that directory; a process that has
/// found none there looks again with each sixteenth.
///
/// It is named before it is synced, because not every filesystem keeps a file that had no name when
/// it was synced: ext4 without a journal does not, and btrfs did not always, as `atomic-write-file`
/// found. Where a filesystem knows no files without a name, it has one from the beginning.
///
/// # The order of things
///
/// Content before name and name before success is what ALICE (OSDI 2014) found missing in most
/// programs; that a failed sync is final, what "Can Applications Recover from fsync Failures?"
/// (ATC 2020) did.
///
/// Nothing happens before [`enter`](ContextManager::enter) or [`open`](AtomicWriter::open); the
/// manager can be cloned and used again.
///
/// # What is replaced is a name
///
/// Other hard links of the old file, and processes that have it open, keep the old content. The
/// file must be on the same filesystem as its directory: a file that is itself a mount point (as a
/// container's `/etc/resolv.conf`) cannot be replaced, and the error says so.
///
/// # Several writers
///
/// Each replaces the target whole; the last to commit wins. To keep one from undoing another's
/// change, read and write under a [`FileLock`](crate::FileLock).
///
/// # Examples
///
/// ```
/// use std::io::Write;
/// use withal_core::with;
/// use withal_os::AtomicWriter;
///
/// # fn main() -> Result<(), withal_core::Error> {
/// # let directory = withal_os::TempDir::new().open().unwrap();
/// # let path = directory.path().join("config.toml");
/// with(AtomicWriter::create(&path), |file| {
///     writeln!(file, "answer = 42")?;
///     Ok(()) // an error here, and the file is as it was
/// })?;
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "answer = 42\n");
/// # Ok(())
/// # }
/// ```
///
/// As a plain value:
///
/// ```
/// use std::io::Write;
/// use withal_os::AtomicWriter;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = withal_os::TempDir::new().open()?;
/// # let path = directory.path().join("config.toml");
/// let mut file = AtomicWriter::create(&path).backup_suffix("~").open()?;
/// file.write_all(b"answer = 42\n")?;
/// file.commit()?; // dropped without it, the target is as it was
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is opened before `open`, or before a block is entered with it"]
pub struct AtomicWriter {
    path: PathBuf,
    options: Options,
}

impl AtomicWriter {
    /// A writer of the file at `path`, which is replaced or made.
    pub fn create(path: impl Into<PathBuf>) -> AtomicWriter {
        AtomicWriter {
            path: path.into(),
            options: Options::default(),
        }
    }

    /// A writer of a file at `path` that must not exist, neither at the beginning nor at the end.
    ///
    /// Of several writers of the same new file one wins; the others'
    /// [commit](AtomicFile::commit) fails with
    /// [`AlreadyExists`](crate::WriteErrorKind::AlreadyExists).
    pub fn create_new(path: impl Into<PathBuf>) -> AtomicWriter {
        AtomicWriter::create(path).no_clobber(true)
    }

    /// Whether an existing target is an error, as for [`create_new`](AtomicWriter::create_new).
    pub fn no_clobber(mut self, no_clobber: bool) -> AtomicWriter {
        self.options.no_clobber = no_clobber;
        self
    }

    /// What is known to be on disk after the commit; [`Durability::Durable`] unless said otherwise.
    pub fn durability(mut self, durability: Durability) -> AtomicWriter {
        self.options.durability = durability;
        self
    }

    /// What is done with a target that is a symbolic link; [`Symlinks::Follow`] unless said
    /// otherwise.
    ///
    /// In a directory others may write to, choose [`Symlinks::Replace`] or [`Symlinks::Refuse`].
    pub fn symlinks(mut self, symlinks: Symlinks) -> AtomicWriter {
        self.options.symlinks = symlinks;
        self
    }

    /// How many bytes the new content will have: their space is reserved at once, and a commit with
    /// any other number of them fails with [`WrongSize`](crate::WriteErrorKind::WrongSize).
    ///
    /// So a disk too full is known before the work, and a download cut short is not committed. A
    /// filesystem that cannot reserve space says that it is full when it is.
    pub fn size(mut self, bytes: u64) -> AtomicWriter {
        self.options.size = Some(bytes);
        self
    }

    /// The mode of the new file, whatever that of the old one was and whatever the umask. It then
    /// has no access list, be it the old file's or the directory's default.
    ///
    /// Without it the mode of the old file is kept, and a file that was not there gets the mode any
    /// new file would: 0666 less the umask, or what the default access list of the directory says.
    pub fn mode(mut self, mode: u32) -> AtomicWriter {
        self.options.mode = Some(mode);
        self
    }

    /// Whether the mode of the old file is kept; [`Preserve::Try`] unless said otherwise. A given
    /// [`mode`](AtomicWriter::mode) wins.
    pub fn permissions(mut self, permissions: Preserve) -> AtomicWriter {
        self.options.permissions = permissions;
        self
    }

    /// Whether user and group of the old file are kept; [`Preserve::Try`] unless said otherwise.
    ///
    /// Where they cannot be kept, the rights that depend on them are not passed on: the
    /// set-user-id and set-group-id bits are dropped, and another group gets what all others have.
    pub fn owner(mut self, owner: Preserve) -> AtomicWriter {
        self.options.owner = owner;
        self
    }

    /// Whether the access list of the old file is kept, or that it has none; [`Preserve::Try`]
    /// unless said otherwise.
    ///
    /// A group that could not be kept passes none of its rights on, in the list as in the mode.
    /// Ignored, the new file has what the default list of the directory gives it.
    pub fn acl(mut self, acl: Preserve) -> AtomicWriter {
        self.options.acl = acl;
        self
    }

    /// Whether the SELinux label of the old file is kept; [`Preserve::Try`] unless said otherwise.
    pub fn selinux(mut self, selinux: Preserve) -> AtomicWriter {
        self.options.selinux = selinux;
        self
    }

    /// Whether the other extended attributes of the old file are kept; [`Preserve::Try`] unless said
    /// otherwise.
    ///
    /// Those that speak of the old content are never kept: capabilities and integrity hashes.
    pub fn xattrs(mut self, xattrs: Preserve) -> AtomicWriter {
        self.options.xattrs = xattrs;
        self
    }

    /// Keeps the old file at `path`, on the same filesystem, in place of whatever file is there.
    ///
    /// The old and the new file change places in one step (`RENAME_EXCHANGE`), and then the old one
    /// gets its name: the target is there at all times, and the backup is the very file that was
    /// replaced, with its attributes. A kill between the two leaves it as
    /// `.TARGET.RANDOM.withal-old`, which nobody removes. Where files cannot be exchanged, the
    /// backup is a hard link made just before the rename; if the commit fails after that, it is
    /// another name of the file that is still in place.
    ///
    /// Where a symbolic link is replaced ([`Symlinks::Replace`]), it is the link that is kept, and not
    /// what it leads to. A relative one that is kept in another directory leads elsewhere.
    ///
    /// Its directory is found when the writer is opened, as the target's is: a relative path stays
    /// where it was. A backup that is the target itself, by whatever path, or a symbolic link by
    /// which it is reached, is refused then.
    pub fn backup(mut self, path: impl Into<PathBuf>) -> AtomicWriter {
        self.options.backup = Some(Backup::Path(path.into()));
        self
    }

    /// Keeps the old file beside the new one, called as it with `suffix` added, such as `~` or
    /// `.bak`. See [`backup`](AtomicWriter::backup).
    pub fn backup_suffix(mut self, suffix: impl Into<OsString>) -> AtomicWriter {
        self.options.backup = Some(Backup::Suffix(suffix.into()));
        self
    }

    /// Commits only if the target is still as it was when `stamp` was taken: no update of somebody
    /// else is lost.
    ///
    /// It is looked at just before the rename, so a writer that takes no part in this can still
    /// come in between, but where `None` says that there must be no file; for certainty among your
    /// own writers take a [`FileLock`](crate::FileLock).
    ///
    /// What counts is the file that was read: where a symbolic link is replaced
    /// ([`Symlinks::Replace`]), the one that it leads to. A link that leads to none, for which `None`
    /// stands too, must still be the link that was there when the writer was opened.
    ///
    /// ```
    /// use withal_os::{AtomicWriter, Stamp, WriteErrorKind};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = withal_os::TempDir::new().open()?;
    /// # let path = directory.path().join("config.toml");
    /// # std::fs::write(&path, "old")?;
    /// let stamp = Stamp::of(&path)?;
    /// let file = AtomicWriter::create(&path).if_unchanged(stamp).open()?;
    /// std::fs::write(&path, "somebody else's")?;
    /// assert_eq!(file.commit().unwrap_err().kind(), WriteErrorKind::Changed);
    /// # Ok(())
    /// # }
    /// ```
    pub fn if_unchanged(mut self, stamp: Option<Stamp>) -> AtomicWriter {
        self.options.unchanged = Some(stamp);
        self
    }

    /// The target.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes what writers of this target have left beside it when they were killed; the temporary
    /// files of living ones stay.
    ///
    /// Every [`open`](AtomicWriter::open) does so, too; this is for after the last one.
    ///
    /// # Errors
    ///
    /// The path names no file; the directory cannot be read; a temporary file cannot be removed.
    pub fn remove_stale(&self) -> Result<(), WriteError> {
        let target = Target::resolve(&self.path, self.options.symlinks)?;
        stale::remove_of(&target.parent, &target.name)
            .map_err(|error| target.failed("cannot remove a temporary file beside it", error))
    }

    /// Opens the writer as a plain value.
    ///
    /// # Errors
    ///
    /// The path names no file; the target is a directory, device, FIFO or socket; it is a symbolic
    /// link and those are refused; it exists and may not be replaced; no file can be made in its
    /// directory; the [`size`](AtomicWriter::size) that was promised cannot be reserved; the old file
    /// cannot be kept at the path of its [`backup`](AtomicWriter::backup), because the directory is
    /// missing or on another filesystem, or a directory or the target itself is there.
    pub fn open(self) -> Result<AtomicFile, WriteError> {
        AtomicFile::open(&self.path, self.options)
    }
}

impl ContextManager for AtomicWriter {
    type Resource = AtomicFile;
    type Error = WriteError;

    fn enter(self) -> Result<AtomicFile, WriteError> {
        self.open()
    }

    /// Commits if all went well, aborts otherwise.
    fn exit(file: AtomicFile, case: ExitCase) -> Result<(), WriteError> {
        if case.is_succeeded() {
            file.commit()
        } else {
            file.abort()
        }
    }
}

/// Replaces the file at `path` by one that contains `bytes`, whole or not at all, durably.
///
/// It is an [`AtomicWriter`] with its default options.
///
/// # Errors
///
/// Those of [`AtomicWriter::open`], of writing, and of [`AtomicFile::commit`].
///
/// # Examples
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = withal_os::TempDir::new().open()?;
/// # let path = directory.path().join("state");
/// withal_os::write_atomic(&path, "ready\n")?;
/// assert_eq!(std::fs::read(&path)?, b"ready\n");
/// # Ok(())
/// # }
/// ```
pub fn write_atomic(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), WriteError> {
    write(AtomicWriter::create(path.as_ref()), bytes.as_ref())
}

pub(crate) fn write(writer: AtomicWriter, bytes: &[u8]) -> Result<(), WriteError> {
    let mut file = writer.open()?;
    if let Err(error) = file.write_all(bytes) {
        return Err(match error.downcast::<WriteError>() {
            Ok(error) => error,
            Err(error) => file.target.failed("cannot write its temporary file", error),
        });
    }
    file.commit()
}
