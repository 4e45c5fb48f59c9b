//! Statements that are read batch by batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Statement;
use tokio::sync::oneshot;

use super::error::closed;
use super::half_read::HalfRead;
use super::handle::{Handle, Job};
use super::statement::{Names, read};
use super::watch::Ticket;
use super::worker::Worker;
use crate::{Error, Row};

/// How many rows are read at a time, if nobody says.
pub(crate) const BATCH: usize = 1000;

/// The thread's side: one batch ahead of who reads.
pub(super) struct Reader<'c> {
    /// Gone at the end, so that nothing is held for a statement that has no more rows.
    half_read: Option<HalfRead<'c>>,
    names: Option<Names>,
    sql: Box<str>,
    batch: usize,
    ready: Vec<Row>,
    /// It comes after the rows that were read before it.
    failure: Option<Error>,
}

impl<'c> Reader<'c> {
    pub(super) fn new(statement: Statement<'c>, sql: &str, batch: usize) -> Reader<'c> {
        Reader {
            half_read: Some(HalfRead::of(statement)),
            names: None,
            sql: sql.into(),
            batch: batch.max(1),
            ready: Vec::new(),
            failure: None,
        }
    }

    pub(super) fn take_batch(&mut self) -> Result<Vec<Row>, Error> {
        match (self.ready.is_empty(), self.failure.take()) {
            (true, Some(error)) => Err(error),
            (_, failure) => {
                self.failure = failure;
                Ok(std::mem::take(&mut self.ready))
            }
        }
    }

    pub(super) fn read_batch(&mut self, explain: impl FnOnce(&rusqlite::Error) -> Error) {
        let Some(half_read) = &mut self.half_read else {
            return;
        };
        let (names, ready, batch) = (&mut self.names, &mut self.ready, self.batch);
        let result = half_read.with_dependent_mut(|_, rows| read(rows, names, batch, ready));
        match result {
            Ok(true) => {}
            Ok(false) => self.half_read = None,
            Err(error) => {
                self.half_read = None;
                self.failure = Some(explain(&error).of_statement(&self.sql));
            }
        }
    }
}

/// The rows of a statement, a batch at a time.
///
/// Dropped, it is closed by the thread at once.
pub(crate) struct SqliteCursor {
    handle: Arc<Handle>,
    id: u64,
    ticket: Arc<Ticket>,
    /// What was asked for and has not come, so that a dropped future loses no rows.
    asked: Option<oneshot::Receiver<Result<Vec<Row>, Error>>>,
    is_over: bool,
}

impl SqliteCursor {
    pub(super) fn new(handle: &Arc<Handle>) -> SqliteCursor {
        static IDS: AtomicU64 = AtomicU64::new(0);
        SqliteCursor {
            handle: Arc::clone(handle),
            id: IDS.fetch_add(1, Ordering::Relaxed),
            ticket: Arc::default(),
            asked: None,
            is_over: false,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// The next rows; none at the end.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it loses nothing: the next call goes on.
    pub(crate) async fn next_batch(&mut self) -> Result<Vec<Row>, Error> {
        if self.is_over {
            return Ok(Vec::new());
        }
        let asked = match &mut self.asked {
            Some(asked) => asked,
            none => {
                let asked = ask(&self.handle, self.id, &self.ticket)?;
                none.insert(asked)
            }
        };
        let batch = asked.await.unwrap_or_else(|_| Err(closed()));
        self.asked = None;
        self.is_over = batch.as_ref().map_or(true, Vec::is_empty);
        batch
    }

    /// Closes it, and waits until it is.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let handle = Arc::clone(&self.handle);
        drop(self);
        handle.finish(|_| Ok(())).await
    }
}

/// Asks for the batch that is ready, and has the next one read then.
fn ask(
    handle: &Handle,
    id: u64,
    ticket: &Arc<Ticket>,
) -> Result<oneshot::Receiver<Result<Vec<Row>, Error>>, Error> {
    let (reply, answer) = oneshot::channel();
    let own = Arc::clone(ticket);
    let job = move |worker: &mut Worker<'_>| {
        let batch = worker.perform(&own, |worker| worker.next_batch(id));
        let is_over = batch.as_ref().map_or(true, Vec::is_empty);
        if is_over {
            worker.close_cursor(id);
        }
        // Nobody waits: the cursor was dropped.
        let _ = reply.send(batch);
        if !is_over {
            let _ = worker.perform(&own, |worker| {
                worker.read_ahead(id);
                Ok(())
            });
        }
        worker.publish();
    };
    handle.send(Arc::clone(ticket), Job::Run(Box::new(job)))?;
    Ok(answer)
}

impl Drop for SqliteCursor {
    fn drop(&mut self) {
        // What it wrote was done before its first batch came.
        let _ = self.ticket.give_up();
        self.handle.thread.unpark();
        if self.is_over {
            return;
        }
        let id = self.id;
        let job = move |worker: &mut Worker<'_>| {
            worker.close_cursor(id);
            worker.publish();
        };
        // A session that is closed has no cursors.
        let _ = self.handle.send(Arc::default(), Job::Run(Box::new(job)));
    }
}

impl fmt::Debug for SqliteCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCursor")
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}
