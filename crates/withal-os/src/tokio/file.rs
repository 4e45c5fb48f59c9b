//! The open writer, for tasks.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::tokio::blocking::{RuntimeGone, run};
use crate::{WriteError, WriteErrorKind};

/// How much is gathered before a blocking thread is asked to write it.
const WRITE_AT: usize = 128 * 1024;

/// How much is held at most; a writer that is ahead by so much waits.
const MAX_QUEUED: usize = 1024 * 1024;

/// The new content of a file, on its way: what an [`AtomicWriter`](super::AtomicWriter) lends.
///
/// Small writes are gathered and written by a blocking thread; a failure shows in a later write, in
/// a flush or in the commit. Nothing need be flushed before [`commit`](AtomicFile::commit), and a
/// failed write fails the commit, whoever heard of it.
///
/// # Cancel safety
///
/// Dropped before `commit` is called, it removes the temporary file, as soon as a write under way
/// has ended; the target is as it was. Dropping a write or a flush loses nothing: what was accepted
/// is written all the same.
#[must_use = "the target is only replaced by `commit`; dropping the writer discards what was written"]
pub struct AtomicFile {
    path: PathBuf,
    shared: Arc<Shared>,
    /// The blocking thread that empties the queue, if one has been asked to.
    worker: Option<JoinHandle<()>>,
}

struct Shared {
    /// Held for moments only.
    queue: Mutex<Queue>,
    /// Held while writing. Who takes bytes from the queue holds it: so they are written in order.
    /// `None` once committed or aborted.
    file: Mutex<Option<crate::AtomicFile>>,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    error: Option<io::Error>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Writes all that is queued, on this thread. A failure is kept for the task, and by the file.
    fn write_queued(&self, file: &mut Option<crate::AtomicFile>) {
        loop {
            let bytes = std::mem::take(&mut lock(&self.queue).bytes);
            let Some(file) = file.as_mut().filter(|_| !bytes.is_empty()) else {
                return;
            };
            if let Err(error) = file.write_all(&bytes) {
                let mut queue = lock(&self.queue);
                queue.bytes.clear();
                queue.error = Some(error);
                return;
            }
        }
    }
}

impl AtomicFile {
    pub(crate) fn new(file: crate::AtomicFile) -> AtomicFile {
        AtomicFile {
            path: file.path().to_owned(),
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                file: Mutex::new(Some(file)),
            }),
            worker: None,
        }
    }

    /// The target, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts the new content in the target's place, as
    /// [`AtomicFile::commit`](crate::AtomicFile::commit) does.
    ///
    /// # Errors
    ///
    /// Those of the sync form; and [`WriteErrorKind::Abandoned`] if the runtime was shut down
    /// before it began.
    ///
    /// # Cancel safety
    ///
    /// Once polled it runs to its end on a blocking thread, even if this future is dropped; the
    /// runtime's shutdown waits for it. Dropped before its first poll, it aborts.
    pub async fn commit(self) -> Result<(), WriteError> {
        self.finish(crate::AtomicFile::commit).await
    }

    /// Removes the new content; the target is as it was.
    ///
    /// # Errors
    ///
    /// Those of [`AtomicFile::abort`](crate::AtomicFile::abort).
    ///
    /// # Cancel safety
    ///
    /// The new content is removed, whether this future is polled or not.
    pub async fn abort(self) -> Result<(), WriteError> {
        lock(&self.shared.queue).bytes.clear();
        self.finish(crate::AtomicFile::abort).await
    }

    async fn finish(
        mut self,
        end: impl FnOnce(crate::AtomicFile) -> Result<(), WriteError> + Send + 'static,
    ) -> Result<(), WriteError> {
        let path = std::mem::take(&mut self.path);
        let shared = Arc::clone(&self.shared);
        run(move || {
            let mut file = lock(&shared.file);
            shared.write_queued(&mut file);
            file.take().map_or(Ok(()), end)
        })
        .await
        .unwrap_or_else(|gone| {
            let detail = gone.to_string();
            Err(WriteError::new(&path, WriteErrorKind::Abandoned, detail))
        })
    }

    /// Asks a blocking thread to empty the queue, unless one is at it.
    fn start_worker(&mut self) {
        if self
            .worker
            .as_ref()
            .is_some_and(|worker| !worker.is_finished())
        {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.worker = Some(spawn_blocking(move || {
            let mut file = lock(&shared.file);
            shared.write_queued(&mut file);
        }));
    }

    fn poll_worker(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(worker) = &mut self.worker {
            let joined = ready!(Pin::new(worker).poll(context));
            self.worker = None;
            joined.map_err(|error| io::Error::other(RuntimeGone::of(error)))?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for AtomicFile {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        loop {
            let mut queue = lock(&this.shared.queue);
            if let Some(error) = queue.error.take() {
                return Poll::Ready(Err(error));
            }
            let room = MAX_QUEUED.saturating_sub(queue.bytes.len());
            let accepted = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            queue.bytes.extend_from_slice(accepted);
            let queued = queue.bytes.len();
            drop(queue);
            if queued >= WRITE_AT {
                this.start_worker();
            }
            if !accepted.is_empty() || bytes.is_empty() {
                return Poll::Ready(Ok(accepted.len()));
            }
            ready!(this.poll_worker(context))?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_worker(context))?;
            let mut queue = lock(&this.shared.queue);
            if let Some(error) = queue.error.take() {
                return Poll::Ready(Err(error));
            }
            if queue.bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            drop(queue);
            this.start_worker();
        }
    }

    /// Flushes. It does not commit: a copy that ends with a shutdown must not decide that.
    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(context)
    }
}

impl fmt::Debug for AtomicFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
