//! What is done on a connection.

use std::fmt;
#[cfg(feature = "postgres")]
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
#[cfg(feature = "postgres")]
use tokio::io::{AsyncRead, AsyncWrite};

use crate::driver::Driver;
use crate::options::Then;
use crate::transaction::Begin;
use crate::{Error, ErrorKind, OpenCursor, Row, Value};

/// A session with a database.
///
/// It is what a [`Connection`](crate::Connection) and a [`Transaction`](crate::Transaction) lend.
/// Parameters are written `$1`, `$2` and so on, in SQLite as in Postgres.
///
/// # Cancel safety
///
/// Any future of it may be dropped at any await point. What it asked for may then have been done
/// or not, as with any other failure of a network; if it is still running, it is cancelled on the
/// server before the next statement of this session. In a transaction that poisons the
/// transaction: it cannot be committed any more.
pub struct Session {
    driver: Driver,
    state: Mutex<State>,
    /// Held while what was dropped is rolled back.
    mending: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// How many transactions are open: the first, then savepoints.
    depth: u32,
    /// Transactions deeper than this were dropped without an exit, and are rolled back before
    /// anything else is done.
    dropped_to: Option<u32>,
    /// The transaction at this depth cannot be committed any more, and why.
    poisoned: Option<(u32, &'static str)>,
    /// Whether anything was done since the connection was new or reset.
    is_used: bool,
}

impl Session {
    pub(crate) fn new(driver: Driver) -> Session {
        Session {
            driver,
            state: Mutex::default(),
            mending: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    pub(crate) fn into_driver(self) -> Driver {
        self.driver
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a statement; gives how many rows it changed.
    ///
    /// # Errors
    ///
    /// Why the database refused it, or that it is not there.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # async fn f(conn: &withal_sql::Session) -> Result<(), withal_sql::Error> {
    /// use withal_sql::params;
    ///
    /// let changed = conn
    ///     .execute("UPDATE accounts SET balance = balance + $1 WHERE id = $2", params![100, 7])
    ///     .await?;
    /// assert_eq!(changed, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, Error> {
        self.watched(self.driver.execute(sql, params)).await
    }

    /// Runs a statement; gives its rows, all at once. For many rows see [`cursor`](Session::cursor).
    ///
    /// # Errors
    ///
    /// As [`execute`](Session::execute).
    pub async fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        self.watched(self.driver.query(sql, params)).await
    }

    /// [`query`](Session::query), each row [read](Row::read) as a `T`.
    ///
    /// # Errors
    ///
    /// As `query`; [`Decode`](ErrorKind::Decode) if a row is no `T`.
    pub async fn query_as<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: &[Value<'_>],
    ) -> Result<Vec<T>, Error> {
        let rows = self.query(sql, params).await?;
        let read = |row: &Row| row.read().map_err(|error| error.of_statement(sql));
        rows.iter().map(read).collect()
    }

    /// The only row, or `None`.
    ///
    /// # Errors
    ///
    /// As `query`; [`ManyRows`](ErrorKind::ManyRows) if there are several.
    pub async fn query_opt(&self, sql: &str, params: &[Value<'_>]) -> Result<Option<Row>, Error> {
        let mut rows = self.query(sql, params).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            count => Err(Error::new(
                ErrorKind::ManyRows,
                format!("there are {count} rows, and at most one was asked for"),
            )
            .of_statement(sql)),
        }
    }

    /// The only row.
    ///
    /// # Errors
    ///
    /// As `query`; [`NoRow`](ErrorKind::NoRow) or [`ManyRows`](ErrorKind::ManyRows) if there is
    /// not exactly one.
    pub async fn query_one(&self, sql: &str, params: &[Value<'_>]) -> Result<Row, Error> {
        self.query_opt(sql, params)
            .await?
            .ok_or_else(|| Error::new(ErrorKind::NoRow, "there is no row").of_statement(sql))
    }

    /// The only row, [read](Row::read) as a `T`: a struct, a tuple or a single value.
    ///
    /// # Errors
    ///
    /// As [`query_one`](Session::query_one) and [`query_as`](Session::query_as).
    pub async fn query_one_as<T: DeserializeOwned>(
        &self,
        sql: &str,
        params: &[Value<'_>],
    ) -> Result<T, Error> {
        let row = self.query_one(sql, params).await?;
        row.read().map_err(|error| error.of_statement(sql))
    }

    /// Runs any number of statements, separated by `;`, without parameters: a schema, a script.
    ///
    /// # Errors
    ///
    /// As [`execute`](Session::execute), at the first that fails. In Postgres, outside a
    /// transaction, none of them is done then.
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.watched(self.driver.batch(sql)).await
    }

    /// A transaction; in a transaction a savepoint. It is committed if its block succeeds, and
    /// rolled back in every other case, before anybody else has the connection.
    ///
    /// Enter it by `s.with(conn.begin(), …)`; for several in turn by
    /// [`with_ref`](withal_scope::with_ref).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use withal_core::BoxError;
    /// use withal_scope::scope;
    /// use withal_sql::{Database, params};
    ///
    /// # async fn f() -> Result<(), withal_core::Error> {
    /// scope(async |s| {
    ///     let db = s.enter(Database::open("sqlite:bank.db")).await?;
    ///     let conn = s.enter(db.acquire()).await?;
    ///     s.with(conn.begin(), async |_, tx| {
    ///         tx.execute("UPDATE accounts SET balance = balance - $1 WHERE id = 1", params![100])
    ///             .await?;
    ///         tx.execute("UPDATE accounts SET balance = balance + $1 WHERE id = 2", params![100])
    ///             .await?;
    ///         Ok(())
    ///     })
    ///     .await?;
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    pub fn begin(&mut self) -> Begin<&mut Session> {
        Begin::new(self)
    }

    /// The rows of a statement one after the other, a few hundred of them in memory: a
    /// [`Stream`](futures_core::Stream). Other statements may be run meanwhile.
    pub fn cursor<'s>(&'s self, sql: &'s str, params: &'s [Value<'s>]) -> OpenCursor<'s> {
        OpenCursor::new(self, sql, params, false)
    }

    /// A [`cursor`](Session::cursor) that has the session for itself, and is faster for it.
    pub fn exclusive_cursor<'s>(
        &'s mut self,
        sql: &'s str,
        params: &'s [Value<'s>],
    ) -> OpenCursor<'s> {
        OpenCursor::new(self, sql, params, true)
    }

    /// Copies rows into a table, as `COPY … FROM STDIN` of Postgres has them; gives their number.
    ///
    /// # Errors
    ///
    /// As [`execute`](Session::execute); [`Io`](ErrorKind::Io) if they cannot be read; SQLite has
    /// no such thing.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it reads, nothing is copied; dropped while the server finishes what was read,
    /// it may be copied or not. A transaction cannot be committed then, nor if reading has failed.
    #[cfg(feature = "postgres")]
    pub async fn copy_in(&mut self, sql: &str, from: impl AsyncRead + Send) -> Result<u64, Error> {
        match &self.driver {
            Driver::Postgres(session) => {
                self.watched(Box::pin(session.copy_in(sql, pin!(from))))
                    .await
            }
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => Err(no_copy(sql)),
        }
    }

    /// Copies rows out, as `COPY … TO STDOUT` of Postgres has them; gives the number of bytes.
    ///
    /// # Errors
    ///
    /// As [`execute`](Session::execute); [`Io`](ErrorKind::Io) if they cannot be written; SQLite
    /// has no such thing.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the rest is not sent. A transaction cannot be committed then, nor if writing has
    /// failed.
    #[cfg(feature = "postgres")]
    pub async fn copy_out(&mut self, sql: &str, to: impl AsyncWrite + Send) -> Result<u64, Error> {
        match &self.driver {
            Driver::Postgres(session) => {
                self.watched(Box::pin(session.copy_out(sql, pin!(to))))
                    .await
            }
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => Err(no_copy(sql)),
        }
    }

    /// The client of the driver, if this is Postgres: for what this crate does not do.
    ///
    /// Whatever is done with it, the connection is clean before its next user has it, and a
    /// transaction that it ends cannot be committed as if nothing had been.
    ///
    /// # Errors
    ///
    /// That the connection is lost.
    ///
    /// # Cancel safety
    ///
    /// A future of the client that is dropped is not known of: what it asked for is cancelled, and
    /// its transaction not committed, if it is running still when that ends.
    #[cfg(feature = "postgres")]
    pub async fn postgres(&self) -> Result<Option<&tokio_postgres::Client>, Error> {
        self.ready().await?;
        match &self.driver {
            Driver::Postgres(session) => session.client().await.map(Some),
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => Ok(None),
        }
    }

    /// Runs `work` with the connection of the driver, if this is SQLite, on the connection's own
    /// thread: for what this crate does not do.
    ///
    /// Whatever is done with it, the connection is clean before its next user has it, and a
    /// transaction that it ends cannot be committed as if nothing had been.
    ///
    /// # Errors
    ///
    /// That the connection is lost.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut rusqlite::Connection) -> T + Send + 'static,
    ) -> Result<Option<T>, Error> {
        self.ready().await?;
        match &self.driver {
            #[cfg(feature = "postgres")]
            Driver::Postgres(_) => Ok(None),
            Driver::Sqlite(session) => session.with(work).await.map(Some),
        }
    }

    /// Whether it can be used, as far as is known without asking.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.driver.is_usable()
    }

    /// How many transactions are open on it: 1 in a transaction, more in savepoints.
    #[must_use]
    pub fn depth(&self) -> u32 {
        let state = self.state();
        state.dropped_to.unwrap_or(state.depth)
    }

    /// Runs a statement. Dropped, nobody knows whether it was done.
    async fn watched<T>(
        &self,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.ready().await?;
        let given_up = GivenUp(Some(self));
        let result = statement.await;
        given_up.disarm();
        result
    }

    /// What has to be done before anything else: rolling back what was dropped.
    pub(crate) async fn ready(&self) -> Result<(), Error> {
        self.state().is_used = true;
        if self.check()?.is_none() {
            return Ok(());
        }
        let _mending = self.mending.lock().await;
        let Some(depth) = self.check()? else {
            return Ok(());
        };
        let rolled_back = match depth {
            0 => self.driver.rollback().await,
            _ => self.driver.rollback_to(&savepoint(depth + 1)).await,
        };
        match rolled_back {
            Ok(()) => self.ended(depth + 1),
            Err(error) => {
                if depth > 0 {
                    self.ended(depth + 1);
                    self.poison(depth, UNKNOWN);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// The depth to go back to, if there is something to be rolled back before anything else.
    fn check(&self) -> Result<Option<u32>, Error> {
        let state = self.state();
        match (state.poisoned, state.dropped_to) {
            (Some((depth, why)), to) if to.is_none_or(|to| to >= depth) => Err(poisoned(why)),
            (_, to) => Ok(to),
        }
    }

    /// One level more. It is noted before anything is sent: dropped from here on, it is rolled
    /// back.
    pub(crate) fn deepen(&self) -> u32 {
        let mut state = self.state();
        state.is_used = true;
        state.depth += 1;
        state.depth
    }

    /// The transaction at this depth has come to an orderly end.
    pub(crate) fn ended(&self, depth: u32) {
        let mut state = self.state();
        state.depth = depth - 1;
        // Those inside of it that were dropped went with it.
        if state.dropped_to.is_some_and(|to| to >= depth - 1) {
            state.dropped_to = None;
        }
        if state
            .poisoned
            .is_some_and(|(poisoned, _)| poisoned >= depth)
        {
            state.poisoned = None;
        }
    }

    /// The transaction at this depth was dropped.
    pub(crate) fn dropped(&self, depth: u32) {
        let mut state = self.state();
        let to = depth - 1;
        state.dropped_to = Some(state.dropped_to.map_or(to, |already| already.min(to)));
    }

    /// Nothing but a rollback of the transaction at this depth is right. Outside of any there is
    /// none.
    pub(crate) fn poison(&self, depth: u32, why: &'static str) {
        let mut state = self.state();
        let is_new = state.poisoned.is_none_or(|(already, _)| depth < already);
        if is_new && depth > 0 {
            state.poisoned = Some((depth, why));
        }
    }

    /// Commits the transaction; those inside of it have ended.
    pub(crate) async fn commit(&self, then: Then) -> Result<(), Error> {
        let is_new = self.driver.commit(then).await?;
        if is_new {
            self.state().is_used = false;
        }
        Ok(())
    }

    /// Whether nothing at all was done with it.
    pub(crate) fn is_untouched(&self) -> bool {
        !self.state().is_used
    }

    /// Makes it as new.
    pub(crate) async fn reset(&self, is_settled: bool) -> Result<(), Error> {
        let is_settled = is_settled && {
            let state = self.state();
            state.depth == 0 && state.dropped_to.is_none()
        };
        self.driver.reset(is_settled).await?;
        *self.state() = State::default();
        Ok(())
    }
}

#[cfg(all(feature = "postgres", feature = "sqlite"))]
fn no_copy(sql: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        "SQLite has no COPY; use INSERT in a transaction",
    )
    .of_statement(sql)
}

pub(crate) const UNKNOWN: &str = "it is not known what became of a savepoint";
const GIVEN_UP: &str = "a statement of it was given up before its answer";

/// Dropped, it poisons the transaction in which a statement was given up.
struct GivenUp<'s>(Option<&'s Session>);

impl GivenUp<'_> {
    fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for GivenUp<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.0 {
            session.poison(session.depth(), GIVEN_UP);
        }
    }
}

fn poisoned(why: &str) -> Error {
    Error::new(
        ErrorKind::Poisoned,
        format!("the transaction can only be rolled back: {why}"),
    )
}

/// The savepoint of a transaction at this depth.
pub(crate) fn savepoint(depth: u32) -> String {
    format!("withal_{depth}")
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("driver", &self.driver)
            .field("depth", &self.depth())
            .finish_non_exhaustive()
    }
}
