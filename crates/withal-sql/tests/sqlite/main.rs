//! What must not leak, on SQLite: cancelled at every await point, in every way, and at random.
//!
//! A program of its own, one test at a time: the kit counts the descriptors of the process.
#![cfg(feature = "sqlite")]
#![allow(missing_docs, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::mem::ManuallyDrop;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::timeout;
use withal_core::unwind::catch;
use withal_core::{AsyncContextManager as _, BoxError, Error, ExitCase, Panicked};
use withal_scope::{scope, with_ref};
use withal_sql::{Database, OpenDatabase, Session, params};
use withal_testkit::{Cancel, Way};

const ACCOUNTS: i64 = 100;
const EACH: i64 = 1000;

/// A database with accounts.
struct Bank {
    folder: TempDir,
}

impl Bank {
    fn new() -> Bank {
        let bank = Bank {
            folder: tempfile::tempdir().unwrap(),
        };
        let schema = format!(
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
             WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < {ACCOUNTS})
             INSERT INTO accounts SELECT id, {EACH} FROM n;"
        );
        Connection::open(bank.path())
            .unwrap()
            .execute_batch(&schema)
            .unwrap();
        bank
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("bank.db")
    }

    fn url(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    fn open(&self, connections: usize) -> OpenDatabase {
        Database::open(self.url()).max_connections(connections)
    }

    /// What an outsider sees: no lock, no money made or lost.
    fn check(&self) -> Result<(), String> {
        let outsider = Connection::open(self.path()).unwrap();
        outsider.busy_timeout(Duration::ZERO).unwrap();
        let free = outsider.execute_batch("BEGIN EXCLUSIVE; ROLLBACK");
        free.map_err(|error| format!("somebody still has a lock: {error}"))?;
        let sum = "SELECT sum(balance) FROM accounts";
        let sum: i64 = outsider.query_row(sum, [], |row| row.get(0)).unwrap();
        match sum == ACCOUNTS * EACH {
            true => Ok(()),
            false => Err(format!("the sum of the balances is {sum}")),
        }
    }
}

async fn change(session: &Session, id: i64, amount: i64) -> Result<(), BoxError> {
    const ADD: &str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
    let changed = session.execute(ADD, params![amount, id]).await?;
    assert_eq!(changed, 1);
    Ok(())
}

async fn transfer(session: &Session) -> Result<(), BoxError> {
    let (from, to) = (fastrand::i64(1..=ACCOUNTS), fastrand::i64(1..=ACCOUNTS));
    change(session, from, -5).await?;
    change(session, to, 5).await
}

/// Cancels it everywhere, in every way; each time the database is as it should be, and nothing of
/// ours is open.
fn everywhere<F>(work: impl Fn(OpenDatabase) -> F)
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bank = Bank::new();
    let scenario = || {
        let work = work(bank.open(2));
        async { drop(work.await) }
    };
    // A runtime that is shut down waits for nothing, and not for the threads of SQLite either.
    let ways = Way::ALL.into_iter().filter(|way| *way != Way::Shutdown);
    let report = Cancel::by(ways)
        .real_time()
        .everywhere(scenario, || bank.check());
    report.assert_clean();
    assert!(report.points() > 3, "{report:?}");
}

static TURN: Mutex<()> = Mutex::new(());

#[test]
fn a_transaction_with_a_savepoint_cancelled_anywhere_leaves_nothing() {
    everywhere(move |open| async move {
        scope(async move |s| {
            let db = s.enter(open).await?;
            let conn = s.enter(db.acquire()).await?;
            s.with(conn.begin(), async |s, tx| {
                change(tx, 1, -100).await?;
                s.with(tx.begin(), async |_, inner| change(inner, 2, 100).await)
                    .await?;
                Ok(())
            })
            .await?;
            Ok(())
        })
        .await
    });
}

#[test]
fn a_savepoint_that_is_dropped_alone_neither_loses_nor_makes_money() {
    everywhere(move |open| async move {
        scope(async move |s| {
            let db = s.enter(open).await?;
            let conn = s.enter(db.acquire()).await?;
            s.with(conn.begin(), async |_, tx| {
                transfer(tx).await?;
                let inner = with_ref(tx.begin(), async |inner| {
                    change(inner, 1, -100).await?;
                    tokio::task::yield_now().await;
                    change(inner, 2, 100).await
                });
                // Which of them is first differs from run to run.
                let _late = timeout(Duration::from_micros(fastrand::u64(0..300)), inner).await;
                transfer(tx).await
            })
            .await?;
            Ok(())
        })
        .await
    });
}

#[test]
fn a_transaction_begun_by_hand_and_cancelled_anywhere_leaves_nothing() {
    everywhere(move |open| async move {
        scope(async move |s| {
            let db = s.enter(open).await?;
            let conn = s.enter(db.acquire()).await?;
            let _ = conn.execute("BEGIN IMMEDIATE", &[]).await?;
            transfer(conn).await?;
            let _ = conn.execute("COMMIT", &[]).await?;
            Ok(())
        })
        .await
    });
}

#[test]
fn cursors_cancelled_anywhere_leave_nothing() {
    const ALL: &str = "SELECT a.id FROM accounts a, accounts b";
    for is_exclusive in [false, true] {
        everywhere(move |open| async move {
            scope(async move |s| {
                let db = s.enter(open).await?;
                let conn = s.enter(db.acquire()).await?;
                let cursor = match is_exclusive {
                    true => conn.exclusive_cursor(ALL, &[]),
                    false => conn.cursor(ALL, &[]),
                };
                with_ref(cursor.batch(10), async |rows| {
                    for _ in 0..25 {
                        assert!(rows.next().await?.is_some());
                    }
                    Ok(())
                })
                .await?;
                change(conn, 1, 0).await?;
                Ok(())
            })
            .await
        });
    }
}

#[test]
fn a_panic_in_a_transaction_or_in_a_savepoint_leaves_nothing() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bank = Bank::new();
    run(async {
        let db = bank.open(1).enter().await.unwrap();
        for is_inner in [false, true] {
            let panicking = scope({
                let db = db.clone();
                async move |s| {
                    let conn = s.enter(db.acquire()).await?;
                    s.with(conn.begin(), async |s, tx| {
                        change(tx, 1, -100).await?;
                        if !is_inner {
                            panic!("in the body");
                        }
                        s.with(tx.begin(), async |_, inner| {
                            change(inner, 2, 50).await?;
                            panic!("in the body")
                        })
                        .await?;
                        Ok(())
                    })
                    .await?;
                    Ok(())
                }
            });
            let panicked = Panicked::new(&*catch(panicking).await.unwrap_err());
            assert_eq!(panicked.message(), "in the body");
            // Nobody has a lock, before anybody else has the connection.
            bank.check().unwrap();
            let conn = db.lease().await.unwrap();
            let balance: i64 = conn
                .query_one_as("SELECT balance FROM accounts WHERE id = 1", &[])
                .await
                .unwrap();
            assert_eq!(balance, EACH);
            conn.release().await;
        }
        assert_eq!(db.pool().counters().created, 1);
        OpenDatabase::exit(db, ExitCase::Succeeded).await.unwrap();
    });
}

#[test]
fn a_connection_that_is_forgotten_is_reported() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bank = Bank::new();
    run(async {
        let report = Duration::from_millis(10);
        let open = bank.open(2).pool(move |pool| pool.report_after(report));
        let db = open.enter().await.unwrap();
        let forgotten = ManuallyDrop::new(db.lease().await.unwrap());
        let told = async {
            while db.pool().counters().held_long == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(10), told).await.unwrap();
        let holders = db.pool().holders();
        let place = holders.first().and_then(|holder| holder.location());
        assert_eq!(place.map(|place| place.file()), Some(file!()));
        // The other slot is as good as ever.
        let other = db.lease().await.unwrap();
        transfer(&other).await.unwrap();
        other.release().await;
        let closed = db.close(Duration::from_millis(50)).await;
        let text = closed.unwrap_err().to_string();
        assert!(text.contains(file!()), "{text}");
        // Remembered after all, so that nothing is open in this process.
        drop(ManuallyDrop::into_inner(forgotten));
        db.close(Duration::from_secs(10)).await.unwrap();
        let counters = db.pool().counters();
        assert_eq!(counters.came_back, counters.held_long);
    });
    bank.check().unwrap();
}

#[test]
fn a_pool_closed_with_work_out_says_so_and_ends_it_when_it_is_back() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bank = Bank::new();
    run(async {
        let db = bank.open(2).enter().await.unwrap();
        let out = db.lease().await.unwrap();
        let _ = out.execute("BEGIN IMMEDIATE", &[]).await.unwrap();
        change(&out, 1, -100).await.unwrap();
        let closed = db.close(Duration::from_millis(50)).await;
        let text = closed.unwrap_err().to_string();
        assert!(text.contains(file!()), "{text}");
        assert!(db.lease().await.is_err());
        // It goes on until it is given back.
        change(&out, 2, 100).await.unwrap();
        drop(out);
        db.close(Duration::from_secs(10)).await.unwrap();
        assert_eq!(db.status().size, 0);
    });
    bank.check().unwrap();
    let balance = "SELECT balance FROM accounts WHERE id = 1";
    let outsider = Connection::open(bank.path()).unwrap();
    let balance: i64 = outsider.query_row(balance, [], |row| row.get(0)).unwrap();
    assert_eq!(balance, EACH);
}

#[test]
fn a_connection_dropped_without_a_runtime_comes_back() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bank = Bank::new();
    run(async {
        let db = bank.open(1).enter().await.unwrap();
        let lease = db.lease().await.unwrap();
        let _ = lease.execute("BEGIN IMMEDIATE", &[]).await.unwrap();
        change(&lease, 1, -100).await.unwrap();
        std::thread::spawn(move || drop(lease)).join().unwrap();
        let lease = db.lease().await.unwrap();
        bank.check().unwrap();
        lease.release().await;
        assert_eq!(db.pool().counters().created, 1);
        OpenDatabase::exit(db, ExitCase::Succeeded).await.unwrap();
    });
}

#[test]
fn what_a_user_changed_in_its_session_is_not_seen_by_the_next_one() {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bank = Bank::new();
    let seen = run(async {
        scope(async |s| {
            let db = s.enter(bank.open(1)).await?;
            let db = db.clone();
            let first = db.lease().await?;
            first
                .batch(
                    "CREATE TEMP TABLE mine (x);
                     CREATE TEMP VIEW theirs AS SELECT 1;
                     ATTACH ':memory:' AS other;
                     PRAGMA foreign_keys = OFF;
                     PRAGMA busy_timeout = 12345;
                     PRAGMA case_sensitive_like = ON;",
                )
                .await?;
            first.release().await;
            let second = db.lease().await?;
            let count = async |sql: &str| second.query_one_as::<i64>(sql, &[]).await;
            let seen = [
                count("SELECT count(*) FROM temp.sqlite_schema").await?,
                count("SELECT count(*) FROM pragma_database_list WHERE name = 'other'").await?,
                count("SELECT 1 - foreign_keys FROM pragma_foreign_keys").await?,
                count("SELECT timeout = 12345 FROM pragma_busy_timeout").await?,
                count("SELECT 'a' NOT LIKE 'A'").await?,
            ];
            second.release().await;
            Ok(seen)
        })
        .await
    });
    assert_eq!(seen.unwrap(), [0; 5]);
}

#[test]
fn ten_thousand_tasks_cancelled_at_random_leave_nothing() {
    const TASKS: u64 = 10_000;
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let bank = Bank::new();
    let cancelled = run(async {
        let db = bank.open(8).enter().await.unwrap();
        let (begun, cancelled) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let mut workers = JoinSet::new();
        for _ in 0..64 {
            let (db, begun, cancelled) = (db.clone(), Arc::clone(&begun), Arc::clone(&cancelled));
            let _ = workers.spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < TASKS {
                    let limit = Duration::from_micros(fastrand::u64(0..10_000));
                    if timeout(limit, anything(db.clone())).await.is_err() {
                        let _ = cancelled.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let _ = workers.join_all().await;
        // Every slot can be had at once.
        let mut leases = Vec::new();
        for _ in 0..8 {
            leases.push(db.lease().await.unwrap());
        }
        for lease in leases {
            lease.release().await;
        }
        let status = db.status();
        assert_eq!((status.in_use, status.waiting), (0, 0), "{status:?}");
        OpenDatabase::exit(db, ExitCase::Succeeded).await.unwrap();
        cancelled.load(Ordering::Relaxed)
    });
    assert!(cancelled > TASKS / 20, "{cancelled}");
    bank.check().unwrap();
}

async fn anything(db: Database) -> Result<(), Error> {
    scope(async move |s| {
        let conn = s.enter(db.acquire()).await?;
        match fastrand::u8(0..10) {
            0..4 => {
                s.with(conn.begin(), async |_, tx| transfer(tx).await)
                    .await?
            }
            4..6 => {
                let _ = conn.execute("BEGIN IMMEDIATE", &[]).await?;
                transfer(conn).await?;
                let _ = conn.execute("COMMIT", &[]).await?;
            }
            6..8 => {
                let cursor = conn.cursor("SELECT id FROM accounts", &[]).batch(7);
                s.with(cursor, async |_, rows| {
                    while rows.next().await?.is_some_and(|_| fastrand::u8(..) > 10) {}
                    Ok(())
                })
                .await?;
            }
            _ => {
                const LONG: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)
                     SELECT count(*) FROM (SELECT x FROM n LIMIT 100000)";
                let _count: i64 = conn.query_one_as(LONG, &[]).await?;
            }
        }
        Ok(())
    })
    .await
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work)
}
