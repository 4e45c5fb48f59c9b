//! One session with either database.

#[cfg(feature = "postgres")]
use crate::ErrorKind;
use crate::options::{Then, TransactionOptions};
use crate::row::Row;
use crate::url::Target;
use crate::{Error, Value};

/// Calls the same method of whichever it is. What waits for an answer is in a box: otherwise each
/// future of a user would be as large as all of this.
macro_rules! either {
    ($driver:expr, $session:ident => $call:expr) => {
        match $driver {
            #[cfg(feature = "postgres")]
            Driver::Postgres($session) => $call,
            #[cfg(feature = "sqlite")]
            Driver::Sqlite($session) => $call,
        }
    };
}

/// A session, and what its transactions need of it.
///
/// Each future may be dropped at any await point. Then something may still be running that nobody
/// waits for; the next call deals with that first, and so do `rollback` and `reset`, which cancel
/// it.
#[derive(Debug)]
pub(crate) enum Driver {
    #[cfg(feature = "postgres")]
    Postgres(Box<crate::postgres::Postgres>),
    #[cfg(feature = "sqlite")]
    Sqlite(crate::sqlite::Sqlite),
}

impl Driver {
    pub(crate) async fn open(target: &Target) -> Result<Driver, Error> {
        match target {
            #[cfg(feature = "postgres")]
            Target::Postgres(config) => {
                let session = Box::pin(crate::postgres::Postgres::open(config)).await?;
                Ok(Driver::Postgres(Box::new(session)))
            }
            #[cfg(feature = "sqlite")]
            Target::Sqlite(config) => {
                let session = Box::pin(crate::sqlite::Sqlite::open(config)).await?;
                Ok(Driver::Sqlite(session))
            }
        }
    }

    /// Refuses what the driver of Postgres takes for the end of the connection. What SQLite cannot
    /// run it refuses itself.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "this is about Postgres")
    )]
    pub(crate) fn check(&self, sql: &str) -> Result<(), Error> {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Postgres(_) => check_postgres(sql).map_err(|error| error.of_statement(sql)),
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => Ok(()),
        }
    }

    pub(crate) async fn execute(&self, sql: &str, params: &[Value<'_>]) -> Result<u64, Error> {
        self.check(sql)?;
        either!(self, session => Box::pin(session.execute(sql, params)).await)
    }

    pub(crate) async fn query(&self, sql: &str, params: &[Value<'_>]) -> Result<Vec<Row>, Error> {
        self.check(sql)?;
        either!(self, session => Box::pin(session.query(sql, params)).await)
    }

    /// Any number of statements, without parameters.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.check(sql)?;
        either!(self, session => Box::pin(session.batch(sql)).await)
    }

    /// Begins a transaction. It may be sent with the first statement only.
    pub(crate) async fn begin(&self, options: &TransactionOptions) -> Result<(), Error> {
        either!(self, session => Box::pin(session.begin(options)).await)
    }

    /// Commits; gives whether the session is as new then, which it is only where that was asked for,
    /// and not always. If the transaction cannot be committed as the body saw it, that is an error,
    /// and it is rolled back.
    pub(crate) async fn commit(&self, then: Then) -> Result<bool, Error> {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Postgres(session) => Box::pin(session.commit(then)).await,
            // Its own thread makes it as new, and knows whether there is anything to do.
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(session) => Box::pin(session.commit()).await.map(|()| false),
        }
    }

    /// Cancels whatever runs, and rolls back.
    pub(crate) async fn rollback(&self) -> Result<(), Error> {
        either!(self, session => Box::pin(session.rollback()).await)
    }

    pub(crate) async fn savepoint(&self, name: &str) -> Result<(), Error> {
        either!(self, session => Box::pin(session.savepoint(name)).await)
    }

    /// Keeps what was done since the savepoint, and forgets it.
    pub(crate) async fn release(&self, name: &str) -> Result<(), Error> {
        either!(self, session => Box::pin(session.release(name)).await)
    }

    /// Cancels whatever runs, undoes what was done since the savepoint, and forgets it.
    pub(crate) async fn rollback_to(&self, name: &str) -> Result<(), Error> {
        either!(self, session => Box::pin(session.rollback_to(name)).await)
    }

    /// Makes the session as new, for the next one to use it. `is_settled` if nothing was given up.
    pub(crate) async fn reset(&self, is_settled: bool) -> Result<(), Error> {
        either!(self, session => Box::pin(session.reset(is_settled)).await)
    }

    /// Asks whether there is still somebody.
    pub(crate) async fn ping(&self) -> Result<(), Error> {
        either!(self, session => Box::pin(session.ping()).await)
    }

    /// Whether it may be used, as far as can be told without waiting.
    pub(crate) fn is_usable(&self) -> bool {
        either!(self, session => session.is_usable())
    }

    /// Ends it; what runs is cancelled. If it `is_silent`, at once.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "a thread of ours does not fall silent")
    )]
    pub(crate) async fn close(self, is_silent: bool) -> Result<(), Error> {
        match self {
            #[cfg(feature = "postgres")]
            Driver::Postgres(session) => Box::pin(session.close(is_silent)).await,
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(session) => session.close().await,
        }
    }
}

#[cfg(feature = "postgres")]
fn check_postgres(sql: &str) -> Result<(), Error> {
    if sql.contains('\0') {
        let why = "there is a NUL in the statement";
        return Err(Error::new(ErrorKind::Refused, why));
    }
    match crate::migrate::copies(sql) {
        Some(method) => {
            let why = format!("rows of COPY come and go with `{method}`");
            Err(Error::new(ErrorKind::Refused, why))
        }
        None => Ok(()),
    }
}
