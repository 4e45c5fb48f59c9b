//! The session itself, without pool and scope.
#![allow(
    unused_results,
    clippy::disallowed_methods,
    reason = "tests say what they check in their names"
)]

mod cancelled;
mod config;
mod cursors;
mod opening;
mod reset;
mod statements;
mod transactions;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::task::Poll;

use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::handle::Job;
use super::worker::Worker;
use super::{Config, Sqlite};
use crate::options::TransactionOptions;
use crate::{Error, ErrorKind, Value};

const WRITE: TransactionOptions = TransactionOptions {
    isolation: None,
    read_only: false,
    deferrable: false,
};
const READ: TransactionOptions = TransactionOptions {
    read_only: true,
    ..WRITE
};

/// Counts for longer than any test may take.
const ENDLESS: &str = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n \
     WHERE n < 100000000000) SELECT count(*) FROM n";
/// Writes for longer than any disk can take.
const ENDLESS_INSERT: &str = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n \
     WHERE n < 100000000000) INSERT INTO big SELECT n, zeroblob(2000) FROM n";

/// A database with two accounts of 100 each, and a table to fill.
struct Bank {
    dir: TempDir,
}

impl Bank {
    fn new() -> Bank {
        let dir = tempfile::tempdir().unwrap();
        let bank = Bank { dir };
        let connection = rusqlite::Connection::open(bank.path()).unwrap();
        connection
            .execute_batch(
                "PRAGMA synchronous = OFF; PRAGMA journal_mode = WAL;
                 CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
                 INSERT INTO accounts VALUES (1, 100), (2, 100);
                 CREATE TABLE big (n INTEGER, filling BLOB);",
            )
            .unwrap();
        bank
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("bank.db")
    }

    fn config(&self) -> Config {
        self.config_with("")
    }

    fn config_with(&self, query: &str) -> Config {
        Config::parse(&format!("sqlite:{}{query}", self.path().display())).unwrap()
    }

    async fn open(&self) -> Sqlite {
        Sqlite::open(&self.config()).await.unwrap()
    }

    /// One that does not wait for locks.
    async fn open_impatient(&self) -> Sqlite {
        let config = self.config_with("?busy_timeout=0s");
        Sqlite::open(&config).await.unwrap()
    }

    /// Seen from outside.
    fn balances(&self) -> (i64, i64) {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        let sql = "SELECT min(balance), max(balance) FROM accounts";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        connection.query_one(sql, [], read).unwrap()
    }

    /// Whether nobody has the write lock.
    fn is_free(&self) -> bool {
        let connection = rusqlite::Connection::open(self.path()).unwrap();
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        connection
            .execute_batch("BEGIN IMMEDIATE; ROLLBACK")
            .is_ok()
    }
}

async fn one<T: DeserializeOwned>(session: &Sqlite, sql: &str) -> T {
    one_of(session, sql, &[]).await
}

async fn one_of<T: DeserializeOwned>(session: &Sqlite, sql: &str, params: &[Value<'_>]) -> T {
    let rows = session.query(sql, params).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows[0].read().unwrap()
}

fn refused<T>(result: Result<T, Error>, kind: ErrorKind, says: &str) -> Error {
    let error = result.err().unwrap_or_else(|| panic!("{kind:?}: {says}"));
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(says), "{error}");
    error
}

/// Polls it once, while its thread is held; does `meanwhile`, and drops it.
async fn begin_and_drop<T>(
    session: &Sqlite,
    future: impl Future<Output = T>,
    meanwhile: impl AsyncFnOnce(),
) {
    let mut future = pin!(future);
    begin(session, future.as_mut()).await;
    meanwhile().await;
}

/// Polls it once, while its thread is held.
async fn begin<T>(session: &Sqlite, mut future: Pin<&mut impl Future<Output = T>>) {
    let held = hold(session);
    let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    assert!(polled.is_pending());
    drop(held);
}

/// Has it wait at least once.
async fn waiting<T>(session: &Sqlite, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut held = Some(hold(session));
    poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        held = None;
        polled
    })
    .await
}

/// Keeps the thread from any other job until it is dropped.
fn hold(session: &Sqlite) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel();
    let hold = move |worker: &mut Worker<'_>| {
        held.recv().unwrap_err();
        worker.publish();
    };
    let hold = Job::Run(Box::new(hold));
    session.handle.send(Arc::default(), hold).unwrap();
    release
}

/// Lets others run until it is so.
async fn until(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        tokio::task::yield_now().await;
    }
}

const CHILD: &str = "WITHAL_SQL_TEST_ALONE";

/// Whether this process is for this test alone, as one that counts threads and descriptors needs
/// it. If not, the test has been run in one.
fn alone(name: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("sqlite::tests::{name}"), "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let (stdout, stderr) = (output.stdout, output.stderr);
    let said = String::from_utf8_lossy(&stdout);
    assert!(
        said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&stderr)
    );
    false
}

/// How many connections have a thread in this process.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "withal-sqlite").count()
}
