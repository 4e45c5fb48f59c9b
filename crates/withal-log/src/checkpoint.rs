//! Which items of a batch job are finished.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use withal_core::{ContextManager, ExitCase};

use crate::error::LogError;
use crate::log::{Log, LogOptions};
use crate::options::Durability;
use crate::read::Reader;
use crate::recover::Recovery;
use crate::storage::Storage;

/// A durable set of finished items: a job that is killed at any point goes on where it was.
///
/// Do an item's work, then call [`done`](Checkpoint::done). If the job is killed between the two,
/// the item's work is done again, so it must bear that: write its result with an atomic writer, or
/// into the same transaction as a mark of its own. An item whose `done` has returned is never done
/// again, so its result must be durable before that.
///
/// It is a log of keys: threads and tasks that work on several items at once share one sync, and
/// one that works on many before it notes them calls [`done_all`](Checkpoint::done_all). Clones
/// share the same. In async code enter it with `withal_os::tokio::blocking`, and use
/// [`done_async`](Checkpoint::done_async).
///
/// ```
/// use withal_core::with;
/// use withal_log::Checkpoint;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("done");
/// with(Checkpoint::open(&path), |finished| {
///     for invoice in ["17", "18", "19"] {
///         if !finished.is_done(invoice) {
///             // … the work …
///             finished.done(invoice)?;
///         }
///     }
///     assert_eq!(finished.len(), 3);
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Checkpoint(Arc<Inner>);

struct Inner {
    log: Log,
    /// Those that are durable.
    keys: Mutex<HashSet<Box<[u8]>>>,
}

/// How to open a [`Checkpoint`]; a [`ContextManager`] that lends one.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is entered or opened"]
pub struct CheckpointOptions {
    log: LogOptions,
}

/// Longer keys are refused.
const LONGEST_KEY: usize = 1 << 20;

impl Checkpoint {
    /// The finished items noted in the directory `path`, which is made if there is none; its parent
    /// must exist.
    pub fn open(path: impl Into<PathBuf>) -> CheckpointOptions {
        let log = Log::open(path).durability(Durability::Always);
        CheckpointOptions {
            // A key is a line, so that a crash leaves all of it or nothing.
            log: log.max_line(LONGEST_KEY),
        }
    }

    /// Whether the item is finished, in this run or an earlier one, and durably.
    #[must_use]
    pub fn is_done(&self, key: impl AsRef<[u8]>) -> bool {
        self.keys().contains(key.as_ref())
    }

    /// Notes that the item is finished, durably: when this returns, no later run does it again.
    ///
    /// Gives false if it was noted before.
    ///
    /// # Errors
    ///
    /// If it could not be made durable; a later run may do the item again. Keys of more than 1 MiB
    /// are refused.
    pub fn done(&self, key: impl AsRef<[u8]>) -> Result<bool, LogError> {
        let key = key.as_ref();
        if self.is_done(key) {
            return Ok(false);
        }
        check(key)?;
        let _line = self.0.log.append_durable(key)?;
        Ok(self.keys().insert(key.into()))
    }

    /// Notes that these items are finished, durably, with one sync for all.
    ///
    /// Gives the number of those that were not noted before.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("done");
    /// let finished = withal_log::Checkpoint::open(&path).open()?;
    /// finished.done("17")?;
    /// assert_eq!(finished.done_all(["17", "18", "19"])?, 2);
    /// finished.close()?;
    /// # Ok::<(), withal_log::LogError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`done`](Checkpoint::done). None of them then counts as finished in this run; in a later
    /// one some may, each of them whole.
    pub fn done_all<K: AsRef<[u8]>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<usize, LogError> {
        let mut new = Vec::new();
        for key in keys {
            let key = key.as_ref();
            if !self.is_done(key) {
                check(key)?;
                new.push(Box::<[u8]>::from(key));
            }
        }
        if new.is_empty() {
            return Ok(0);
        }
        let _line = self.0.log.append_all_durable(&new)?;
        let mut keys = self.keys();
        let before = keys.len();
        keys.extend(new);
        Ok(keys.len() - before)
    }

    /// [`done`](Checkpoint::done), without blocking the thread.
    ///
    /// # Errors
    ///
    /// As `done`.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the item does not count as finished in this run; in a later one it may.
    /// To call it again is safe.
    pub async fn done_async(&self, key: impl AsRef<[u8]>) -> Result<bool, LogError> {
        let key = key.as_ref();
        if self.is_done(key) {
            return Ok(false);
        }
        check(key)?;
        let _line = self.0.log.append_async(key).await?;
        Ok(self.keys().insert(key.into()))
    }

    /// How many items are finished.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    /// The keys of all finished items, in no order.
    #[must_use]
    pub fn finished(&self) -> Vec<Box<[u8]>> {
        self.keys().iter().cloned().collect()
    }

    /// What had to be done to open it, if the last run did not close it.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.0.log.recovery()
    }

    /// The directory it lies in.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.log.path()
    }

    /// Lets the next run in. Other clones note nothing any more; what is finished they still know.
    ///
    /// # Errors
    ///
    /// If the log could not be ended. What was noted stays noted.
    pub fn close(self) -> Result<(), LogError> {
        self.0.log.clone().close()
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Box<[u8]>>> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(key: &[u8]) -> Result<(), LogError> {
    if key.len() <= LONGEST_KEY {
        return Ok(());
    }
    let len = key.len();
    Err(LogError::io(
        format!("a key of {len} bytes is too long: note a hash of it"),
        io::ErrorKind::InvalidInput.into(),
    ))
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.path())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl CheckpointOptions {
    /// Opens it; call [`Checkpoint::close`] on every path, or use the manager.
    ///
    /// # Errors
    ///
    /// Those of [`LogOptions::open`]: [`Busy`](crate::LogErrorKind::Busy) if another run has it.
    pub fn open(self) -> Result<Checkpoint, LogError> {
        let path = self.log.path().to_owned();
        load(self.log.open()?, || Reader::open(path))
    }

    /// Opens it in any storage: for tests.
    ///
    /// # Errors
    ///
    /// As `open`.
    #[doc(hidden)]
    pub fn open_in(self, storage: Arc<dyn Storage>) -> Result<Checkpoint, LogError> {
        let log = self.log.open_in(Arc::clone(&storage))?;
        load(log, || Reader::open_in(storage))
    }
}

/// Reads what is finished. To open the log has made all of it durable, so it may be relied on.
fn load(
    log: Log,
    reader: impl FnOnce() -> Result<Reader, LogError>,
) -> Result<Checkpoint, LogError> {
    let read = || reader()?.records().map(|key| Ok(key?.into())).collect();
    match read() {
        Ok(keys) => Ok(Checkpoint(Arc::new(Inner {
            log,
            keys: Mutex::new(keys),
        }))),
        Err(error) => {
            // The first error is the one to hear.
            let _ = log.close();
            Err(error)
        }
    }
}

impl ContextManager for CheckpointOptions {
    type Resource = Checkpoint;
    type Error = LogError;

    fn enter(self) -> Result<Checkpoint, LogError> {
        self.open()
    }

    fn exit(checkpoint: Checkpoint, _: ExitCase) -> Result<(), LogError> {
        checkpoint.close()
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Owned(format!("checkpoint {}", self.log.path().display()))
    }
}
