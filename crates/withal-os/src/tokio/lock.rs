//! The file lock, for tasks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use withal_core::{AsyncContextManager, ExitCase};

use crate::lock::{FIRST_PAUSE, LAST_PAUSE};
use crate::tokio::blocking::{RuntimeGone, run};
use crate::{HeldLock, LockError};

/// Locks a file against other processes: [`withal_os::FileLock`](crate::FileLock) for async code.
///
/// The options are the same, and mean the same. No thread waits: it tries again and again, at first
/// after a millisecond, later every 50 ms, and may be overtaken by those who wait in the kernel.
///
/// # Cancel safety
///
/// Dropping [`lock`](FileLock::lock) gives up, and nothing stays locked. As a manager it is owned by
/// its block, whose enters run to their end: a block that is cancelled while it waits for ever still
/// waits, takes the lock and releases it. So [bound the wait](FileLock::within); or wait where it
/// can be given up and enter the lock that was taken, which is a manager too:
///
/// ```text
/// let Some(held) = cancellable(FileLock::exclusive(path).lock()).await.transpose()? else {
///     return Err(…); // cancelled while waiting
/// };
/// s.enter(held).await?;
/// ```
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use withal_os::tokio::FileLock;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = withal_os::TempDir::new().open()?;
/// # let path = directory.path().join("import.lock");
/// let held = FileLock::exclusive(&path).within(Duration::from_secs(5)).lock().await?;
/// assert!(FileLock::shared(&path).try_lock().await.unwrap_err().is_busy());
/// held.release()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is locked before `lock`, or before a block is entered with it"]
pub struct FileLock(crate::FileLock);

impl From<crate::FileLock> for FileLock {
    fn from(lock: crate::FileLock) -> FileLock {
        FileLock(lock)
    }
}

impl FileLock {
    /// A lock that excludes all others.
    pub fn exclusive(path: impl Into<PathBuf>) -> FileLock {
        FileLock(crate::FileLock::exclusive(path))
    }

    /// A lock that excludes exclusive ones.
    pub fn shared(path: impl Into<PathBuf>) -> FileLock {
        FileLock(crate::FileLock::shared(path))
    }

    /// Waits no longer than `limit`; see [`within`](crate::FileLock::within).
    pub fn within(self, limit: Duration) -> FileLock {
        FileLock(self.0.within(limit))
    }

    /// The mode of a lock file that has to be made; see [`mode`](crate::FileLock::mode).
    pub fn mode(self, mode: u32) -> FileLock {
        FileLock(self.0.mode(mode))
    }

    /// Whether an exclusive holder writes its process id into the file; see
    /// [`record_pid`](crate::FileLock::record_pid).
    pub fn record_pid(self, record: bool) -> FileLock {
        FileLock(self.0.record_pid(record))
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes the lock as a plain value, waiting as long as [`within`](FileLock::within) says.
    ///
    /// # Errors
    ///
    /// Those of [`FileLock::lock`](crate::FileLock::lock); and [`LockError::Lock`] if the runtime
    /// was shut down first.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it gives up. If it was just about to have the lock, it is released at once.
    pub async fn lock(self) -> Result<HeldLock, LockError> {
        let start = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let busy = match self.try_lock().await {
                Err(error) if error.is_busy() => error,
                tried => return tried,
            };
            let left = match self.0.limit {
                Some(limit) => limit.saturating_sub(start.elapsed()),
                None => Duration::MAX,
            };
            if left.is_zero() {
                return Err(busy.after(self.0.limit.unwrap_or_default()));
            }
            sleep(pause.min(left)).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// Takes the lock if that needs no waiting.
    ///
    /// # Errors
    ///
    /// Those of [`lock`](FileLock::lock).
    ///
    /// # Cancel safety
    ///
    /// As for [`lock`](FileLock::lock).
    pub async fn try_lock(&self) -> Result<HeldLock, LockError> {
        let lock = self.0.clone();
        run(move || lock.try_lock())
            .await
            .unwrap_or_else(|gone| Err(abandoned(self.path(), gone)))
    }
}

fn abandoned(path: &Path, gone: RuntimeGone) -> LockError {
    LockError::Lock {
        path: path.to_owned(),
        source: std::io::Error::other(gone),
    }
}

async fn release(held: HeldLock) -> Result<(), LockError> {
    let path = held.path().to_owned();
    // Where the runtime is gone, dropping it has released it.
    run(move || held.release())
        .await
        .unwrap_or_else(|gone| Err(abandoned(&path, gone)))
}

impl AsyncContextManager for FileLock {
    type Resource = HeldLock;
    type Error = LockError;

    async fn enter(self) -> Result<HeldLock, LockError> {
        self.lock().await
    }

    async fn exit(held: HeldLock, _case: ExitCase) -> Result<(), LockError> {
        release(held).await
    }
}

impl AsyncContextManager for HeldLock {
    type Resource = HeldLock;
    type Error = LockError;

    async fn enter(self) -> Result<HeldLock, LockError> {
        Ok(self)
    }

    async fn exit(held: HeldLock, _case: ExitCase) -> Result<(), LockError> {
        release(held).await
    }
}
