//! What a pool has to be able to do for the rows, whoever made it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::stop::Stop;
use crate::{Boxed, Result, ours};

/// Takes 100 from the first account.
pub(crate) const TAKE: &str = "UPDATE accounts SET balance = balance - 100 WHERE id = 1";
/// Gives 100 to the second.
pub(crate) const GIVE: &str = "UPDATE accounts SET balance = balance + 100 WHERE id = 2";
/// Says that a savepoint was kept.
pub(crate) const NESTED: &str = "INSERT INTO probe VALUES ('nested')";
/// Changes six things that the next user of the session must not see.
pub(crate) const STATE: &str = "SET statement_timeout = '7s'; SET search_path = elsewhere; \
    SET app.tenant = '42'; CREATE TEMP TABLE left_over (x int); SELECT pg_advisory_lock(77); \
    LISTEN gossip";
/// Half a million rows.
pub(crate) const MANY: &str =
    "SELECT n, 'row ' || n, repeat('x', 100) FROM generate_series(1, 500000) n";

/// Work with one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Work {
    /// A transfer in a transaction, as the pool's own guard has it.
    Guard,
    /// The same by `with_ref`, where there is that.
    Borrowed,
    /// `BEGIN` and `COMMIT` as SQL.
    Manual,
    /// The second half in a savepoint.
    Savepoint,
    /// A savepoint alone is dropped there; what is around it goes on and commits.
    NestedAlone(Stop),
    /// The body panics, half way.
    Panic,
    /// A statement is refused, half way.
    Refused,
    /// The body gives an error, half way.
    Error,
    /// `BEGIN` as SQL, then an early return.
    ManualError,
    /// With short pauses, for a timeout around it.
    Pauses,
    /// A statement that takes long; in a transaction that holds a lock, or in none.
    Slow { is_in_transaction: bool },
    /// Leaves six kinds of session state behind.
    State,
    /// Reads a few of half a million rows; the other statements of the session go on, or not.
    Abandon { is_exclusive: bool },
    /// The transaction is dropped there in a scope that goes on.
    Twice(Stop),
}

/// A pool.
pub(crate) trait Pool: Send + Sync {
    /// Does some work on a connection of it.
    fn run(&self, work: Work) -> Boxed<'static, Result<()>>;
    /// A connection.
    fn take(&self) -> Boxed<'static, Result<Box<dyn Connection>>>;
    /// What is wrong with what it says of itself, now that nobody uses it.
    fn complaint(&self) -> Option<String> {
        None
    }
    /// Closes it.
    fn close(&self) -> Boxed<'static, Result<()>>;
}

/// A connection that is out of its pool. Dropped, it goes back.
pub(crate) trait Connection: Send {
    fn execute<'a>(&'a mut self, sql: &'a str) -> Boxed<'a, Result<()>>;
    /// The only value of the only row.
    fn text<'a>(&'a mut self, sql: &'a str) -> Boxed<'a, Result<String>>;
    /// Gives it back, in order if the pool knows what that is.
    fn give_back(self: Box<Self>) -> Boxed<'static, ()>;
}

/// Whose pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Ours.
    Withal,
    /// deadpool-postgres, with its default way to recycle.
    #[cfg(feature = "peers")]
    Deadpool,
    /// bb8-postgres.
    #[cfg(feature = "peers")]
    Bb8,
    /// sqlx.
    #[cfg(feature = "peers")]
    Sqlx,
}

impl Who {
    /// Everybody, ourselves first.
    pub const ALL: &[Who] = &[
        Who::Withal,
        #[cfg(feature = "peers")]
        Who::Deadpool,
        #[cfg(feature = "peers")]
        Who::Bb8,
        #[cfg(feature = "peers")]
        Who::Sqlx,
    ];

    pub(crate) async fn pool(self, url: &str, size: usize) -> Result<Arc<dyn Pool>> {
        Ok(match self {
            Who::Withal => Arc::new(ours::Ours::open(url, size).await?),
            #[cfg(feature = "peers")]
            Who::Deadpool => Arc::new(crate::peers::deadpool(url, size)?),
            #[cfg(feature = "peers")]
            Who::Bb8 => Arc::new(crate::peers::bb8(url, size).await?),
            #[cfg(feature = "peers")]
            Who::Sqlx => Arc::new(crate::peers::sqlx(url, size)?),
        })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Who::Withal => "withal",
            #[cfg(feature = "peers")]
            Who::Deadpool => "deadpool-postgres",
            #[cfg(feature = "peers")]
            Who::Bb8 => "bb8-postgres",
            #[cfg(feature = "peers")]
            Who::Sqlx => "sqlx",
        })
    }
}

/// How long a pool may let wait for a connection.
pub(crate) const WAIT: Duration = Duration::from_secs(15);
/// How long the slow statement takes, in seconds.
pub(crate) const SLOW: &str = "SELECT pg_sleep(20)";
