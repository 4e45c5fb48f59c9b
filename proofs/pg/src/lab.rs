//! Where rows are tried: a database, and what is looked at after each run.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;
use withal_testkit::servers::PostgresServer;

use crate::admin::{Admin, NAME, Seen};
use crate::pool::{Connection, Pool, WAIT, Who, Work};
use crate::stop::{Stop, stop};
use crate::{Result, Tried};

/// How much is tried, and how long things may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How often each case is tried.
    pub repeats: u64,
    /// How long after the last poll a future is dropped.
    pub delays: Vec<Duration>,
    /// After how long what is still on the server is a leak.
    pub settle: Duration,
    /// After how long a slow statement that was dropped has to be gone.
    pub slow: Duration,
    /// After how long a pool whose lines have all fallen silent has to work again.
    pub silent: Duration,
}

impl Limits {
    /// Each case once, and all the time in the world: for tests on machines that are busy.
    #[must_use]
    pub fn patient() -> Limits {
        Limits {
            repeats: 1,
            delays: vec![Duration::ZERO, Duration::from_millis(5)],
            settle: Duration::from_secs(10),
            slow: Duration::from_secs(10),
            silent: Duration::from_secs(30),
        }
    }

    /// Each case three times, within the limits that are promised.
    #[must_use]
    pub fn strict() -> Limits {
        Limits {
            repeats: 3,
            delays: vec![Duration::ZERO, Duration::from_millis(20)],
            settle: Duration::from_millis(300),
            slow: Duration::from_millis(250),
            silent: Duration::from_secs(5),
        }
    }
}

/// A database on a server, and somebody's pool to try.
pub struct Lab {
    pub(crate) who: Who,
    pub(crate) limits: Limits,
    pub(crate) admin: Admin,
    pub(crate) addr: SocketAddr,
    server_url: String,
    database: String,
}

/// How many connections a pool has.
pub(crate) const SIZE: usize = 2;

/// How long a single step may take before it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

const SCHEMA: &str = "CREATE TABLE accounts (id bigint PRIMARY KEY, balance bigint NOT NULL); \
    INSERT INTO accounts VALUES (1, 100000), (2, 100000); \
    CREATE TABLE probe (tag text NOT NULL)";

impl Lab {
    /// A new database on this server.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub async fn new(server: &PostgresServer, who: Who, limits: Limits) -> Result<Lab> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only for names that differ.
        let database = format!("proof_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let first = Admin::connect(&server.url()).await?;
        first.batch(&format!("CREATE DATABASE {database}")).await?;
        let url = in_database(&server.url(), &database, "admin");
        let admin = Admin::connect(&url).await?;
        admin.batch(SCHEMA).await?;
        Ok(Lab {
            who,
            limits,
            admin,
            addr: server.addr(),
            server_url: server.url(),
            database,
        })
    }

    /// The URL of the database, for the pool.
    #[must_use]
    pub fn url(&self) -> String {
        in_database(&self.server_url, &self.database, NAME)
    }

    /// The same by way of another address.
    pub(crate) fn url_at(&self, addr: SocketAddr) -> String {
        let (here, there) = (self.addr.to_string(), addr.to_string());
        self.url().replace(&here, &there)
    }

    /// A pool that is new, on accounts that are right.
    pub(crate) async fn pool(&self, url: &str) -> Result<Arc<dyn Pool>> {
        self.admin.clear().await?;
        self.who.pool(url, SIZE).await
    }

    /// The same, if its connections were used already.
    pub(crate) async fn warm_pool(&self, url: &str) -> Result<Arc<dyn Pool>> {
        let pool = self.pool(url).await?;
        let mut held = take_all(&pool, WAIT).await?;
        for connection in &mut held {
            let _ = connection.text("SELECT 'warm'").await?;
        }
        for connection in held {
            connection.give_back().await;
        }
        Ok(pool)
    }

    /// Does some work on a new pool for each of its await points, and drops it there.
    pub(crate) async fn cancel_everywhere(
        &self,
        url: &str,
        work: Work,
        is_warm: bool,
    ) -> Result<Tried> {
        let mut tried = Tried::default();
        for after in self.limits.delays.iter().copied() {
            for at in 0.. {
                let mut has_stopped = false;
                for _ in 0..self.limits.repeats {
                    let pool = match is_warm {
                        true => self.warm_pool(url).await?,
                        false => self.pool(url).await?,
                    };
                    let is_stopped = dropped_at(&pool, Stop { at, after }, work).await;
                    has_stopped |= is_stopped;
                    let wrong = self.check(&pool).await?;
                    tried.count(format_args!("at {at}, {after:?} late"), wrong);
                }
                if !has_stopped {
                    break;
                }
            }
        }
        Ok(tried)
    }

    /// What is wrong after a run. Closes the pool.
    pub(crate) async fn check(&self, pool: &Arc<dyn Pool>) -> Result<Vec<String>> {
        let mut wrong = self.check_server().await?;
        wrong.extend(self.check_slots(pool).await?);
        wrong.extend(self.check_money().await?);
        wrong.extend(self.check_numbers(pool).await);
        if let Err(error) = timeout(PATIENCE, pool.close()).await? {
            wrong.push(format!("the pool did not close: {error}"));
        }
        Ok(wrong)
    }

    /// Ends what is left of the last run.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub async fn put_right(&self) -> Result<()> {
        self.admin.clear().await
    }

    /// What is left on the server of a run.
    ///
    /// # Errors
    ///
    /// The server is not there.
    pub async fn check_server(&self) -> Result<Vec<String>> {
        let is_right = |seen: &Seen| {
            let Seen {
                idle_in_transaction,
                active,
                is_locked,
                temporary,
                advisory,
                ..
            } = *seen;
            idle_in_transaction + active + temporary + advisory == 0 && !is_locked
        };
        let seen = self.admin.look_until(self.limits.settle, is_right).await?;
        Ok(match is_right(&seen) {
            true => Vec::new(),
            false => vec![format!("left on the server: {seen:?}")],
        })
    }

    /// The URL of the database, to look with.
    pub(crate) fn admin_url(&self) -> String {
        in_database(&self.server_url, &self.database, "admin")
    }

    /// All connections can be had at once, and what is done on each lasts.
    pub(crate) async fn check_slots(&self, pool: &Arc<dyn Pool>) -> Result<Vec<String>> {
        self.check_slots_seen_by(&self.admin, pool).await
    }

    /// The same, as seen by a connection that is not older than the server.
    pub(crate) async fn check_slots_seen_by(
        &self,
        admin: &Admin,
        pool: &Arc<dyn Pool>,
    ) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        let held = match take_all(pool, PATIENCE).await {
            Ok(held) => held,
            Err(error) => return Ok(vec![format!("a slot is lost: {error}")]),
        };
        let mut tags = Vec::new();
        for (number, mut connection) in held.into_iter().enumerate() {
            let tag = format!("tag {number}");
            let insert = format!("INSERT INTO probe VALUES ('{tag}')");
            match timeout(PATIENCE, connection.execute(&insert)).await {
                Ok(Ok(())) => tags.push(tag),
                Ok(Err(error)) => wrong.push(format!("a slot does not work: {error}")),
                Err(_) => wrong.push("a slot hangs".to_owned()),
            }
            match number % 2 {
                0 => connection.give_back().await,
                _ => drop(connection),
            }
        }
        let seen = |seen: &Seen| seen.idle_in_transaction + seen.active == 0;
        let _ = admin.look_until(self.limits.settle, seen).await?;
        for tag in tags {
            if !admin.has_probe(&tag).await? {
                wrong.push("an insert on a fresh checkout was lost".to_owned());
            }
        }
        Ok(wrong)
    }

    /// What is wrong with the balances, if neither all of a transfer was done nor nothing.
    ///
    /// # Errors
    ///
    /// The server is not there.
    pub async fn check_money(&self) -> Result<Vec<String>> {
        Ok(match self.admin.balances().await? {
            (100_000, 100_000) | (99_900, 100_100) => Vec::new(),
            other => vec![format!("the balances are {other:?}")],
        })
    }

    /// The pool says itself that everything is back.
    pub(crate) async fn check_numbers(&self, pool: &Arc<dyn Pool>) -> Vec<String> {
        let begun = Instant::now();
        while let Some(complaint) = pool.complaint() {
            if begun.elapsed() > self.limits.settle {
                return vec![format!("the pool says {complaint}")];
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Vec::new()
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab")
            .field("who", &self.who)
            .field("database", &self.database)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

fn in_database(url: &str, database: &str, name: &str) -> String {
    let server = url.rsplit_once('/').map_or(url, |(server, _)| server);
    format!("{server}/{database}?application_name={name}")
}

/// Every connection of the pool, at once.
pub(crate) async fn take_all(
    pool: &Arc<dyn Pool>,
    limit: Duration,
) -> Result<Vec<Box<dyn Connection>>> {
    let mut takes = JoinSet::new();
    for _ in 0..SIZE {
        let _ = takes.spawn(timeout(limit, pool.take()));
    }
    let mut held = Vec::new();
    for taken in takes.join_all().await {
        held.push(taken.map_err(|_| "not within the limit")??);
    }
    Ok(held)
}

/// Does the work, and drops it there; whether it came that far. What it gives or panics with is as
/// may be.
pub(crate) async fn dropped_at(pool: &Arc<dyn Pool>, at: Stop, work: Work) -> bool {
    let mut task = JoinSet::new();
    let _ = task.spawn(stop(at, pool.run(work)));
    matches!(task.join_next().await, Some(Ok(None)))
}

/// Does the work to its end, and gives what came of it; `None` if it panicked.
pub(crate) async fn to_its_end(pool: &Arc<dyn Pool>, work: Work) -> Option<Result<()>> {
    let mut task = JoinSet::new();
    let _ = task.spawn(pool.run(work));
    task.join_next().await?.ok()
}
