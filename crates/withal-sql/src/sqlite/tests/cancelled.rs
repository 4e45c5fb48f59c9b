//! Whatever is dropped wherever, nothing is left behind and nobody else is hit.

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use withal_testkit::Cancel;

use super::Config;
use super::{Bank, ENDLESS, Sqlite, WRITE, alone, begin, begin_and_drop, one, waiting};
use crate::Error;

const PAY: &str = "UPDATE accounts SET balance = balance - 40 WHERE id = 1";
const GET: &str = "UPDATE accounts SET balance = balance + 40 WHERE id = 2";

#[tokio::test]
async fn a_statement_that_is_dropped_leaves_the_session_free() {
    let bank = Bank::new();
    let session = bank.open().await;
    for _ in 0..20 {
        begin_and_drop(&session, session.query(ENDLESS, &[]), async || ()).await;
        begin_and_drop(&session, session.execute(ENDLESS, &[]), async || ()).await;
        begin_and_drop(&session, session.batch(ENDLESS), async || ()).await;
        assert_eq!(
            one::<i64>(&session, "SELECT sum(balance) FROM accounts").await,
            200
        );
    }
    begin_and_drop(&session, session.query(ENDLESS, &[]), async || ()).await;
    session.close().await.unwrap();
}

#[tokio::test]
async fn a_statement_that_is_dropped_while_it_runs_is_stopped() {
    let bank = Bank::new();
    let session = bank.open().await;
    // It reads a table that nobody can write then.
    let sql = format!("SELECT (SELECT count(*) FROM accounts) + ({ENDLESS})");
    for _ in 0..5 {
        begin_and_drop(&session, session.query(&sql, &[]), async || {
            super::until(|| !is_log_free(&bank)).await;
        })
        .await;
        super::until(|| is_log_free(&bank)).await;
    }
}

fn is_log_free(bank: &Bank) -> bool {
    let connection = rusqlite::Connection::open(bank.path()).unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    connection
        .execute_batch("INSERT INTO big VALUES (1, NULL)")
        .unwrap();
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    connection
        .query_one(sql, [], |row| row.get::<_, i64>(0))
        .unwrap()
        == 0
}

#[tokio::test]
async fn late_cancellations_hit_nobody() {
    let bank = Bank::new();
    let session = bank.open().await;
    let (sql, params) = ("INSERT INTO big VALUES ($1, NULL)", |n: i64| [n.into()]);
    let mut cursor = session
        .open_cursor("SELECT n FROM big", &[], 1)
        .await
        .unwrap();
    let longer = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
         SELECT count(*) FROM n";
    for n in 0..200 {
        // It is done, and then given up, while the next one is at work.
        let params = params(n);
        begin_and_drop(&session, session.execute(sql, &params), async || {
            session.ping().await.unwrap();
            let mut next = std::pin::pin!(session.query(longer, &[]));
            begin(&session, next.as_mut()).await;
            begin_and_drop(&session, session.ping(), async || ()).await;
            assert_eq!(next.await.unwrap()[0].read::<i64>().unwrap(), 20_000);
        })
        .await;
        assert_eq!(one::<i64>(&session, longer).await, 20_000);
    }
    assert_eq!(one::<i64>(&session, "SELECT count(*) FROM big").await, 200);
    cursor.next_batch().await.unwrap();
}

#[tokio::test]
async fn what_was_given_up_before_it_began_is_never_done() {
    let bank = Bank::new();
    let session = bank.open().await;
    let (open, gate) = mpsc::channel::<()>();
    begin_and_drop(&session, session.with(move |_| gate.recv()), async || {
        begin_and_drop(&session, session.execute(PAY, &[]), async || ()).await;
        begin_and_drop(&session, session.batch(PAY), async || ()).await;
        begin_and_drop(&session, session.begin(&WRITE), async || ()).await;
        begin_and_drop(
            &session,
            session.with(|connection| connection.execute_batch(PAY)),
            async || (),
        )
        .await;
        begin_and_drop(&session, session.open_cursor(PAY, &[], 1), async || ()).await;
        open.send(()).unwrap();
    })
    .await;
    session.reset(false).await.unwrap();
    assert_eq!(bank.balances(), (100, 100));
}

/// Waits, when everything declared after it is dropped, until the threads that were started are
/// gone: no destructor of ours waits for them.
struct Gone {
    known: HashSet<OsString>,
}

impl Gone {
    fn new() -> Gone {
        Gone { known: tasks() }
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        // It may be dropped on a new thread of the test.
        let own = std::fs::read_link("/proc/thread-self").unwrap();
        self.known.extend(own.file_name().map(OsString::from));
        let limit = Instant::now() + Duration::from_secs(60);
        while !tasks().is_subset(&self.known) {
            assert!(Instant::now() < limit, "a thread without end");
            std::thread::yield_now();
        }
    }
}

/// All threads: a new one has no name yet.
fn tasks() -> HashSet<OsString> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| task.unwrap().file_name()).collect()
}

async fn transfer(config: Config) -> Result<(), Error> {
    let _gone = Gone::new();
    let session = &Sqlite::open(&config).await?;
    waiting(session, session.ping()).await?;
    waiting(session, session.begin(&WRITE)).await?;
    waiting(session, session.execute(PAY, &[])).await?;
    waiting(session, session.savepoint("inner")).await?;
    let all = "UPDATE accounts SET balance = 0";
    waiting(session, session.execute(all, &[])).await?;
    waiting(session, session.rollback_to("inner")).await?;
    waiting(session, session.savepoint("inner")).await?;
    waiting(session, session.batch(GET)).await?;
    waiting(session, session.release("inner")).await?;
    let sql = "SELECT balance FROM accounts";
    let mut cursor = waiting(session, session.open_cursor(sql, &[], 1)).await?;
    let mut sum = 0;
    loop {
        let rows = waiting(session, cursor.next_batch()).await?;
        let [row] = &rows[..] else { break };
        sum += row.read::<i64>()?;
    }
    assert_eq!(sum, 200);
    waiting(session, cursor.close()).await?;
    waiting(session, session.commit()).await?;
    let mut cursor = waiting(session, session.open_cursor(sql, &[], 1)).await?;
    waiting(session, cursor.next_batch()).await?;
    drop(cursor);
    waiting(
        session,
        session.with(|connection| connection.is_autocommit()),
    )
    .await?;
    Ok(())
}

async fn and_back(config: Config) -> Result<(), Error> {
    let _gone = Gone::new();
    let session = Sqlite::open(&config).await?;
    let setting = "PRAGMA foreign_keys = OFF";
    waiting(&session, session.execute(setting, &[])).await?;
    waiting(&session, session.reset(true)).await?;
    waiting(&session, session.begin(&WRITE)).await?;
    let all = "UPDATE accounts SET balance = 7";
    waiting(&session, session.execute(all, &[])).await?;
    waiting(&session, session.rollback()).await?;
    waiting(&session, session.begin(&super::READ)).await?;
    waiting(&session, session.query("SELECT * FROM accounts", &[])).await?;
    waiting(&session, session.commit()).await?;
    session.close().await
}

/// Balances are kept, and nobody has the database.
fn check(bank: &Bank) -> Result<(), String> {
    match (bank.balances(), bank.is_free()) {
        ((100, 100) | (60, 140) | (20, 180), true) => Ok(()),
        left => Err(format!("{left:?} is left")),
    }
}

#[test]
fn nothing_is_left_wherever_it_is_cancelled_in_any_way() {
    if !alone("cancelled::nothing_is_left_wherever_it_is_cancelled_in_any_way") {
        return;
    }
    let cancel = Cancel::every_way().real_time();
    let runs = Arc::new(AtomicUsize::new(0));
    for (is_there_and_back, least) in [(false, 18), (true, 8)] {
        let bank = std::cell::RefCell::new(Bank::new());
        let scenario = || {
            let (config, runs) = (bank.borrow().config(), Arc::clone(&runs));
            async move {
                let ended = match is_there_and_back {
                    false => transfer(config).await,
                    true => and_back(config).await,
                };
                ended.unwrap();
                runs.fetch_add(1, Ordering::Relaxed);
            }
        };
        let report = cancel.everywhere(scenario, || {
            let checked = check(&bank.borrow());
            *bank.borrow_mut() = Bank::new();
            checked
        });
        println!("{} await points, {} runs", report.points(), report.runs());
        report.assert_clean();
        assert!(report.points() >= least, "{}", report.points());
    }
    assert!(runs.load(Ordering::Relaxed) >= 2);
}
