//! The log: opening, appending, closing.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::channel;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use withal_core::{ContextManager, Entry, Error, ExitCase, Notice, NoticeKind, emit_notice};

use crate::error::{LogError, LogErrorKind, nested, not_locked};
use crate::keeper::{Ended, Keeper};
use crate::options::{CommitRing, Durability, OnFull, Settings, TailRule};
use crate::queue::{Level, Queue};
use crate::read::ends_in_record;
use crate::recover::{self, Opened, Recovery};
use crate::segment::Series;
use crate::storage::{Disk, Storage};
use crate::sync::{Builder, JoinHandle, Mutex, ThreadId, thread};
use crate::text::End;
use crate::writer::{Rings, Writer};

/// An open log. Clones append to the same.
///
/// Made by [`Log::open`], best as a context manager: its exit writes and syncs everything, and lets
/// the next writer in, on every path.
///
/// ```
/// use withal_core::with;
/// use withal_log::Log;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// with(Log::open(&path), |log| {
///     log.append(b"ready")?;
///     log.append_durable(b"order 17 paid")?; // on the disk before this returns
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Log(Arc<Handle>);

/// Closes the log with the last clone.
struct Handle {
    queue: Arc<Queue>,
    path: PathBuf,
    recovery: Option<Recovery>,
    /// The keeper's thread, which cannot wait for itself.
    keeper: Option<ThreadId>,
    rest: Mutex<Option<Rest>>,
}

/// Keeps other writers out until the last thread of the log lets go of it.
type Lock = Arc<dyn Any + Send + Sync>;

/// What is given up when the log is closed.
struct Rest {
    worker: JoinHandle<()>,
    keeper: Option<JoinHandle<()>>,
    lock: Lock,
}

/// How to open a log; a [`ContextManager`] that lends a [`Log`].
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is entered or opened"]
pub struct LogOptions {
    path: PathBuf,
    settings: Settings,
}

impl Log {
    /// The log in the directory `path`, which is made if there is none; its parent must exist.
    ///
    /// A relative path is that of the working directory in which it is opened, whatever that becomes.
    pub fn open(path: impl Into<PathBuf>) -> LogOptions {
        LogOptions {
            path: path.into(),
            settings: Settings::default(),
        }
    }

    /// Appends one record: any bytes but a newline at the end, which is added.
    ///
    /// A newline inside of it is stored as two bytes that are none, so that it stays one record;
    /// [`append_lines`](Log::append_lines) splits there instead.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("log");
    /// let log = withal_log::Log::open(&path).open()?;
    /// log.append("one\nrecord")?;
    /// log.append_lines("two\nrecords")?;
    /// log.close()?;
    /// let records = withal_log::Reader::open(&path)?.records();
    /// let records: Vec<Vec<u8>> = records.collect::<Result<_, _>>()?;
    /// assert_eq!(records, [&b"one\nrecord"[..], b"two", b"records"]);
    /// # Ok::<(), withal_log::LogError>(())
    /// ```
    ///
    /// When it returns, the record is as safe as [`Durability`] says. It gives the number of the
    /// record's last line, from 1, as [`wait_durable`](Log::wait_durable) takes it.
    ///
    /// Lines are numbered as they come. One that is refused or dropped has a number, too, so the
    /// numbers after it are larger than the lines' places in the log, until that is opened again;
    /// [`progress`](Log::progress) counts only what is in it.
    ///
    /// # Errors
    ///
    /// [`Full`](LogErrorKind::Full) if there was no space and the policy is not to wait;
    /// [`Stopped`](LogErrorKind::Stopped) once two writes in a row have failed;
    /// [`Closed`](LogErrorKind::Closed). If it was only buffered, a failure to write it is the
    /// error of a later call, which then appends nothing and [counts](LogError::earlier) what is
    /// not in the log.
    pub fn append(&self, record: impl AsRef<[u8]>) -> Result<u64, LogError> {
        let queue = &self.0.queue;
        queue.append(record.as_ref(), End::Newline, queue.level())
    }

    /// Appends one record, and returns when it is durable.
    ///
    /// Records that come while another sync runs share the next one.
    ///
    /// # Errors
    ///
    /// As `append`. The record may then be in the log or not; if it is, it is whole.
    pub fn append_durable(&self, record: impl AsRef<[u8]>) -> Result<u64, LogError> {
        let durable = Some(Level::Durable);
        self.0.queue.append(record.as_ref(), End::Newline, durable)
    }

    /// Appends what is left of an input that does not end in a newline, so that it comes back
    /// without one.
    ///
    /// # Errors
    ///
    /// As `append`.
    pub fn append_unended(&self, record: impl AsRef<[u8]>) -> Result<u64, LogError> {
        let queue = &self.0.queue;
        queue.append(record.as_ref(), End::None, queue.level())
    }

    /// Appends many records at once: each with its newline, which the last one may lack.
    ///
    /// It is the same as to append each of them, and faster; when it returns, all are as safe as
    /// [`Durability`] says. It gives the number of the last one's last line.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("log");
    /// let log = withal_log::Log::open(&path).open()?;
    /// assert_eq!(log.append_lines("first\nsecond\n")?, 2);
    /// log.close()?;
    /// # Ok::<(), withal_log::LogError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As `append`, if the last of them is not in the log; those before it may be.
    pub fn append_lines(&self, records: impl AsRef<[u8]>) -> Result<u64, LogError> {
        let queue = &self.0.queue;
        queue.append_lines(records.as_ref(), queue.level())
    }

    /// As [`append_lines`](Log::append_lines), and leaves `records` empty; it takes their memory and
    /// gives other in return where that saves copying them. For who fills a buffer again and again.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("log");
    /// let log = withal_log::Log::open(&path).open()?;
    /// let mut buffer = Vec::new();
    /// for block in ["first\nsecond\n", "third\n"] {
    ///     buffer.extend_from_slice(block.as_bytes());
    ///     log.append_buffer(&mut buffer)?;
    ///     assert!(buffer.is_empty());
    /// }
    /// log.close()?;
    /// # Ok::<(), withal_log::LogError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As `append_lines`. If nothing was taken, for the log is closed or has stopped, or tells of
    /// [earlier](LogError::earlier) records, `records` are left as they are.
    pub fn append_buffer(&self, records: &mut Vec<u8>) -> Result<u64, LogError> {
        let queue = &self.0.queue;
        queue.append_buffer(records, queue.level())
    }

    /// Appends many records at once, and returns when all are durable.
    pub(crate) fn append_all_durable(&self, records: &[impl AsRef<[u8]>]) -> Result<u64, LogError> {
        self.0.queue.append_all(records, Some(Level::Durable))
    }

    /// Appends a part of a record: what is appended next goes on with it.
    ///
    /// It is for records too large to be held in memory, and for one writer: records that other
    /// clones append in between become a part of it.
    ///
    /// # Errors
    ///
    /// As `append`.
    pub fn append_part(&self, part: impl AsRef<[u8]>) -> Result<u64, LogError> {
        let queue = &self.0.queue;
        queue.append(part.as_ref(), End::Continued, queue.level())
    }

    /// Waits until the line with this number, as `append` gives it, is durable; it does not make
    /// that come sooner.
    ///
    /// # Errors
    ///
    /// If it will never be: it was not written, or the log is stopped, or closed before it came.
    pub fn wait_durable(&self, line: u64) -> Result<(), LogError> {
        self.0.queue.wait_durable(line)
    }

    /// Appends one record without ever waiting; `None` if 8 MiB are waiting to be written already.
    ///
    /// It is written within 100 ms, with [`Durability::Batch`] when its batch is.
    ///
    /// # Errors
    ///
    /// If the log has been closed or has stopped, or if records that were appended like that before
    /// could not be written: [`LogError::earlier`] counts their lines. This one is then not appended.
    pub fn try_append(&self, record: impl AsRef<[u8]>) -> Result<Option<u64>, LogError> {
        self.0.queue.append_unattended(record.as_ref()).transpose()
    }

    /// Appends one record without blocking the thread: await it.
    ///
    /// # Cancel safety
    ///
    /// Dropped before its first poll, the record is not appended. After that it is, and if it cannot
    /// be written, that is the error of a later call: [`LogError::earlier`].
    pub fn append_async<'r>(&self, record: &'r (impl AsRef<[u8]> + ?Sized)) -> Ticket<'r> {
        Ticket {
            queue: Arc::clone(&self.0.queue),
            record: Some(record.as_ref()),
            lines: 0..0,
            is_told: false,
        }
    }

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    ///
    /// If that failed. If it succeeded, but records could not be written before that nobody has waited
    /// for, their error, once: [`LogError::earlier`] counts their lines.
    pub fn sync(&self) -> Result<(), LogError> {
        self.0.queue.sync()
    }

    /// Whether the line with this number is in the log, if that is known yet.
    #[cfg(feature = "tracing")]
    pub(crate) fn came(&self, line: u64) -> Option<bool> {
        self.0.queue.came(line)
    }

    /// How many lines the log has, and how many of them are durable.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (written, durable) = self.0.queue.progress();
        Progress { written, durable }
    }

    /// How many lines this log has dropped because the disk was full; see [`OnFull::Drop`].
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.queue.dropped()
    }

    /// What had to be done to open it, if the last writer did not close it.
    #[must_use]
    pub fn recovery(&self) -> Option<&Recovery> {
        self.0.recovery.as_ref()
    }

    /// The directory it lies in.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes everything durable, and lets the next writer in. Other clones cannot append any more.
    ///
    /// # Errors
    ///
    /// If something could not be written; [`Nested`](LogErrorKind::Nested) on a thread that the log
    /// would have to wait for, such as from a notice hook: other clones can still close it then.
    pub fn close(self) -> Result<(), LogError> {
        self.0.close()
    }
}

impl Handle {
    fn close(&self) -> Result<(), LogError> {
        self.queue.may_wait()?;
        if self.is_keeper() {
            return Err(nested("this thread looks after the log"));
        }
        // Whoever closes it already is waited for.
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.take().map_or(Ok(()), |rest| self.end(rest))
    }

    fn is_keeper(&self) -> bool {
        self.keeper == Some(thread::current().id())
    }

    fn end(&self, rest: Rest) -> Result<(), LogError> {
        let Rest {
            worker,
            keeper,
            lock,
        } = rest;
        let closed = self.queue.close();
        let worked = worker.join();
        // The keeper itself has the lock until it has done what is left.
        let keeper = keeper.filter(|_| !self.is_keeper());
        let kept = keeper.map_or(Ok(()), JoinHandle::join);
        drop(lock);
        match (worked, kept) {
            (Ok(()), Ok(())) => closed,
            _ => closed.and(Err(LogError::new(
                LogErrorKind::Stopped,
                "a thread of the log panicked",
            ))),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let rest = self.rest.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(rest) = rest.take() else { return };
        if self.queue.may_wait().is_err() {
            // Whoever appends has a clone, so this is the worker: it closes the log when it has
            // written, and has the lock until then.
            self.queue.abandon();
            return;
        }
        not_closed(&self.path, self.end(rest));
    }
}

/// Tells that nobody has closed a log, and what came of that.
fn not_closed(path: &Path, closed: Result<(), LogError>) {
    let entry = Entry::new(format!("log {}", path.display()));
    let error = closed.err().map(Error::new);
    emit_notice(&Notice::new(
        NoticeKind::NotClosed,
        Some(&entry),
        error.as_ref(),
    ));
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("path", &self.0.path)
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

/// How far a log has come, in lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How many are in the files; none that was refused or dropped is.
    pub written: u64,
    /// How many of them a power loss would leave there.
    pub durable: u64,
}

/// A record on its way; await it to know that it is as safe as [`Durability`] says.
///
/// It gives the number of the record's last line.
#[derive(Debug)]
#[must_use = "the record is appended when it is polled"]
pub struct Ticket<'r> {
    queue: Arc<Queue>,
    /// Until there is room for it.
    record: Option<&'r [u8]>,
    /// Its lines, from then on.
    lines: Range<u64>,
    /// Whether it was told what became of them, or of their failure.
    is_told: bool,
}

impl Future for Ticket<'_> {
    type Output = Result<u64, LogError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<u64, LogError>> {
        let this = &mut *self;
        if let Some(record) = this.record {
            match this.queue.try_append(record, context.waker()) {
                None => return Poll::Pending,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(lines)) => {
                    this.record = None;
                    this.lines = lines;
                    // Nobody waits for what is only buffered.
                    this.is_told = this.queue.level().is_none();
                }
            }
        }
        let line = this.lines.end - 1;
        let Some(level) = this.queue.level() else {
            return Poll::Ready(Ok(line));
        };
        match this.queue.poll(&this.lines, level, context.waker()) {
            None => Poll::Pending,
            Some(reached) => {
                this.is_told = true;
                Poll::Ready(reached.map(|()| line))
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if self.record.is_none() && !self.is_told {
            self.queue.leave(&self.lines);
        }
    }
}

impl LogOptions {
    /// What an acknowledged record is safe from; by default an interval of one second.
    pub fn durability(mut self, durability: Durability) -> LogOptions {
        self.settings.durability = durability;
        self
    }

    /// What to do while the disk is full; by default wait.
    pub fn on_full(mut self, on_full: OnFull) -> LogOptions {
        self.settings.on_full = on_full;
        self
    }

    /// With [`OnFull::Drop`], writes a line into the log where lines were dropped: before the next
    /// one that finds room, or when the log is closed, if there is room then.
    ///
    /// In the template `{count}` stands for how many lines were dropped, `{since}` and `{until}` for
    /// when the first and the last of them came, in RFC 3339 and UTC. Everything else stays as it is,
    /// and what is put in needs no escape, so that a log of JSON lines stays one. It is a record of
    /// its own: one that has begun before it ends there. It has no number, but
    /// [`progress`](Log::progress) counts it.
    ///
    /// ```
    /// use withal_log::{Log, OnFull};
    ///
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("log");
    /// let log = Log::open(&path)
    ///     .on_full(OnFull::Drop)
    ///     .drop_line(r#"{"level":"warn","dropped":{count},"since":"{since}","until":"{until}"}"#)
    ///     .open()?;
    /// log.append(r#"{"level":"info","message":"ready"}"#)?;
    /// // {"level":"warn","dropped":17,"since":"2025-11-20T09:30:00Z","until":"2025-11-20T09:30:04.2Z"}
    /// log.close()?;
    /// # Ok::<(), withal_log::LogError>(())
    /// ```
    pub fn drop_line(mut self, template: impl Into<String>) -> LogOptions {
        self.settings.drop_line = Some(template.into());
        self
    }

    /// Where its text ends after a crash; by default as the file system that it lies on asks for.
    ///
    /// A segment that was begun under the other rule is ended first.
    pub fn tail_rule(mut self, tail_rule: TailRule) -> LogOptions {
        self.settings.tail_rule = Some(tail_rule);
        self
    }

    /// Whether durable records go by way of a commit ring; by default once there are many.
    pub fn commit_ring(mut self, commit_ring: CommitRing) -> LogOptions {
        self.settings.commit_ring = commit_ring;
        self
    }

    /// The longest line in bytes, by default 1 MiB. A longer record is stored as several, and read
    /// as one.
    pub fn max_line(mut self, bytes: usize) -> LogOptions {
        self.settings.max_line = bytes.clamp(4, 1 << 30);
        self
    }

    /// Begins a new segment with the line after the one with which a segment has this many bytes; by
    /// default 64 MiB.
    pub fn rotate_size(mut self, bytes: u64) -> LogOptions {
        self.settings.rotate_size = bytes.max(1);
        self
    }

    /// Begins a new segment when one is this old.
    pub fn rotate_every(mut self, age: Duration) -> LogOptions {
        self.settings.rotate_every = Some(age);
        self
    }

    /// Removes the oldest segments as long as all together take more than this many bytes.
    /// One that waits to be [compressed](LogOptions::compress) counts as what compression has made of
    /// the one before it.
    pub fn keep_size(mut self, bytes: u64) -> LogOptions {
        self.settings.keep_size = Some(bytes);
        self
    }

    /// Removes segments all of whose lines are older than this, when a segment ends and when the log
    /// is opened: [`rotate_every`](LogOptions::rotate_every) has one end that gets few lines.
    pub fn keep_age(mut self, age: Duration) -> LogOptions {
        self.settings.keep_age = Some(age);
        self
    }

    /// Compresses ended segments with zstd, at this level: from 1, fast, to 19; 3 is usual.
    ///
    /// They stay readable with `zstdcat` and `zstdgrep`.
    pub fn compress(mut self, level: i32) -> LogOptions {
        self.settings.compress = Some(level.clamp(1, 19));
        self
    }

    /// The directory of the log.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The clock, in milliseconds since 1970: for tests.
    #[doc(hidden)]
    pub fn clock(mut self, clock: fn() -> u64) -> LogOptions {
        self.settings.clock = clock;
        self
    }

    /// From how many bytes on a sync begins beside the writing: for tests.
    #[doc(hidden)]
    pub fn sync_beside(mut self, bytes: u64) -> LogOptions {
        self.settings.sync_beside = bytes;
        self
    }

    /// How large the commit ring is, in pages' bytes: for tests.
    #[doc(hidden)]
    pub fn ring_size(mut self, bytes: u64) -> LogOptions {
        self.settings.ring_size = bytes;
        self
    }

    /// Opens it; call [`Log::close`] on every path, or use the manager.
    ///
    /// # Errors
    ///
    /// [`Busy`](LogErrorKind::Busy) if another process writes this log;
    /// [`Corrupt`](LogErrorKind::Corrupt) if durable content is missing;
    /// [`Version`](LogErrorKind::Version), or what the file system said.
    pub fn open(self) -> Result<Log, LogError> {
        let cannot = |error| LogError::io(format!("cannot open `{}`", self.path.display()), error);
        let disk: Arc<dyn Storage> = Arc::new(Disk::open_or_create(&self.path).map_err(cannot)?);
        self.open_with(disk, true)
    }

    /// Opens it in any storage: for tests.
    ///
    /// # Errors
    ///
    /// As `open`.
    #[doc(hidden)]
    pub fn open_in(self, storage: Arc<dyn Storage>) -> Result<Log, LogError> {
        self.open_with(storage, false)
    }

    fn open_with(self, storage: Arc<dyn Storage>, has_keeper: bool) -> Result<Log, LogError> {
        let LogOptions { path, settings } = self;
        let cannot =
            |doing, error| LogError::io(format!("cannot {doing} `{}`", path.display()), error);
        let no_thread = |error| cannot("start a thread for", error);
        let lock = storage.lock("LOCK");
        let lock: Lock = lock
            .map_err(|error| not_locked(format!("cannot write `{}`", path.display()), error))?
            .into();
        let tail_rule = match settings.tail_rule {
            Some(tail_rule) => tail_rule,
            None => {
                let file_system = storage.file_system();
                let file_system = file_system.map_err(|error| cannot("look at", error))?;
                file_system.tail_rule
            }
        };
        let log_id = recover::identity(&storage)?;
        let series = Series { log_id, tail_rule };
        let Opened {
            segment,
            recovery,
            ring,
        } = recover::open_with_room(&storage, series, &settings)?;
        let ring = Rings::new(&storage, series, &settings, ring);
        let ended = Ended::new(&storage, &settings);
        let (names, told) = channel();
        let keeper = match has_keeper {
            true => Keeper::thread(&ended, names),
            false => Keeper::inline(&ended),
        };
        keeper.catch_up()?;
        let held = Arc::clone(&lock);
        let keep = move || {
            ended.work(&told);
            drop(held);
        };
        let keeping = has_keeper.then(|| spawn("withal-log-keep", keep));
        let keeping = keeping.transpose().map_err(no_thread)?;
        let is_begun = settings.drop_line.is_some() && ends_in_record(&storage);
        let writer = Writer::new(storage, settings, series, segment, ring, keeper, is_begun);
        let queue = Arc::new(Queue::new(writer));
        let (working, held, worked_on) = (Arc::clone(&queue), Arc::clone(&lock), path.clone());
        let worker = spawn("withal-log", move || {
            let abandoned = working.work();
            drop(held);
            if let Some(closed) = abandoned {
                not_closed(&worked_on, closed);
            }
        });
        let worker = worker.map_err(no_thread)?;
        Ok(Log(Arc::new(Handle {
            queue,
            path,
            recovery,
            keeper: keeping.as_ref().map(|keeper| keeper.thread().id()),
            rest: Mutex::new(Some(Rest {
                worker,
                keeper: keeping,
                lock,
            })),
        })))
    }
}

pub(crate) fn spawn(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    Builder::new().name(name.into()).spawn(work)
}

impl ContextManager for LogOptions {
    type Resource = Log;
    type Error = LogError;

    fn enter(self) -> Result<Log, LogError> {
        self.open()
    }

    fn exit(log: Log, _: ExitCase) -> Result<(), LogError> {
        log.close()
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Owned(format!("log {}", self.path.display()))
    }
}
