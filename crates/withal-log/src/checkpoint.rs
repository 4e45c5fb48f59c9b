//! Which items of a batch job are finished.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use memchr::memchr;
use withal_core::{ContextManager, ExitCase};

use crate::error::LogError;
use crate::log::{Log, LogOptions};
use crate::options::Durability;
use crate::read::Reader;
use crate::text::decode;

/// A durable set of finished items: a job that is killed at any point goes on where it was.
///
/// Do an item's work, then call [`done`](Checkpoint::done). If the job is killed between the two,
/// the item's work is done again, so it must bear that: write its result with an atomic writer, or
/// into the same transaction as a mark of its own. An item whose `done` has returned is never done
/// again.
///
/// It is a log of keys, so several threads share one sync.
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
#[derive(Debug)]
pub struct Checkpoint {
    log: Log,
    keys: Mutex<HashSet<Box<[u8]>>>,
}

/// How to open a [`Checkpoint`]; a [`ContextManager`] that lends one.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is entered or opened"]
pub struct CheckpointOptions {
    path: PathBuf,
    log: LogOptions,
}

/// Longer keys are refused.
const LONGEST_KEY: usize = 1 << 20;

impl Checkpoint {
    /// The finished items noted in the directory `path`, which is made if there is none; its parent
    /// must exist.
    pub fn open(path: impl Into<PathBuf>) -> CheckpointOptions {
        let path = path.into();
        let log = Log::open(&path)
            .durability(Durability::Always)
            .max_line(2 * LONGEST_KEY);
        CheckpointOptions { path, log }
    }

    /// Whether the item is finished.
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
        let _ = self.log.append_durable(key)?;
        Ok(self.keys().insert(key.into()))
    }

    /// [`done`](Checkpoint::done), without blocking the thread.
    ///
    /// # Errors
    ///
    /// As `done`.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the item may be noted or not.
    pub async fn done_async(&self, key: impl AsRef<[u8]>) -> Result<bool, LogError> {
        let key = key.as_ref();
        if self.is_done(key) {
            return Ok(false);
        }
        check(key)?;
        let _ = self.log.append_async(key).await?;
        Ok(self.keys().insert(key.into()))
    }

    /// How many items are finished.
    pub fn len(&self) -> usize {
        self.keys().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    /// The keys of all finished items, in no order.
    pub fn finished(&self) -> Vec<Box<[u8]>> {
        self.keys().iter().cloned().collect()
    }

    /// Lets the next run in.
    ///
    /// # Errors
    ///
    /// If the log could not be ended.
    pub fn close(self) -> Result<(), LogError> {
        self.log.close()
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Box<[u8]>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(key: &[u8]) -> Result<(), LogError> {
    if key.len() <= LONGEST_KEY {
        return Ok(());
    }
    let len = key.len();
    Err(LogError::io(
        format!("a key of {len} bytes is too long: note a hash of it"),
        std::io::ErrorKind::InvalidInput.into(),
    ))
}

impl CheckpointOptions {
    /// Opens it; call [`Checkpoint::close`] on every path, or use the manager.
    ///
    /// # Errors
    ///
    /// Those of [`LogOptions::open`]: [`Busy`](crate::LogErrorKind::Busy) if another run has it.
    pub fn open(self) -> Result<Checkpoint, LogError> {
        let log = self.log.open()?;
        match read_keys(&self.path) {
            Ok(keys) => Ok(Checkpoint {
                log,
                keys: Mutex::new(keys),
            }),
            Err(error) => {
                // The first error is the one to hear.
                let _ = log.close();
                Err(error)
            }
        }
    }
}

fn read_keys(path: &Path) -> Result<HashSet<Box<[u8]>>, LogError> {
    let mut reader = Reader::open(path)?;
    let mut keys = HashSet::new();
    let mut key = Vec::new();
    while let Some(mut rest) = reader.next_chunk()? {
        while let Some(end) = memchr(b'\n', rest) {
            let (line, more) = rest.split_at(end);
            key.clear();
            decode(line, &mut key);
            let _ = keys.insert(key.as_slice().into());
            rest = more.get(1..).unwrap_or_default();
        }
    }
    Ok(keys)
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
}
