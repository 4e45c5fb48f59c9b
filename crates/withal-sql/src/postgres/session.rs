//! One session.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_core::Stream as _;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Statement};

use super::cache::Cache;
use super::config::Config;
use super::connect::{Canceller, Connected, connect};
use super::types::Param;
use crate::options::{Isolation, TransactionOptions};
use crate::row::Row;
use crate::{Error, ErrorKind, Value};

/// A session, and what is known of it.
pub(crate) struct Postgres {
    pub(super) client: Client,
    pub(super) canceller: Canceller,
    pub(super) cache: Cache,
    state: Mutex<State>,
    pump: JoinHandle<()>,
}

/// What we know of the session's state: the driver does not tell what the server says of it.
#[derive(Debug, Default)]
pub(super) struct State {
    /// How many futures wait for an answer.
    pub(super) running: u32,
    /// A future was dropped before its answer: what it asked for may run still.
    pub(super) abandoned: bool,
    /// A `BEGIN` that goes with the first statement.
    begin: Option<String>,
    in_transaction: bool,
    /// A statement of the transaction has failed: the server refuses all others.
    pub(super) failed: bool,
    /// Statements were run that may have ended the transaction, or prepared some of their own.
    unruly: bool,
}

/// A future that waits for an answer; dropped before that, it is noted.
pub(super) struct Running<'s> {
    session: &'s Postgres,
    is_answered: bool,
}

impl<'s> Running<'s> {
    pub(super) fn new(session: &'s Postgres) -> Running<'s> {
        session.state().running += 1;
        Running {
            session,
            is_answered: false,
        }
    }

    pub(super) fn answered(mut self) {
        self.is_answered = true;
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.session.state();
        state.running -= 1;
        state.abandoned |= !self.is_answered;
    }
}

impl Postgres {
    pub(crate) async fn open(config: &Config) -> Result<Postgres, Error> {
        let Connected {
            client,
            canceller,
            pump,
        } = connect(config).await?;
        Ok(Postgres {
            client,
            canceller,
            cache: Cache::default(),
            state: Mutex::default(),
            pump,
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, Error> {
        self.note_unruly(sql);
        match self.run(sql, self.do_execute(sql, params)).await {
            Err(error) if self.is_stale(sql, &error) => {
                self.run(sql, self.do_execute(sql, params)).await
            }
            result => result,
        }
    }

    async fn do_execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, Failure> {
        let statement = self.prepare(sql, params.len()).await?;
        let params = params.iter().map(Param);
        Ok(self.client.execute_raw(&statement, params).await?)
    }

    pub(crate) async fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        self.note_unruly(sql);
        match self.run(sql, self.do_query(sql, params)).await {
            Err(error) if self.is_stale(sql, &error) => {
                self.run(sql, self.do_query(sql, params)).await
            }
            result => result,
        }
    }

    async fn do_query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, Failure> {
        let statement = self.prepare(sql, params.len()).await?;
        self.rows(&statement, params).await
    }

    /// All rows.
    pub(super) async fn rows(
        &self,
        statement: &Statement,
        params: &[Value<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let params = params.iter().map(Param);
        let mut stream = pin!(self.client.query_raw(statement, params).await?);
        let mut rows = Vec::new();
        while let Some(row) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
            rows.push(Row::postgres(row?));
        }
        Ok(rows)
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.state().unruly = true;
        self.simple(sql).await
    }

    pub(crate) async fn ping(&self) -> Result<(), Error> {
        self.simple("").await
    }

    /// Statements without parameters, not prepared.
    pub(super) async fn simple(&self, sql: &str) -> Result<(), Error> {
        let work = async { Ok(self.client.batch_execute(sql).await?) };
        self.run(sql, work).await
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.client.is_closed()
    }

    pub(crate) async fn close(self) -> Result<(), Error> {
        let is_busy = {
            let state = self.state();
            state.running > 0 || state.abandoned
        };
        if is_busy {
            // Otherwise the server goes on with it.
            let _ = self.canceller.cancel().await;
        }
        let Postgres { client, pump, .. } = self;
        drop(client);
        pump.await.map_err(|error| {
            Error::new(
                ErrorKind::ConnectionLost,
                "the connection did not end in order",
            )
            .with_source(error)
        })
    }

    /// The driver's client, for what this crate does not do.
    pub(crate) async fn client(&self) -> Result<&Client, Error> {
        self.settle().await?;
        self.send_begin().await?;
        self.state().unruly = true;
        Ok(&self.client)
    }

    /// The statement, prepared now or earlier.
    pub(super) async fn prepare(&self, sql: &str, params: usize) -> Result<Statement, Failure> {
        let statement = match self.cache.get(sql) {
            Some(statement) => statement,
            None => {
                let statement = self.client.prepare(sql).await?;
                self.cache.put(sql, statement.clone());
                statement
            }
        };
        match statement.params().len() {
            wanted if wanted == params => Ok(statement),
            wanted => Err(Failure::Ours(Error::new(
                ErrorKind::Parameter,
                format!("it takes {wanted} parameters, and was given {params}"),
            ))),
        }
    }

    /// Does one thing, with what has to be done before.
    pub(super) async fn run<T>(
        &self,
        sql: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Error> {
        self.settle().await?;
        let running = Running::new(self);
        let begin = self.state().begin.take();
        let result = match begin {
            None => work.await,
            Some(begin) => {
                // They are sent together, in this order, and answered in it.
                let begin = self.client.batch_execute(&begin);
                let (begun, result) = tokio::join!(biased; begin, work);
                begun.map_err(Failure::from).and(result)
            }
        };
        running.answered();
        result.map_err(|failure| self.failed(failure).of_statement(sql))
    }

    /// Whether it failed because what was prepared earlier does not fit the tables any more, and
    /// can be tried again.
    fn is_stale(&self, sql: &str, error: &Error) -> bool {
        let is_stale = match error.code() {
            Some("26000") => true,
            Some("0A000") => error.to_string().contains("cached plan"),
            _ => false,
        };
        if is_stale {
            self.cache.forget(sql);
        }
        // In a transaction the error has ended that.
        is_stale && !self.state().in_transaction
    }

    /// Sends a `BEGIN` that still waits for a first statement.
    pub(super) async fn send_begin(&self) -> Result<(), Error> {
        let is_waiting = self.state().begin.is_some();
        match is_waiting {
            true => self.run("BEGIN", async { Ok(()) }).await,
            false => Ok(()),
        }
    }

    /// What a failure means, and notes what it did to the transaction.
    pub(super) fn failed(&self, failure: Failure) -> Error {
        let error = match failure {
            Failure::Ours(error) => return error,
            Failure::Driver(error) => error,
        };
        let mut state = self.state();
        state.failed |= state.in_transaction && error.as_db_error().is_some();
        drop(state);
        describe(error)
    }

    /// Whether its own words may do to the session what we do not see.
    fn note_unruly(&self, sql: &str) {
        const WORDS: [&str; 10] = [
            "BEGIN",
            "START",
            "COMMIT",
            "END",
            "ROLLBACK",
            "ABORT",
            "PREPARE",
            "DEALLOCATE",
            "DISCARD",
            "RELEASE",
        ];
        let word = first_word(sql);
        if WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)) {
            self.state().unruly = true;
        }
    }

    pub(crate) async fn begin(&self, options: &TransactionOptions) -> Result<(), Error> {
        let mut begin = "BEGIN".to_owned();
        match options.isolation {
            Some(Isolation::ReadCommitted) => begin.push_str(" ISOLATION LEVEL READ COMMITTED"),
            Some(Isolation::RepeatableRead) => begin.push_str(" ISOLATION LEVEL REPEATABLE READ"),
            Some(Isolation::Serializable) => begin.push_str(" ISOLATION LEVEL SERIALIZABLE"),
            None => {}
        }
        if options.read_only {
            begin.push_str(" READ ONLY");
        }
        if options.deferrable {
            begin.push_str(" DEFERRABLE");
        }
        self.settle().await?;
        let is_plain = *options == TransactionOptions::default();
        {
            let mut state = self.state();
            state.in_transaction = true;
            state.failed = false;
            state.unruly = false;
            state.begin = Some(begin);
        }
        // With options it may be refused, and what follows must not run outside of it.
        match is_plain {
            true => Ok(()),
            false => self.send_begin().await,
        }
    }

    pub(crate) async fn commit(&self) -> Result<(), Error> {
        let was_sent = self.state().begin.take().is_none();
        if !was_sent {
            self.ended();
            return Ok(());
        }
        self.settle().await?;
        let has_failed = self.state().failed;
        if has_failed {
            self.rollback().await?;
            return Err(Error::new(
                ErrorKind::Poisoned,
                "not committed: a statement of the transaction failed or was given up",
            ));
        }
        // A savepoint can be made only in a transaction that is whole: so it is known that there
        // is one to commit.
        let is_unruly = self.state().unruly;
        let sql = match is_unruly {
            true => "SAVEPOINT withal; COMMIT",
            false => "COMMIT",
        };
        let running = Running::new(self);
        let result = self.client.batch_execute(sql).await;
        running.answered();
        let Err(error) = result else {
            self.ended();
            return Ok(());
        };
        let error = match error.code() {
            // The server has rolled back, or has nothing to roll back.
            Some(&(SqlState::NO_ACTIVE_SQL_TRANSACTION | SqlState::IN_FAILED_SQL_TRANSACTION)) => {
                describe(error).with_kind(ErrorKind::Poisoned)
            }
            Some(_) => describe(error),
            None => {
                let lost = "the connection was lost in COMMIT: it may be committed or not";
                Error::new(ErrorKind::CommitUnknown, lost).with_source(error)
            }
        };
        if self.is_usable() {
            self.rollback().await?;
        }
        Err(error.of_statement("COMMIT"))
    }

    pub(crate) async fn rollback(&self) -> Result<(), Error> {
        let was_sent = self.state().begin.take().is_none();
        if was_sent {
            self.quiet("ROLLBACK").await?;
        }
        self.ended();
        Ok(())
    }

    fn ended(&self) {
        let mut state = self.state();
        state.in_transaction = false;
        state.failed = false;
        state.abandoned = false;
    }

    pub(crate) async fn savepoint(&self, name: &str) -> Result<(), Error> {
        let sql = format!("SAVEPOINT {name}");
        self.simple(&sql).await
    }

    pub(crate) async fn release(&self, name: &str) -> Result<(), Error> {
        self.settle().await?;
        let has_failed = self.state().failed;
        if has_failed {
            self.rollback_to(name).await?;
            return Err(Error::new(
                ErrorKind::Poisoned,
                "undone to the savepoint: a statement since failed or was given up",
            ));
        }
        let sql = format!("RELEASE SAVEPOINT {name}");
        self.simple(&sql).await
    }

    pub(crate) async fn rollback_to(&self, name: &str) -> Result<(), Error> {
        let sql = format!("ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}");
        self.quiet(&sql).await?;
        self.state().failed = false;
        Ok(())
    }

    pub(crate) async fn reset(&self, is_settled: bool) -> Result<(), Error> {
        let (is_quiet, is_unruly) = {
            let state = self.state();
            (state.running == 0 && !state.abandoned, state.unruly)
        };
        if !(is_settled && is_quiet) {
            self.quiet(RESET).await?;
        } else {
            // What comes next is answered after it. Dropped, its answer is read and thrown away.
            let mut reset = Box::pin(self.client.batch_execute(RESET));
            if let Some(reset) = once(&mut reset).await {
                reset.map_err(describe)?;
            }
        }
        if is_unruly {
            self.quiet("DEALLOCATE ALL").await?;
            self.cache.forget_all();
        }
        *self.state() = State::default();
        Ok(())
    }
}

/// Everything that a session may leave to the next user of the connection.
const RESET: &str = "ROLLBACK; CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES";

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    Driver(tokio_postgres::Error),
    Ours(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Failure {
        Failure::Driver(error)
    }
}

/// Polls once.
async fn once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

fn first_word(sql: &str) -> &str {
    let sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == ';' || c == '(');
    let end = sql.find(|c: char| !c.is_ascii_alphabetic());
    sql.get(..end.unwrap_or(sql.len())).unwrap_or_default()
}

/// The driver's error in our words.
pub(super) fn describe(error: tokio_postgres::Error) -> Error {
    let Some(refused) = error.as_db_error() else {
        let source: &dyn std::error::Error = &error;
        let source = source.source().map(ToString::to_string);
        let (kind, message) = match source {
            _ if error.is_closed() => (
                ErrorKind::ConnectionLost,
                "the connection is closed".to_owned(),
            ),
            Some(why) if error.to_string().contains("parameter") => (ErrorKind::Parameter, why),
            Some(why) => (
                ErrorKind::ConnectionLost,
                format!("the connection is lost: {why}"),
            ),
            None => (ErrorKind::ConnectionLost, error.to_string()),
        };
        return Error::new(kind, message).with_source(error);
    };
    let kind = match *refused.code() {
        SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => ErrorKind::Retry,
        SqlState::IN_FAILED_SQL_TRANSACTION => ErrorKind::Poisoned,
        SqlState::ADMIN_SHUTDOWN
        | SqlState::CRASH_SHUTDOWN
        | SqlState::IDLE_SESSION_TIMEOUT
        | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => ErrorKind::ConnectionLost,
        _ => ErrorKind::Refused,
    };
    let mut message = refused.message().to_owned();
    if let Some(detail) = refused.detail().filter(|_| kind != ErrorKind::Refused) {
        message = format!("{message}: {detail}");
    }
    if let Some(hint) = refused.hint() {
        message = format!("{message}; {hint}");
    }
    let code = refused.code().code().to_owned();
    Error::new(kind, message).with_code(code).with_source(error)
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Postgres")
            .field("state", &*state)
            .finish_non_exhaustive()
    }
}
