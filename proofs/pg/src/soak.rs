//! Tasks that are cancelled at random, thousands of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;
use withal_core::{AsyncContextManager as _, BoxError, ExitCase};
use withal_scope::{scope, with_ref};
use withal_sql::{Database, OpenDatabase, Session, params};

use crate::stop::{Stop, stop};
use crate::{Lab, Result, ours};

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// So many tasks.
    Tasks(u64),
    /// As many as there are in that time.
    For(Duration),
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Soaked {
    /// How many tasks there were.
    pub tasks: u64,
    /// How many of them were dropped before their end.
    pub cancelled: u64,
    /// How many came to their end, well or badly.
    pub ended: u64,
    /// What was wrong afterwards.
    pub bad: Vec<String>,
}

const POOL: usize = 8;
const AT_ONCE: usize = 64;
const ACCOUNTS: i64 = 100;
const EACH: i64 = 1000;

/// Runs tasks against a pool of eight, 64 at a time, cancels nine in ten of them anywhere, and
/// looks at what is left.
///
/// # Errors
///
/// The server is not there.
pub async fn soak(lab: &Lab, amount: Amount) -> Result<Soaked> {
    lab.admin.clear().await?;
    let schema = format!(
        "DROP TABLE IF EXISTS vault; CREATE TABLE vault (id bigint PRIMARY KEY, balance bigint); \
         INSERT INTO vault SELECT n, {EACH} FROM generate_series(1, {ACCOUNTS}) n"
    );
    lab.admin.batch(&schema).await?;
    let database = Database::open(lab.url())
        .max_connections(POOL)
        .enter()
        .await?;
    let counts = Arc::<Counts>::default();
    let begun = Instant::now();
    let mut workers = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (database, counts) = (database.clone(), Arc::clone(&counts));
        let _ = workers.spawn(async move {
            loop {
                let number = counts.begun.fetch_add(1, Ordering::Relaxed);
                let is_over = match amount {
                    Amount::Tasks(tasks) => number >= tasks,
                    Amount::For(time) => begun.elapsed() >= time,
                };
                if is_over {
                    return;
                }
                let mut task = JoinSet::new();
                let _ = task.spawn(one(database.clone()));
                let counter = match task.join_next().await {
                    Some(Ok(false)) => &counts.cancelled,
                    // A panic is one of its ends.
                    _ => &counts.ended,
                };
                let _ = counter.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let _ = workers.join_all().await;
    let cancelled = counts.cancelled.load(Ordering::Relaxed);
    let ended = counts.ended.load(Ordering::Relaxed);
    let bad = left(lab, &database).await?;
    OpenDatabase::exit(database, ExitCase::Succeeded).await?;
    Ok(Soaked {
        tasks: cancelled + ended,
        cancelled,
        ended,
        bad,
    })
}

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    cancelled: AtomicU64,
    ended: AtomicU64,
}

/// Whether it came to its end.
async fn one(database: Database) -> bool {
    let work = work(database);
    match fastrand::u8(0..10) {
        0 => drop(work.await),
        1..5 => {
            let limit = Duration::from_micros(fastrand::u64(0..20_000));
            return timeout(limit, work).await.is_ok();
        }
        _ => {
            let at = fastrand::usize(0..14);
            let after = Duration::from_micros(fastrand::u64(0..2_000) * fastrand::u64(0..2));
            return stop(Stop { at, after }, work).await.is_some();
        }
    }
    true
}

async fn work(database: Database) -> Result<()> {
    let done = scope(async move |s| {
        let conn = s.enter(database.acquire()).await?;
        match fastrand::u8(0..20) {
            0..7 => {
                s.with(conn.begin(), async |_, tx| transfer(tx).await)
                    .await?
            }
            7..10 => with_ref(conn.begin(), async |tx| transfer(tx).await).await?,
            10..13 => {
                s.with(conn.begin(), async |_, tx| {
                    let at = fastrand::usize(0..6);
                    let after = Duration::ZERO;
                    let inner = with_ref(tx.begin(), async |inner| transfer(inner).await);
                    let _ = stop(Stop { at, after }, inner).await.transpose()?;
                    transfer(tx).await
                })
                .await?;
            }
            13..15 => {
                let _ = conn.execute("BEGIN", &[]).await?;
                transfer(conn).await?;
                let _ = conn.execute("COMMIT", &[]).await?;
            }
            15 => {
                let cursor = conn.cursor("SELECT generate_series(1, 20000)", &[]);
                let _ = s
                    .with(cursor, async |_, rows| Ok(rows.next().await?.is_some()))
                    .await?;
            }
            16 => {
                let cursor = conn.exclusive_cursor("SELECT generate_series(1, 20000)", &[]);
                let _ = s
                    .with(cursor, async |_, rows| Ok(rows.next().await?.is_some()))
                    .await?;
            }
            17 => {
                let state = "SET search_path = nowhere; SELECT pg_advisory_lock_shared(5); \
                    CREATE TEMP TABLE IF NOT EXISTS left_over (x int)";
                conn.batch(state).await?;
            }
            18 => drop(conn.execute("SELECT pg_sleep(0.02)", &[]).await?),
            _ => {
                s.with(conn.begin(), async |_, tx| {
                    transfer(tx).await?;
                    if fastrand::bool() {
                        panic!("the body panics");
                    }
                    Err::<(), BoxError>("no".into())
                })
                .await?;
            }
        }
        Ok(())
    });
    Ok(done.await?)
}

/// The first account is the lower one, so that nobody waits for each other.
async fn transfer(session: &Session) -> Result<()> {
    const ADD: &str = "UPDATE vault SET balance = balance + $1 WHERE id = $2";
    let first = fastrand::i64(1..ACCOUNTS);
    let second = fastrand::i64(first + 1..=ACCOUNTS);
    let _ = session.execute(ADD, params![-1, first]).await?;
    let _ = session.execute(ADD, params![1, second]).await?;
    Ok(())
}

/// What is wrong once all have ended.
async fn left(lab: &Lab, database: &Database) -> Result<Vec<String>> {
    let mut bad = Vec::new();
    let begun = Instant::now();
    let is_idle = || {
        let (status, counters) = (database.status(), database.pool().counters());
        status.idle == status.size
            && status.waiting == 0
            && counters.created == counters.discarded() + status.size as u64
            && counters.acquired == counters.returned
    };
    while !is_idle() && begun.elapsed() < ours::TEARDOWN {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if !is_idle() {
        let counters = database.pool().counters();
        bad.push(format!(
            "the pool says {}",
            ours::complain(database, &counters)
        ));
    }
    bad.extend(lab.check_server().await?);
    let seen = lab.admin.look().await?;
    if seen.sessions > POOL as i64 {
        bad.push(format!("there are {} sessions", seen.sessions));
    }
    let sum = lab
        .admin
        .number("SELECT sum(balance)::bigint FROM vault")
        .await?;
    if sum != ACCOUNTS * EACH {
        bad.push(format!("{} came or went", sum - ACCOUNTS * EACH));
    }
    let mut held = Vec::new();
    for _ in 0..POOL {
        match timeout(ours::TEARDOWN, database.lease()).await {
            Ok(Ok(lease)) => held.push(lease),
            Ok(Err(error)) => bad.push(format!("no connection: {error}")),
            Err(_) => bad.push("a slot is lost".to_owned()),
        }
    }
    for lease in &held {
        let clean: bool = lease
            .query_one_as(
                "SELECT current_setting('search_path') <> 'nowhere' AND NOT EXISTS \
                 (SELECT 1 FROM pg_locks WHERE locktype = 'advisory')",
                &[],
            )
            .await?;
        if !clean {
            bad.push("a connection has the state of another".to_owned());
        }
    }
    for lease in held {
        lease.release().await;
    }
    Ok(bad)
}
