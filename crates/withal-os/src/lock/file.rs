//! The manager: which file, how, and how long to wait.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use withal_core::{ContextManager, ExitCase};

use crate::directory::{Identity, file_type, type_name};
use crate::lock::error::LockError;
use crate::lock::held::HeldLock;
use crate::lock::holder::Holder;
use crate::lock::record;

/// The pauses of a bounded wait: from the first they double up to the last.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(1);
pub(crate) const LAST_PAUSE: Duration = Duration::from_millis(50);

/// Locks a file against other processes, and other openings in this one, with `flock`.
///
/// The lock is advisory: it binds those who take it, as `flock(1)` and this type do. The kernel
/// releases it when its holder ends, however it ends. The file is made if it is missing and stays
/// when the lock is released; it may be deleted at any time: who waits for a deleted file's lock
/// moves on to the new file.
///
/// An exclusive holder writes its process id into the file, if that is empty or holds another's,
/// so that others can say who has it. Better lock a file of its own than one with data; a file with
/// other content is locked as it is.
///
/// # Deadlocks
///
/// Every opening locks by itself: entering it again in the block waits for itself, for ever unless
/// the wait is [bounded](FileLock::within). The error then names this very process.
///
/// # Where it ends
///
/// On network filesystems `flock` may bind this machine only, or not be there
/// ([`LockError::Lock`]).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use withal_core::with;
/// use withal_os::FileLock;
///
/// # fn main() -> Result<(), withal_core::Error> {
/// # let directory = withal_os::TempDir::new().open().unwrap();
/// # let path = directory.path().join("import.lock");
/// with(FileLock::exclusive(&path).within(Duration::from_secs(5)), |_held| {
///     // One import at a time.
///     let busy = FileLock::shared(&path).try_lock().unwrap_err();
///     assert_eq!(busy.holder().unwrap().pid(), std::process::id());
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is locked before `lock`, or before a block is entered with it"]
pub struct FileLock {
    path: PathBuf,
    exclusive: bool,
    /// `None` waits for ever.
    pub(crate) limit: Option<Duration>,
    mode: u32,
    record: bool,
}

impl FileLock {
    /// A lock that excludes all others.
    pub fn exclusive(path: impl Into<PathBuf>) -> FileLock {
        FileLock {
            path: path.into(),
            exclusive: true,
            limit: None,
            mode: 0o666,
            record: true,
        }
    }

    /// A lock that excludes exclusive ones.
    pub fn shared(path: impl Into<PathBuf>) -> FileLock {
        FileLock {
            exclusive: false,
            ..FileLock::exclusive(path)
        }
    }

    /// Waits no longer than `limit`; without it, for ever. Zero is a mere try.
    ///
    /// The kernel's waiters are served in order, but know no deadline: a bounded wait tries again
    /// and again, at most 50 ms apart, and may be overtaken.
    pub fn within(mut self, limit: Duration) -> FileLock {
        self.limit = Some(limit);
        self
    }

    /// The mode of a lock file that has to be made, less the umask; 0666 unless said otherwise.
    ///
    /// Who may read the file may lock it, and so keep others out.
    pub fn mode(mut self, mode: u32) -> FileLock {
        self.mode = mode;
        self
    }

    /// Whether an exclusive holder writes its process id into the file; it does unless said
    /// otherwise. Local holders can be named without it, on most filesystems.
    pub fn record_pid(mut self, record: bool) -> FileLock {
        self.record = record;
        self
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock as a plain value, waiting as long as [`within`](FileLock::within) says.
    ///
    /// # Errors
    ///
    /// [`LockError::Busy`] if others held it for all that time; [`LockError::Open`] if the file
    /// cannot be opened or made, or is a symbolic link, FIFO, socket or device;
    /// [`LockError::Lock`] if the filesystem knows no locks.
    pub fn lock(self) -> Result<HeldLock, LockError> {
        match self.limit {
            None => self.wait_forever(),
            Some(limit) => self.wait_within(limit),
        }
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    ///
    /// Those of [`lock`](FileLock::lock).
    pub fn try_lock(&self) -> Result<HeldLock, LockError> {
        loop {
            let file = self.open()?;
            match self.flock(&file, false) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Err(self.busy(&file, Duration::ZERO)),
                Err(error) => return Err(self.failed(error)),
            }
            if let Some(held) = self.hold(file)? {
                return Ok(held);
            }
        }
    }

    fn wait_forever(self) -> Result<HeldLock, LockError> {
        loop {
            let file = self.open()?;
            self.flock(&file, true)
                .map_err(|error| self.failed(error))?;
            if let Some(held) = self.hold(file)? {
                return Ok(held);
            }
        }
    }

    fn wait_within(self, limit: Duration) -> Result<HeldLock, LockError> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            match self.try_lock() {
                Err(busy) if busy.is_busy() => {
                    let left = limit.saturating_sub(start.elapsed());
                    if left.is_zero() {
                        return Err(busy.after(limit));
                    }
                    sleep(pause.min(left));
                }
                tried => return tried,
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    fn open(&self) -> Result<File, LockError> {
        let common = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(self.mode & 0o7777);
        let opened =
            match rustix::fs::open(&self.path, common | OFlags::RDWR | OFlags::CREATE, mode) {
                // A file that may only be read, or a directory, can be locked all the same. If
                // there is none, the reason is why it could not be made.
                Err(first @ (Errno::ACCESS | Errno::PERM | Errno::ISDIR | Errno::ROFS)) => {
                    rustix::fs::open(&self.path, common | OFlags::RDONLY, Mode::empty()).map_err(
                        |error| match error {
                            Errno::NOENT => first,
                            error => error,
                        },
                    )
                }
                opened => opened,
            };
        let fd = opened.map_err(|error| self.not_opened(error.into()))?;
        let stat = rustix::fs::fstat(&fd).map_err(|error| self.not_opened(error.into()))?;
        match self.refused(file_type(&stat)) {
            None => Ok(File::from(fd)),
            Some(error) => Err(error),
        }
    }

    fn refused(&self, file_type: FileType) -> Option<LockError> {
        if matches!(file_type, FileType::RegularFile | FileType::Directory) {
            return None;
        }
        let detail = format!(
            "it is {}; name a regular file or a directory",
            type_name(file_type)
        );
        Some(self.not_opened(io::Error::new(io::ErrorKind::InvalidInput, detail)))
    }

    fn not_opened(&self, source: io::Error) -> LockError {
        let source = match Errno::from_io_error(&source) {
            Some(Errno::LOOP) => io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is a symbolic link; name the file it points at",
            ),
            Some(Errno::NXIO) => io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is a socket or a device; name a regular file or a directory",
            ),
            Some(Errno::NOENT) if !has_directory(&self.path) => io::Error::new(
                io::ErrorKind::NotFound,
                "its directory does not exist; make it first",
            ),
            _ => source,
        };
        LockError::Open {
            path: self.path.clone(),
            source,
        }
    }

    fn failed(&self, error: Errno) -> LockError {
        LockError::Lock {
            path: self.path.clone(),
            source: error.into(),
        }
    }

    fn flock(&self, file: &File, wait: bool) -> rustix::io::Result<()> {
        let operation = match (self.exclusive, wait) {
            (true, true) => FlockOperation::LockExclusive,
            (true, false) => FlockOperation::NonBlockingLockExclusive,
            (false, true) => FlockOperation::LockShared,
            (false, false) => FlockOperation::NonBlockingLockShared,
        };
        rustix::io::retry_on_intr(|| rustix::fs::flock(file, operation))
    }

    /// The lock, if the file that is locked still has the name; `None` if it was deleted or
    /// replaced before it was locked, and the lock keeps nobody out.
    fn hold(&self, file: File) -> Result<Option<HeldLock>, LockError> {
        let locked = Identity::of_fd(&file).map_err(|error| self.not_opened(error))?;
        match rustix::fs::statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if Identity::of(&stat) == locked => {}
            Ok(_) | Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.not_opened(error.into())),
        }
        let recorded = self.exclusive && self.record && record::write(&file);
        Ok(Some(HeldLock::new(self.path.clone(), file, recorded)))
    }

    fn busy(&self, file: &File, limit: Duration) -> LockError {
        let holder = rustix::fs::fstat(file)
            .ok()
            .and_then(|stat| Holder::find(file, &stat));
        LockError::Busy {
            path: self.path.clone(),
            holder,
            limit,
        }
    }
}

/// Whether there is a directory for the file at `path` to be made in.
fn has_directory(path: &Path) -> bool {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => true,
        Some(parent) => parent.exists(),
        None => true,
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the kernel tells nobody when a lock becomes free except those who wait without limit"
)]
fn sleep(pause: Duration) {
    std::thread::sleep(pause);
}

impl ContextManager for FileLock {
    type Resource = HeldLock;
    type Error = LockError;

    fn enter(self) -> Result<HeldLock, LockError> {
        self.lock()
    }

    fn exit(held: HeldLock, _case: ExitCase) -> Result<(), LockError> {
        held.release()
    }
}
