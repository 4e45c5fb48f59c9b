//! SQLite: a connection on a thread of its own.
//!
//! SQLite blocks, and its transactions belong to a connection; so each session has one thread
//! ([`worker`]), which has the connection, and jobs that are sent to it ([`handle`]). Each job has
//! a ticket ([`watch`]): whoever waits for it gives it up when it is dropped, and then the job is
//! skipped, or stops within some microseconds of SQLite's machine, or of its wait for a lock.

mod config;
mod connection;
mod cursor;
mod error;
mod half_read;
mod handle;
mod statement;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::options::TransactionOptions;
use crate::{Error, ErrorKind, Row, Value};
use error::closed;
use handle::{Guard, Handle, Job, Shared};
use statement::owned;

pub(crate) use config::Config;
pub(crate) use cursor::{BATCH, SqliteCursor};

/// What SQLite lets be set in a transaction, and what then changes the meaning of statements. All
/// else is as new once it is committed.
const SETTINGS: &str = "PRAGMA case_sensitive_like = OFF; PRAGMA ignore_check_constraints = OFF; \
    PRAGMA legacy_alter_table = OFF; PRAGMA query_only = OFF; PRAGMA recursive_triggers = OFF; \
    PRAGMA reverse_unordered_selects = OFF; PRAGMA trusted_schema = ON; PRAGMA writable_schema = OFF";

/// Lists statements that drop what is temporary.
const TEMPORARY: &str = "\
    SELECT 'DROP ' || type || ' IF EXISTS temp.\"' || replace(name, '\"', '\"\"') || '\"' \
    FROM temp.sqlite_master WHERE type IN ('table', 'view', 'trigger') AND name NOT LIKE 'sqlite~_%' ESCAPE '~'";

/// A session with a SQLite database.
///
/// Any of its futures may be dropped anywhere. What a statement of a transaction had written by
/// then, nobody knows; so the transaction is poisoned, unless the statement was only read from, or
/// is undone with its savepoint.
pub(crate) struct Sqlite {
    handle: Arc<Handle>,
    /// `None` once it is closed.
    thread: Option<JoinHandle<()>>,
    name: String,
}

impl Sqlite {
    /// # Cancel safety
    ///
    /// Dropped, the thread stops opening, or closes what it has opened, and ends.
    pub(crate) async fn open(config: &Config) -> Result<Sqlite, Error> {
        let (jobs, inbox) = mpsc::channel();
        let (opened, answer) = oneshot::channel();
        let shared = Shared::new();
        let opening = Arc::default();
        let thread = {
            let (config, shared, opening) = (config.clone(), shared.clone(), Arc::clone(&opening));
            thread::Builder::new()
                .name("withal-sqlite".to_owned())
                .spawn(move || worker::main(config, shared, inbox, opening, opened))
                .map_err(|error| {
                    let message = format!("no thread for a connection: {error}");
                    Error::new(ErrorKind::Connect, message)
                })?
        };
        let handle = Arc::new(Handle {
            jobs,
            shared,
            thread: thread.thread().clone(),
        });
        let session = Sqlite {
            handle,
            thread: Some(thread),
            name: config.to_string(),
        };
        let guard = Guard::with_ticket(&session.handle, opening);
        match guard.wait(answer).await.and_then(|opened| opened) {
            Ok(()) => Ok(session),
            Err(error) => {
                session.join()?;
                Err(error)
            }
        }
    }

    /// Gives how many rows it changed; of a statement that only reads, how many it has.
    pub(crate) async fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, Error> {
        let (sql, params) = (Box::<str>::from(sql), owned(params));
        self.handle
            .run(move |worker| worker.execute(&sql, &params))
            .await
    }

    pub(crate) async fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        let (sql, params) = (Box::<str>::from(sql), owned(params));
        self.handle
            .run(move |worker| worker.query(&sql, &params))
            .await
    }

    /// Errors of a script say on which line of it they are.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Error> {
        let sql = Box::<str>::from(sql);
        self.handle.run(move |worker| worker.batch(&sql)).await
    }

    /// SQLite's transactions are serializable, whatever is asked for. One that may write has the
    /// write lock from the beginning, so that it cannot fail half way.
    ///
    /// # Cancel safety
    ///
    /// Dropped, there is no transaction.
    pub(crate) async fn begin(&self, options: &TransactionOptions) -> Result<(), Error> {
        let options = *options;
        let guard = Guard::new(&self.handle);
        let ticket = Arc::clone(&guard.ticket);
        guard
            .run(move |worker| worker.begin(&ticket, options))
            .await
    }

    /// # Cancel safety
    ///
    /// Once it has been polled, it goes on to its end.
    pub(crate) async fn commit(&self) -> Result<(), Error> {
        self.handle.finish(|worker| worker.commit()).await
    }

    /// # Cancel safety
    ///
    /// As [`commit`](Sqlite::commit).
    pub(crate) async fn rollback(&self) -> Result<(), Error> {
        self.handle.finish(|worker| worker.roll_back()).await
    }

    pub(crate) async fn savepoint(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.handle.run(move |worker| worker.savepoint(&name)).await
    }

    pub(crate) async fn release(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.handle.run(move |worker| worker.release(&name)).await
    }

    /// # Cancel safety
    ///
    /// As [`commit`](Sqlite::commit).
    pub(crate) async fn rollback_to(&self, name: &str) -> Result<(), Error> {
        let name = name.to_owned();
        self.handle
            .finish(move |worker| worker.roll_back_to(&name))
            .await
    }

    /// Makes the session as new: what was left open is closed and rolled back, and if anything
    /// else was left, the database is opened again. If nothing was, it costs nothing: the thread
    /// knows whether anything was given up, better than its callers.
    ///
    /// # Cancel safety
    ///
    /// As [`commit`](Sqlite::commit).
    pub(crate) async fn reset(&self, _is_settled: bool) -> Result<(), Error> {
        if self.handle.shared.is_clean() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.handle.send(Arc::default(), Job::Reset(reply))?;
        answer.await.map_err(|_| closed())?
    }

    /// Makes settings and temporary tables as in a new session, in a transaction or not, which goes on
    /// being ours.
    pub(crate) async fn reset_settings(&self) -> Result<(), Error> {
        self.batch(SETTINGS).await?;
        let left = self.query(TEMPORARY, &[]).await?;
        let left: Result<Vec<String>, Error> = left.iter().map(Row::read).collect();
        self.batch(&left?.join(";")).await
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.handle.run(|_| Ok(())).await
    }

    pub(crate) fn is_usable(&self) -> bool {
        self.handle.shared.is_usable()
    }

    /// Ends the thread. Statements that were given up are cancelled.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the thread ends all the same.
    pub(crate) async fn close(self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let sent = self.handle.send(Arc::default(), Job::Close(Some(reply)));
        let result = match sent {
            Ok(()) => answer.await.unwrap_or_else(|_| Err(closed())),
            Err(error) => Err(error),
        };
        result.and(self.join())
    }

    /// Runs `f` on the thread, with the connection: for what this crate does not do. No cursor may
    /// be open. The database is opened anew before somebody else has the session.
    ///
    /// # Panics
    ///
    /// If `f` panics.
    ///
    /// # Cancel safety
    ///
    /// As any statement that writes; `f` itself goes on to its end.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let guard = Guard::new(&self.handle);
        let job = move |connection: Result<&mut Connection, Error>| {
            let result =
                connection.map(|connection| catch_unwind(AssertUnwindSafe(move || f(connection))));
            if let Err(Ok(Err(payload))) = reply.send(result) {
                error::notice(withal_core::Panicked::new(&*payload));
            }
        };
        self.handle
            .send(Arc::clone(&guard.ticket), Job::Raw(Box::new(job)))?;
        let result: Result<Result<T, Box<dyn Any + Send>>, Error> = guard.wait(answer).await?;
        result.map(|result| result.unwrap_or_else(|payload| resume_unwind(payload)))
    }

    /// Opens a cursor that reads `batch` rows at a time, one batch ahead.
    pub(crate) async fn open_cursor(
        &self,
        sql: &str,
        params: &[Value<'_>],
        batch: usize,
    ) -> Result<SqliteCursor, Error> {
        let (sql, params) = (Box::<str>::from(sql), owned(params));
        let cursor = SqliteCursor::new(&self.handle);
        let id = cursor.id();
        self.handle
            .run(move |worker| worker.open_cursor(id, &sql, &params, batch))
            .await?;
        Ok(cursor)
    }

    /// The thread has said its last word, or is about to end for want of anybody to say it to.
    fn join(mut self) -> Result<(), Error> {
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(payload)) => {
                let message = "the thread of the connection panicked";
                let cause = withal_core::Panicked::new(&*payload);
                Err(Error::new(ErrorKind::ConnectionLost, message).with_source(cause))
            }
        }
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // If it cannot be sent, the thread is gone.
            let _ = self.handle.send(Arc::default(), Job::Close(None));
        }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("database", &self.name)
            .field("is_usable", &self.is_usable())
            .finish_non_exhaustive()
    }
}
