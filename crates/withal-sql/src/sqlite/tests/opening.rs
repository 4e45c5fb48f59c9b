//! What opening makes of a file, and of what is none.

use std::fs;
use std::path::Path;

use super::{Bank, Config, ErrorKind, Sqlite, alone, one, refused, threads, until};

async fn check(path: &Path, query: &str, says: &str, code: Option<&str>) {
    let config = Config::parse(&format!("sqlite:{}{query}", path.display())).unwrap();
    let error = refused(Sqlite::open(&config).await, ErrorKind::Connect, says);
    assert!(error.to_string().contains(&config.to_string()), "{error}");
    assert_eq!(error.code(), code, "{error}");
}

#[tokio::test]
async fn what_cannot_be_opened_says_why_and_what_helps() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("text"), "Dear diary, ".repeat(100)).unwrap();
    let cannot = Some("SQLITE_CANTOPEN");
    check(
        &path("text"),
        "",
        "is no SQLite database",
        Some("SQLITE_NOTADB"),
    )
    .await;
    check(
        &path("text"),
        "?mode=ro",
        "is no SQLite database",
        Some("SQLITE_NOTADB"),
    )
    .await;
    check(
        &path("none/a.db"),
        "",
        "none: No such file or directory",
        cannot,
    )
    .await;
    check(&path("text/a.db"), "", "text is no directory", cannot).await;
    check(
        &path("new.db"),
        "?mode=rw",
        "`mode=rwc` alone makes one",
        cannot,
    )
    .await;
    check(&path("new.db"), "?mode=ro", "no such file", cannot).await;
    check(dir.path(), "", "it is a directory", Some("SQLITE_CANTOPEN")).await;
    assert!(!path("new.db").exists());
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_place_without_permission_says_so() {
    // Nobody may make files there, root included.
    let says = "is its directory writable?";
    check(
        Path::new("/sys/withal.db"),
        "",
        says,
        Some("SQLITE_CANTOPEN"),
    )
    .await;
}

#[tokio::test]
async fn a_locked_database_is_waited_for_and_then_said_to_be_locked() {
    let bank = Bank::new();
    let other = rusqlite::Connection::open(bank.path()).unwrap();
    other
        .execute_batch("PRAGMA journal_mode = DELETE; BEGIN EXCLUSIVE")
        .unwrap();
    let query = "?busy_timeout=1ms";
    check(
        &bank.path(),
        query,
        "is locked by another connection, and was for 1ms",
        Some("SQLITE_BUSY"),
    )
    .await;
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(
        one::<i64>(&bank.open().await, "SELECT count(*) FROM accounts").await,
        2
    );
}

#[tokio::test]
async fn a_damaged_database_says_so_with_its_path() {
    let bank = Bank::new();
    let connection = rusqlite::Connection::open(bank.path()).unwrap();
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(connection);
    let mut bytes = fs::read(bank.path()).unwrap();
    // The page of the first table.
    bytes[4096..8192].fill(0xee);
    fs::write(bank.path(), bytes).unwrap();
    let session = bank.open().await;
    let result = session.query("SELECT * FROM accounts", &[]).await;
    let error = refused(result, ErrorKind::Refused, "is damaged");
    assert!(error.to_string().contains("bank.db"), "{error}");
    assert_eq!(error.code(), Some("SQLITE_CORRUPT"));
}

#[tokio::test]
async fn a_new_connection_is_set_up() {
    let bank = Bank::new();
    let session = bank.open().await;
    assert_eq!(one::<String>(&session, "PRAGMA journal_mode").await, "wal");
    assert_eq!(one::<i64>(&session, "PRAGMA synchronous").await, 1);
    assert_eq!(one::<i64>(&session, "PRAGMA foreign_keys").await, 1);
}

#[tokio::test]
async fn many_may_open_a_new_database_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}/new.db", dir.path().display());
    let config = Config::parse(&url).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let config = config.clone();
        tasks.spawn(async move { Sqlite::open(&config).await.unwrap().close().await });
    }
    for result in tasks.join_all().await {
        result.unwrap();
    }
}

#[tokio::test]
async fn what_is_opened_to_be_read_is_not_written() {
    let bank = Bank::new();
    let config = bank.config_with("?mode=ro");
    let session = Sqlite::open(&config).await.unwrap();
    assert_eq!(
        one::<i64>(&session, "SELECT sum(balance) FROM accounts").await,
        200
    );
    let result = session.execute("DELETE FROM accounts", &[]).await;
    let error = refused(result, ErrorKind::Refused, "its URL says `mode=ro`");
    assert_eq!(error.code(), Some("SQLITE_READONLY"));
}

#[tokio::test]
async fn threads_and_files_are_gone_once_a_session_is_closed() {
    if !alone("opening::threads_and_files_are_gone_once_a_session_is_closed") {
        return;
    }
    let bank = Bank::new();
    let before = withal_testkit::open_descriptors();
    let sessions = [bank.open().await, bank.open().await];
    assert_eq!(threads(), 2);
    for session in sessions {
        assert_eq!(
            one::<i64>(&session, "SELECT sum(balance) FROM accounts").await,
            200
        );
        session.close().await.unwrap();
    }
    assert_eq!((threads(), withal_testkit::open_descriptors()), (0, before));
    // The last one has put the log into the database.
    assert_eq!(fs::read_dir(bank.dir.path()).unwrap().count(), 1);

    let missing = Config::parse("sqlite:/nowhere/a.db").unwrap();
    Sqlite::open(&missing).await.unwrap_err();
    assert_eq!(threads(), 0);

    drop(bank.open().await);
    until(|| threads() == 0).await;
    assert_eq!(withal_testkit::open_descriptors(), before);
}
