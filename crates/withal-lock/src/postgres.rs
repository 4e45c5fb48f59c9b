//! Leases on Postgres.

use std::time::Duration;

use withal_core::BoxError;
use withal_pool::{Cause, Manager as _};
use withal_sql::{Error, Session, Sessions, params};

use crate::LeaseError;
use crate::error::Holder;
use crate::store::{Store, Taken};
use crate::terms::{Terms, context_manager, settings};

/// A lease on a Postgres database: one holder at a time, on any number of machines.
///
/// It is a row of the table `withal_leases`, which is made if it is not there, and the time it ends
/// is reckoned by the server. That is why it is no advisory lock (`pg_advisory_lock`), which belongs
/// to a connection: that lock is free the moment the server sees the connection break, while its
/// holder goes on without knowing; it is not free for hours if the server does not see that; it has
/// no token, and a pooler between us and the server hands it to others. A lease outlives its
/// connection, so a broken one is replaced; it ends by itself if its holder is dead; and its holder
/// hears of the end first.
///
/// Rows stay, one for each key, so that tokens go on: `DELETE` them only if nobody remembers a
/// token. Every write to the table is waited for until it is on the disk
/// (`synchronous_commit`, if that is off, is turned on for it).
///
/// # Errors
///
/// To enter fails with [`Busy`](LeaseError::Busy) if somebody has it for longer than one may
/// [`wait`](Self::wait), with [`Server`](LeaseError::Server) if the server cannot be reached or
/// refuses, and with [`Terms`](LeaseError::Terms) if what is asked for makes no sense. A server that
/// goes away while one waits is waited for.
///
/// The exit fails with [`Lost`](LeaseError::Lost) if the lease was lost while the block ran, and
/// with [`Server`](LeaseError::Server) if it could not be given back: then it ends by itself.
///
/// # Cancel safety
///
/// A block that is dropped while it waits is given up at once, and what the server may have given
/// it is given back. Dropped later, it is released as by any other exit.
///
/// # Examples
///
/// ```no_run
/// use std::time::Duration;
/// use withal_lock::PgLease;
/// use withal_scope::async_with;
///
/// # async fn send_invoices(token: i64) -> Result<(), withal_core::BoxError> { Ok(()) }
/// # async fn f() -> Result<(), withal_core::Error> {
/// let lease = PgLease::new("postgres://app@db/app", "invoices").wait(Duration::from_secs(60));
/// async_with(lease, async |lease| {
///     // Stopped where it is, 10 s before anybody else can have the lease.
///     lease.while_held(send_invoices(lease.token())).await?
/// })
/// .await
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a context manager does nothing until it is entered"]
pub struct PgLease {
    url: String,
    terms: Terms,
}

impl PgLease {
    /// The lease `key` in the database that a `postgres:` URL names, as [`withal_sql`] has them.
    ///
    /// Who names the same key in the same schema waits for each other.
    pub fn new(url: impl Into<String>, key: impl Into<String>) -> PgLease {
        PgLease {
            url: url.into(),
            terms: Terms::new(key.into()),
        }
    }

    settings!();

    fn store(&self) -> Result<Postgres, LeaseError> {
        let sessions = Sessions::of(&self.url).map_err(|error| LeaseError::Terms(error.into()))?;
        Ok(Postgres {
            sessions,
            session: None,
        })
    }
}

context_manager!(PgLease);

/// The table, as it may be made beforehand by somebody who has the right to.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS withal_leases (
    key text PRIMARY KEY,
    token bigint NOT NULL,
    owner text,
    holder text NOT NULL,
    expires timestamptz NOT NULL
)";

/// Those who make it at once wait for each other, as `IF NOT EXISTS` does not.
const MAKE_LOCK: i64 = 0x7769_7468_616c_6c73;

/// What is written is durable before we hear of it; and who waited for a row goes on with what is
/// in it now.
const PREPARE: &str = "SELECT set_config('synchronous_commit', 'on', false)
      WHERE current_setting('synchronous_commit') = 'off';
    SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// A token is greater than the last one, and no less than the server's time in milliseconds: so
/// they go on even where the row was lost, with a table or with a replica that was behind.
const TAKE: &str = "INSERT INTO withal_leases AS lease (key, token, owner, holder, expires)
    VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, $2, $3,
            clock_timestamp() + $4::bigint * interval '1 millisecond')
    ON CONFLICT (key) DO UPDATE
      SET token = CASE WHEN lease.owner = $2 THEN lease.token ELSE
              greatest(lease.token + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint) END,
          owner = $2, holder = $3,
          expires = clock_timestamp() + $4::bigint * interval '1 millisecond'
      WHERE lease.owner IS NULL OR lease.owner = $2 OR lease.expires <= clock_timestamp()
    RETURNING token";

const LOOK: &str = "SELECT holder, token,
        ceil(extract(epoch FROM expires - clock_timestamp()) * 1000)::bigint
    FROM withal_leases WHERE key = $1 AND owner IS NOT NULL";

const RENEW: &str = "UPDATE withal_leases
    SET expires = clock_timestamp() + $3::bigint * interval '1 millisecond'
    WHERE key = $1 AND owner = $2";

const RELEASE: &str = "UPDATE withal_leases SET owner = NULL, expires = clock_timestamp()
    WHERE key = $1 AND owner = $2";

/// A database, and a session with it.
struct Postgres {
    sessions: Sessions,
    session: Option<Session>,
}

impl Postgres {
    fn session(&self) -> Result<&Session, BoxError> {
        Ok(self.session.as_ref().ok_or("not connected")?)
    }
}

impl Store for Postgres {
    async fn connect(&mut self) -> Result<(), BoxError> {
        if self.session.as_ref().is_some_and(Session::is_usable) {
            return Ok(());
        }
        let session = self.sessions.create().await?;
        session.batch(PREPARE).await?;
        self.session = Some(session);
        Ok(())
    }

    fn disconnect(&mut self) {
        self.session = None;
    }

    async fn take(&mut self, terms: &Terms) -> Result<Taken, BoxError> {
        let session = self.session()?;
        let taken = match take(session, terms).await {
            Err(error) if is_no_table(&error) => {
                make_table(session).await?;
                take(session, terms).await?
            }
            taken => taken?,
        };
        if let Some(token) = taken {
            return Ok(Taken::Ours(token));
        }
        let rows = session.query(LOOK, params![&*terms.key]).await?;
        // It may have been released since.
        let Some(row) = rows.first() else {
            return Ok(Taken::Busy(Holder {
                name: "somebody".to_owned(),
                ..Holder::default()
            }));
        };
        let (name, token, left): (String, i64, i64) = row.read()?;
        Ok(Taken::Busy(Holder {
            name,
            token: Some(token),
            left: Duration::from_millis(u64::try_from(left).unwrap_or(0)),
        }))
    }

    async fn renew(&mut self, terms: &Terms) -> Result<bool, BoxError> {
        let params = params![&*terms.key, &terms.owner, terms.millis()];
        Ok(self.session()?.execute(RENEW, params).await? == 1)
    }

    async fn release(&mut self, terms: &Terms) -> Result<bool, BoxError> {
        let params = params![&*terms.key, &terms.owner];
        match self.session()?.execute(RELEASE, params).await {
            Err(error) if is_no_table(&error) => Ok(false),
            released => Ok(released? == 1),
        }
    }

    async fn close(self) -> Result<(), BoxError> {
        if let Some(session) = self.session {
            self.sessions.detach(session, Cause::PoolClosed).await?;
        }
        Ok(())
    }
}

async fn take(session: &Session, terms: &Terms) -> Result<Option<i64>, Error> {
    let millis = terms.millis();
    let params = params![&*terms.key, &terms.owner, &terms.holder, millis];
    let row = session.query_opt(TAKE, params).await?;
    row.map(|row| row.get(0)).transpose()
}

async fn make_table(session: &Session) -> Result<(), Error> {
    let made = format!("BEGIN; SELECT pg_advisory_xact_lock({MAKE_LOCK}); {TABLE}; COMMIT");
    session.batch(&made).await
}

fn is_no_table(error: &Error) -> bool {
    error.code() == Some("42P01")
}
