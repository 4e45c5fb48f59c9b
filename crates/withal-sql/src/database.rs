//! A database, and connections to it.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use withal_core::{AsyncContextManager, BoxError, ExitCase};
use withal_pool::{
    Acquire, AcquireError, Builder, Cause, CloseError, Lease, Manager, Pool, Status,
};

use crate::driver::Driver;
use crate::transaction::Begin;
use crate::url::{Target, parse};
use crate::{Error, ErrorKind, Session};

/// Makes sessions with one database, and makes them clean between two uses: what
/// [`withal_pool`] needs.
#[derive(Clone, Debug)]
pub struct Sessions {
    target: Target,
}

impl Sessions {
    /// Of the database that a URL names.
    ///
    /// # Errors
    ///
    /// [`Url`](crate::ErrorKind::Url) if it names none.
    pub fn of(url: &str) -> Result<Sessions, Error> {
        parse(url).map(|target| Sessions { target })
    }

    /// How many statements were cancelled so far, in sessions of this and of its clones: nobody
    /// waited for them any more, and they had not ended by themselves, on Postgres within 5 ms.
    #[must_use]
    pub fn cancelled_statements(&self) -> u64 {
        self.target.cancelled()
    }
}

impl Manager for Sessions {
    type Connection = Session;
    type Error = Error;

    async fn create(&self) -> Result<Session, Error> {
        Box::pin(Driver::open(&self.target)).await.map(Session::new)
    }

    async fn recycle(&self, session: &mut Session, case: ExitCase) -> Result<(), Error> {
        session.reset(case.is_succeeded()).await
    }

    fn is_clean(&self, session: &mut Session, _: &ExitCase) -> bool {
        session.is_untouched()
    }

    async fn validate(&self, session: &mut Session) -> Result<(), Error> {
        session.driver().ping().await
    }

    fn is_usable(&self, session: &Session) -> bool {
        session.is_usable()
    }

    async fn detach(&self, session: Session, cause: Cause) -> Result<(), Error> {
        let is_silent = matches!(cause, Cause::ResetTimedOut | Cause::ValidationTimedOut);
        session.into_driver().close(is_silent).await
    }
}

/// A connection that is out of its pool; it derefs to a [`Session`].
pub type Connection = Lease<Sessions>;

impl From<AcquireError<Error>> for Error {
    fn from(error: AcquireError<Error>) -> Error {
        match error {
            AcquireError::Create(error) => error,
            error => Error::new(ErrorKind::Acquire, "there is no connection").with_source(error),
        }
    }
}

/// A database: a pool of connections to it. Clones are of the same pool.
///
/// # Examples
///
/// ```
/// use withal_scope::scope;
/// use withal_sql::{Database, params};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// scope(async |s| {
///     let db = s.enter(Database::open("sqlite::memory:")).await?;
///     let conn = s.enter(db.acquire()).await?;
///     conn.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT)", params![]).await?;
///     conn.execute("INSERT INTO accounts VALUES ($1, $2)", params![7, "Ada"]).await?;
///     let owner: String = conn
///         .query_one_as("SELECT owner FROM accounts WHERE id = $1", params![7])
///         .await?;
///     assert_eq!(owner, "Ada");
///     Ok(())
/// })
/// .await
/// # }
/// ```
#[derive(Clone)]
pub struct Database(Pool<Sessions>);

impl Database {
    /// The database that a URL names: `sqlite:orders.db` or `postgres://user@host/orders`.
    ///
    /// What a `postgres:` URL leaves out is taken from where libpq looks for it, in this order:
    ///
    /// - The service that `service` in the URL or `PGSERVICE` names. It is looked for in
    ///   `servicefile`, `PGSERVICEFILE` or `~/.pg_service.conf`, then in `pg_service.conf` in
    ///   `PGSYSCONFDIR` or `/etc/postgresql-common`.
    /// - `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGAPPNAME`, `PGOPTIONS`,
    ///   `PGCONNECT_TIMEOUT`, `PGSSLMODE`, `PGSSLROOTCERT`, `PGSSLCERT`, `PGSSLKEY`.
    /// - For a password `passfile`, `PGPASSFILE` or `~/.pgpass`. One that group or others may read
    ///   is ignored, and that is noticed.
    ///
    /// The files are read here, once. `sslmode` means what it means to libpq: only `verify-full`
    /// knows who it talks to. `sslcert` and `sslkey` go together, have no default, and the key has
    /// no password.
    pub fn open(url: impl Into<String>) -> OpenDatabase {
        OpenDatabase {
            sessions: Sessions::of(&url.into()),
            set_up: Vec::new(),
        }
    }

    /// A connection, as a context manager: `s.enter(db.acquire())`.
    #[track_caller]
    pub fn acquire(&self) -> Acquire<Sessions> {
        self.0.acquire()
    }

    /// A connection as a value. Dropped, it is reset in full; see [`Lease::release`].
    ///
    /// # Errors
    ///
    /// Those of the pool: there was none in time, or none could be made.
    #[track_caller]
    pub fn lease(
        &self,
    ) -> impl Future<Output = Result<Connection, AcquireError<Error>>> + Send + use<> {
        self.0.lease()
    }

    /// A transaction on a connection of its own, as a context manager: `s.enter(db.begin())`. It is
    /// committed if its block succeeds, and rolled back in every other case; then the connection goes
    /// back to the pool.
    ///
    /// This is the fastest way to do one transaction: `COMMIT` takes with it what makes the connection
    /// clean. Taken as in sqlx's `Pool::begin`.
    ///
    /// # Errors
    ///
    /// Its enter fails as [`acquire`](Database::acquire) does, with
    /// [`Acquire`](crate::ErrorKind::Acquire) or why no connection could be made.
    ///
    /// # Examples
    ///
    /// ```
    /// use withal_scope::{async_with, scope};
    /// use withal_sql::{Database, params};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), withal_core::Error> {
    /// scope(async |s| {
    ///     let db = s.enter(Database::open("sqlite::memory:").max_connections(1)).await?;
    ///     async_with(db.begin(), async |tx| {
    ///         tx.batch("CREATE TABLE accounts (id INTEGER PRIMARY KEY, owner TEXT)").await?;
    ///         tx.execute("INSERT INTO accounts VALUES ($1, $2)", params![7, "Ada"]).await?;
    ///         Ok(())
    ///     })
    ///     .await?;
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    #[track_caller]
    pub fn begin(&self) -> Begin<Acquire<Sessions>> {
        Begin::new(self.acquire())
    }

    /// The pool itself.
    #[must_use]
    pub fn pool(&self) -> &Pool<Sessions> {
        &self.0
    }

    /// How its connections are.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// How many statements were cancelled so far: nobody waited for them any more, and they had not
    /// ended by themselves, on Postgres within 5 ms. What became of connections is counted by
    /// [`Pool::counters`].
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use withal_pool::Cause;
    /// # fn f(db: &withal_sql::Database) {
    /// let counters = db.pool().counters();
    /// println!(
    ///     "{} made clean, {} not in time; {} statements cancelled",
    ///     counters.reset,
    ///     counters.discarded_for(Cause::ResetTimedOut),
    ///     db.cancelled_statements(),
    /// );
    /// # }
    /// ```
    #[must_use]
    pub fn cancelled_statements(&self) -> u64 {
        self.0.manager().cancelled_statements()
    }

    /// Waits until all connections have come back and are ended, up to `limit`.
    ///
    /// # Errors
    ///
    /// What had to be given up.
    pub async fn close(&self, limit: Duration) -> Result<(), CloseError> {
        self.0.close(limit).await
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database")
            .field(&self.0.manager().target)
            .finish()
    }
}

type SetUp = Box<dyn FnOnce(Builder<Sessions>) -> Builder<Sessions> + Send + Sync>;

/// How to open a [`Database`]; a context manager that lends one.
///
/// Its exit waits until all connections have come back and are ended.
#[must_use = "a context manager does nothing until it is entered"]
pub struct OpenDatabase {
    /// Or that the URL names none, which is told when it is entered.
    sessions: Result<Sessions, Error>,
    set_up: Vec<SetUp>,
}

impl OpenDatabase {
    /// How many connections there are at most.
    pub fn max_connections(self, count: usize) -> OpenDatabase {
        self.pool(move |pool| pool.max_size(count))
    }

    /// How long to wait for a free connection. By default 30 seconds.
    pub fn acquire_timeout(self, limit: impl Into<Option<Duration>>) -> OpenDatabase {
        let limit = limit.into();
        self.pool(move |pool| pool.wait_timeout(limit))
    }

    /// Any other setting of the pool.
    pub fn pool(
        mut self,
        set: impl FnOnce(Builder<Sessions>) -> Builder<Sessions> + Send + Sync + 'static,
    ) -> OpenDatabase {
        self.set_up.push(Box::new(set));
        self
    }

    /// Without a password.
    fn shown(&self) -> Cow<'static, str> {
        match &self.sessions {
            Ok(sessions) => Cow::Owned(sessions.target.to_string()),
            Err(_) => Cow::Borrowed("database"),
        }
    }

    fn builder(self) -> Result<Builder<Sessions>, Error> {
        let name = self.shown();
        let builder = Pool::builder(self.sessions?).name(name);
        Ok(self
            .set_up
            .into_iter()
            .fold(builder, |builder, set| set(builder)))
    }
}

/// It does not show the URL: there may be a password in it.
impl fmt::Debug for OpenDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.sessions.as_ref().map(|sessions| &sessions.target);
        f.debug_tuple("OpenDatabase").field(&shown).finish()
    }
}

impl AsyncContextManager for OpenDatabase {
    type Resource = Database;
    type Error = BoxError;

    async fn enter(self) -> Result<Database, BoxError> {
        let pool = Pool::open(self.builder()?).enter().await?;
        Ok(Database(pool))
    }

    async fn exit(database: Database, case: ExitCase) -> Result<(), BoxError> {
        <withal_pool::OpenPool<Sessions>>::exit(database.0, case).await
    }

    fn name(&self) -> Cow<'static, str> {
        self.shown()
    }
}
