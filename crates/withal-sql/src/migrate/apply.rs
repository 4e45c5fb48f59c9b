//! Applying what is pending.

use std::fmt;
use std::time::{Duration, Instant};

use withal_core::{AsyncContextManager, BoxError, ExitCase};
use withal_scope::{RefContextManager, with_ref};

use super::error::MigrateError;
use super::files::{Migration, Migrations};
use super::history::{State, Table};
use super::lock::Lock;
use super::script::{Dialect, Flaw, Statement, position, statements};
use crate::driver::Driver;
use crate::{Error, Session};

const READ: &str = "read which migrations are applied";
const NOTE: &str = "note a migration as applied";

/// What a migrator does, as it does it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// Somebody else migrates the database, and is waited for.
    #[non_exhaustive]
    Waiting {
        /// Who, as far as can be known.
        holder: Option<&'e str>,
    },
    /// The statements of a migration are run now.
    #[non_exhaustive]
    Began {
        /// Which one.
        migration: &'e Migration,
    },
    /// They have been run. It is not applied before the transaction is [committed](Event::Committed).
    #[non_exhaustive]
    Ran {
        /// Which one.
        migration: &'e Migration,
        /// How long that took.
        took: Duration,
    },
    /// All migrations up to this one are applied.
    #[non_exhaustive]
    Committed {
        /// The number of the last one.
        version: i64,
    },
}

type Watch = dyn Fn(Event<'_>) + Send + Sync;

/// Brings a database to its newest version.
///
/// See the [module](crate::migrate) for what is promised.
///
/// # Examples
///
/// ```
/// use withal_scope::scope;
/// use withal_sql::Database;
/// use withal_sql::migrate::{Migrations, Migrator};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// scope(async |s| {
///     let db = s.enter(Database::open("sqlite::memory:")).await?;
///     let conn = s.enter(db.acquire()).await?;
///     let migrator = Migrator::new(Migrations::of([
///         ("0001_accounts.sql", "CREATE TABLE accounts (id bigint, balance bigint)"),
///         ("0002_owner.sql", "ALTER TABLE accounts ADD COLUMN owner text"),
///     ])?);
///     assert_eq!(migrator.run(conn).await?, 2);
///     assert_eq!(migrator.run(conn).await?, 0);
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub struct Migrator {
    migrations: Migrations,
    lock_wait: Option<Duration>,
    watch: Box<Watch>,
}

impl Migrator {
    /// Applies these migrations.
    #[must_use]
    pub fn new(migrations: Migrations) -> Migrator {
        Migrator {
            migrations,
            lock_wait: None,
            watch: Box::new(|_| {}),
        }
    }

    /// How long to wait while somebody else migrates the database; without limit unless said
    /// otherwise.
    #[must_use]
    pub fn lock_wait(mut self, limit: impl Into<Option<Duration>>) -> Migrator {
        self.lock_wait = limit.into();
        self
    }

    /// Tells what it does. It is called in the middle of the work, and must not block.
    #[must_use]
    pub fn on_event(mut self, watch: impl Fn(Event<'_>) + Send + Sync + 'static) -> Migrator {
        self.watch = Box::new(watch);
        self
    }

    /// What it applies.
    #[must_use]
    pub fn migrations(&self) -> &Migrations {
        &self.migrations
    }

    /// Where the database stands. It changes nothing, and waits for nobody.
    ///
    /// # Errors
    ///
    /// [`File`](MigrateError::File) if a pending file holds what a migration may not;
    /// [`Database`](MigrateError::Database) if the database cannot be read.
    pub async fn state(&self, session: &Session) -> Result<State<'_>, MigrateError> {
        let cannot = MigrateError::doing(READ);
        let table = Table::find(session).await.map_err(&cannot)?;
        let state = table
            .state(session, &self.migrations)
            .await
            .map_err(cannot)?;
        for migration in &state.pending {
            let _statements = parse(migration, session.dialect())?;
        }
        Ok(state)
    }

    /// Applies all pending migrations; gives how many.
    ///
    /// # Errors
    ///
    /// Everything that went wrong. The first is a [`MigrateError`], or a
    /// [`LockError`](withal_os::LockError) if there is no file to lock for SQLite, or the
    /// [`Error`] of a transaction that could not be begun or committed.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the database stays at the version it has: what was begun is rolled back by whatever
    /// is done next with the session, and when it is given back. A file outside of a transaction
    /// may be done in part.
    pub async fn run(&self, session: &mut Session) -> Result<usize, withal_core::Error> {
        let state = self.state(session).await.and_then(State::check);
        let state = state.map_err(withal_core::Error::new)?;
        if state.pending.is_empty() {
            return Ok(0);
        }
        let lock = Lock {
            session,
            limit: self.lock_wait,
            watch: &*self.watch,
        };
        with_ref(lock, async |locked| self.run_locked(locked.session).await).await
    }

    /// Looks again, as somebody else may have been here, and applies what is still pending.
    async fn run_locked(&self, session: &mut Session) -> Result<usize, BoxError> {
        let state = self.state(session).await?.check()?;
        for part in state
            .pending
            .chunk_by(|a, b| a.in_transaction() && b.in_transaction())
        {
            match part {
                [alone] if !alone.in_transaction() => self.run_alone(session, alone).await?,
                part => {
                    with_ref(session.begin(), async |tx| self.run_part(tx, part).await).await?;
                    renew(session).await?;
                }
            }
            if let Some(last) = part.last() {
                (self.watch)(Event::Committed {
                    version: last.version(),
                });
            }
        }
        Ok(state.pending.len())
    }

    async fn run_part(&self, session: &Session, part: &[&Migration]) -> Result<(), BoxError> {
        let table = make_table(session).await?;
        for migration in part {
            self.run_file(session, migration).await?;
            note(&table, session, migration).await?;
        }
        Ok(())
    }

    /// Its statements commit each for itself; it is noted when all have.
    async fn run_alone(
        &self,
        session: &mut Session,
        migration: &Migration,
    ) -> Result<(), BoxError> {
        with_ref(Alone(session), async |session| {
            self.run_file(session, migration).await?;
            with_ref(session.begin(), async |tx| {
                let table = make_table(tx).await?;
                Ok(note(&table, tx, migration).await?)
            })
            .await?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn run_file(&self, session: &Session, migration: &Migration) -> Result<(), MigrateError> {
        (self.watch)(Event::Began { migration });
        let start = Instant::now();
        for statement in parse(migration, session.dialect())? {
            let run = session.batch(statement.sql).await;
            run.map_err(|error| failed(migration, &statement, error))?;
        }
        reset(session).await.map_err(MigrateError::doing(NOTE))?;
        let took = start.elapsed();
        (self.watch)(Event::Ran { migration, took });
        Ok(())
    }
}

/// Lends a session outside of a transaction. What was begun by hand and is still open when it fails
/// is rolled back.
struct Alone<'s>(&'s mut Session);

impl<'s> AsyncContextManager for Alone<'s> {
    type Resource = &'s mut Session;
    type Error = BoxError;

    async fn enter(self) -> Result<&'s mut Session, BoxError> {
        Ok(self.0)
    }

    async fn exit(session: &'s mut Session, case: ExitCase) -> Result<(), BoxError> {
        let is_failed = !case.is_succeeded();
        // A connection that is lost has no transaction.
        if is_failed && session.is_usable() && session.dialect() == Dialect::Postgres {
            session.batch("ROLLBACK").await?;
        }
        Ok(renew(session).await?)
    }
}

/// What was begun is rolled back when the session is given back.
impl RefContextManager for Alone<'_> {
    fn abandon(_: &mut Session) {}
}

impl fmt::Debug for Migrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Migrator")
            .field("migrations", &self.migrations)
            .field("lock_wait", &self.lock_wait)
            .finish_non_exhaustive()
    }
}

impl Session {
    pub(super) fn dialect(&self) -> Dialect {
        match self.driver() {
            #[cfg(feature = "postgres")]
            Driver::Postgres(_) => Dialect::Postgres,
            #[cfg(feature = "sqlite")]
            Driver::Sqlite(_) => Dialect::Sqlite,
        }
    }
}

async fn make_table(session: &Session) -> Result<Table, MigrateError> {
    let cannot = MigrateError::doing(NOTE);
    let mut table = Table::find(session).await.map_err(&cannot)?;
    table.make(session).await.map_err(cannot)?;
    Ok(table)
}

async fn note(table: &Table, session: &Session, migration: &Migration) -> Result<(), MigrateError> {
    let noted = table.note(session, migration).await;
    noted.map_err(MigrateError::doing(NOTE))
}

/// Takes back what a file has set for the session, and its temporary tables: the next one begins as
/// in a run of its own.
async fn reset(session: &Session) -> Result<(), Error> {
    match session.driver() {
        #[cfg(feature = "postgres")]
        Driver::Postgres(session) => Box::pin(session.reset_settings()).await,
        #[cfg(feature = "sqlite")]
        Driver::Sqlite(session) => session.reset_settings().await,
    }
}

/// Makes a session of SQLite as new, outside of a transaction. It has no lock to lose, as one of
/// Postgres has.
async fn renew(session: &Session) -> Result<(), Error> {
    match session.dialect() {
        Dialect::Postgres => Ok(()),
        Dialect::Sqlite if !session.is_usable() => Ok(()),
        Dialect::Sqlite => session.reset(false).await,
    }
}

fn parse(migration: &Migration, dialect: Dialect) -> Result<Vec<Statement<'_>>, MigrateError> {
    let sql = migration.sql();
    let parsed = statements(sql, dialect, migration.in_transaction());
    parsed.map_err(|Flaw { at, why }| MigrateError::File {
        path: migration.path().to_owned(),
        position: Some(position(sql, at)),
        why,
    })
}

fn failed(migration: &Migration, statement: &Statement<'_>, source: Error) -> MigrateError {
    let at = statement.start + source.offset().unwrap_or(0);
    MigrateError::Statement {
        path: migration.path().to_owned(),
        position: position(migration.sql(), at),
        source,
    }
}
