//! The next user sees no trace of the last.

use std::panic::AssertUnwindSafe;

use super::{Bank, ENDLESS, ErrorKind, READ, WRITE, begin_and_drop, one, refused};

#[tokio::test]
async fn no_trace_is_left() {
    let bank = Bank::new();
    let session = bank.open().await;
    let other = bank.dir.path().join("other.db");
    let attach = format!("ATTACH '{}' AS other", other.display());
    let settings = [
        "foreign_keys",
        "query_only",
        "synchronous",
        "temp_store",
        "busy_timeout",
        "cache_size",
        "recursive_triggers",
        "defer_foreign_keys",
        "locking_mode",
    ];
    let before: Vec<String> = read_all(&session, &settings).await;
    for trace in [
        "PRAGMA foreign_keys = OFF",
        "pragma FOREIGN_KEYS(off)",
        "PRAGMA query_only = ON",
        "PRAGMA synchronous = OFF",
        "PRAGMA temp_store = MEMORY",
        "PRAGMA busy_timeout = 1",
        "PRAGMA cache_size = 17",
        "PRAGMA recursive_triggers = ON",
        "PRAGMA main.locking_mode = EXCLUSIVE",
        "CREATE TEMP TABLE accounts (n)",
        "CREATE TABLE temp.accounts AS SELECT 1",
        "CREATE TEMP VIEW accounts AS SELECT 1",
        "CREATE TEMP TRIGGER t AFTER INSERT ON big BEGIN DELETE FROM accounts; END",
        "CREATE VIRTUAL TABLE temp.accounts USING fts5(a)",
        &attach,
        "BEGIN",
        "BEGIN IMMEDIATE",
        "SAVEPOINT s",
        "BEGIN; UPDATE accounts SET balance = 0; PRAGMA foreign_keys = OFF",
        "BEGIN; CREATE TEMP TABLE accounts (n); CREATE TEMP TABLE other (n)",
    ] {
        // Twice, so that the second comes from the cache if there is one.
        for _ in 0..2 {
            match trace.contains(';') && !trace.contains("TRIGGER") {
                true => session.batch(trace).await.unwrap(),
                false => drop(session.execute(trace, &[]).await.unwrap()),
            }
            session.reset(true).await.unwrap();
            assert_eq!(read_all(&session, &settings).await, before, "{trace}");
            let left = "SELECT count(*) FROM sqlite_temp_schema";
            assert_eq!(one::<i64>(&session, left).await, 0, "{trace}");
            let databases = "SELECT count(*) FROM pragma_database_list WHERE name = 'other'";
            assert_eq!(one::<i64>(&session, databases).await, 0, "{trace}");
            assert_eq!(
                one::<i64>(&session, "SELECT sum(balance) FROM accounts").await,
                200
            );
            assert!(bank.is_free(), "{trace}");
        }
    }
}

async fn read_all(session: &super::Sqlite, settings: &[&str]) -> Vec<String> {
    let mut values = Vec::new();
    for setting in settings {
        let rows = session
            .query(&format!("PRAGMA {setting}"), &[])
            .await
            .unwrap();
        values.push(format!(
            "{:?}",
            rows[0].read::<serde_json::Value>().unwrap()
        ));
    }
    values
}

#[tokio::test]
async fn a_session_that_left_nothing_is_reset_for_nothing() {
    let bank = Bank::new();
    let session = bank.open().await;
    session.begin(&WRITE).await.unwrap();
    session
        .execute("INSERT INTO big VALUES (1, NULL)", &[])
        .await
        .unwrap();
    session.savepoint("s").await.unwrap();
    session.release("s").await.unwrap();
    session.commit().await.unwrap();
    session.begin(&READ).await.unwrap();
    session.rollback().await.unwrap();
    session
        .query("PRAGMA table_info(accounts)", &[])
        .await
        .unwrap();
    session.query("PRAGMA foreign_keys", &[]).await.unwrap();
    session.query("PRAGMA integrity_check", &[]).await.unwrap();
    session
        .batch("CREATE TABLE t (n); DROP TABLE t; ANALYZE")
        .await
        .unwrap();
    session.execute("SELEC", &[]).await.unwrap_err();
    let mut cursor = session
        .open_cursor("SELECT * FROM big", &[], 9)
        .await
        .unwrap();
    assert!(!session.handle.shared.is_clean());
    cursor.next_batch().await.unwrap();
    cursor.close().await.unwrap();
    assert!(session.handle.shared.is_clean());
    session.reset(true).await.unwrap();
}

#[tokio::test]
async fn what_is_half_done_is_ended() {
    let bank = Bank::new();
    let (session, other) = (bank.open().await, bank.open_impatient().await);
    session.begin(&READ).await.unwrap();
    let sql = "SELECT * FROM accounts";
    let _half_read = session.open_cursor(sql, &[], 1).await.unwrap();
    begin_and_drop(&session, session.query(ENDLESS, &[]), async || ()).await;
    session.reset(false).await.unwrap();
    assert!(session.handle.shared.is_clean());
    other
        .execute("INSERT INTO big VALUES (1, NULL)", &[])
        .await
        .unwrap();
    let log: (i64, i64, i64) = one(&other, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    assert_eq!(log.0, 0);
    assert_eq!(
        session
            .execute("UPDATE accounts SET balance = 1", &[])
            .await
            .unwrap(),
        2
    );
}

#[tokio::test]
async fn whatever_is_done_with_the_connection_itself_is_gone() {
    let bank = Bank::new();
    let session = bank.open().await;
    let done = session.with(|connection| {
        connection.execute_batch("BEGIN; CREATE TEMP TABLE t (n); PRAGMA query_only = ON")?;
        connection.progress_handler(1, Some(|| false))?;
        connection.busy_timeout(std::time::Duration::ZERO)?;
        connection.query_one("SELECT sum(balance) FROM accounts", [], |row| {
            row.get::<_, i64>(0)
        })
    });
    assert_eq!(done.await.unwrap().unwrap(), 200);
    // Statements can be cancelled all the same.
    begin_and_drop(&session, session.query(ENDLESS, &[]), async || ()).await;
    session.reset(true).await.unwrap();
    assert_eq!(one::<i64>(&session, "PRAGMA query_only").await, 0);
    assert_eq!(
        one::<i64>(&session, "SELECT count(*) FROM sqlite_temp_schema").await,
        0
    );
    session.execute("DELETE FROM big", &[]).await.unwrap();
}

#[tokio::test]
async fn a_panic_with_the_connection_comes_to_who_asked() {
    let bank = Bank::new();
    let session = bank.open().await;
    let panics = session.with::<()>(|_| panic!("no"));
    let caught = futures_catch(panics).await;
    assert_eq!(caught, "no");
    assert!(session.is_usable());
    session.reset(false).await.unwrap();
    assert_eq!(
        one::<i64>(&session, "SELECT sum(balance) FROM accounts").await,
        200
    );
}

/// What it panics with.
async fn futures_catch<T>(future: impl Future<Output = T>) -> &'static str {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        let polled = AssertUnwindSafe(|| future.as_mut().poll(context));
        match std::panic::catch_unwind(polled) {
            Ok(std::task::Poll::Pending) => std::task::Poll::Pending,
            Ok(std::task::Poll::Ready(_)) => panic!("it did not panic"),
            Err(payload) => std::task::Poll::Ready(*payload.downcast::<&'static str>().unwrap()),
        }
    })
    .await
}

#[tokio::test]
async fn a_session_that_cannot_be_opened_anew_is_not_usable() {
    let bank = Bank::new();
    let config = bank.config_with("?mode=rw");
    let session = super::Sqlite::open(&config).await.unwrap();
    session.ping().await.unwrap();
    assert!(session.is_usable());
    session
        .execute("PRAGMA foreign_keys = OFF", &[])
        .await
        .unwrap();
    std::fs::remove_file(bank.path()).unwrap();
    refused(
        session.reset(true).await,
        ErrorKind::Connect,
        "no such file",
    );
    assert!(!session.is_usable());
    session.close().await.unwrap();
}
