//! What URLs say.

use std::time::Duration;

use super::super::config::Mode;
use super::{Config, ErrorKind, Sqlite, one, refused};

#[test]
fn a_url_says_where_the_database_is_and_how_it_is_opened() {
    let check = |url: &str, shown: &str, mode: Mode, busy_timeout: u64| {
        let config = Config::parse(url).unwrap();
        assert_eq!(config.to_string(), shown);
        assert_eq!(config.mode, mode);
        assert_eq!(config.busy_timeout, Duration::from_millis(busy_timeout));
    };
    check("sqlite:orders.db", "sqlite:orders.db", Mode::Create, 5_000);
    check("sqlite:../a/b.db", "sqlite:../a/b.db", Mode::Create, 5_000);
    check("sqlite:/abs/path", "sqlite:/abs/path", Mode::Create, 5_000);
    check(
        "sqlite:///abs/path",
        "sqlite:/abs/path",
        Mode::Create,
        5_000,
    );
    check("sqlite:a%20b%3F.db", "sqlite:a b?.db", Mode::Create, 5_000);
    check("sqlite:a.db?mode=ro", "sqlite:a.db", Mode::Read, 5_000);
    check(
        "sqlite:a.db?mode=rw&busy_timeout=20ms",
        "sqlite:a.db",
        Mode::Write,
        20,
    );
    check(
        "sqlite:a.db?busy_timeout=1m%201s&mode=rwc",
        "sqlite:a.db",
        Mode::Create,
        61_000,
    );
    check("sqlite::memory:", "sqlite::memory:", Mode::Create, 5_000);
}

#[test]
fn a_wrong_url_is_told_what_is_wrong() {
    let check = |url: &str, says: &str| {
        refused(Config::parse(url), ErrorKind::Url, says);
    };
    check("orders.db", "does not begin with `sqlite:`");
    check("sqlite:", "no path");
    check("sqlite:?mode=ro", "no path");
    check("sqlite://host/orders.db", "no host");
    check("sqlite:a%00b.db", "NUL");
    check("sqlite:a%ff.db", "not UTF-8");
    check("sqlite:a.db?mode=x", "`mode` is `ro`, `rw` or `rwc`");
    check("sqlite:a.db?busy_timeout=5x", "`busy_timeout`, as in `5s`");
    check("sqlite:a.db?cache=shared", "no option `cache`");
    check("sqlite::memory:?mode=ro", "always a new one");
}

#[tokio::test]
async fn a_database_in_memory_is_one_for_all_sessions_and_gone_with_the_last() {
    let config = Config::parse("sqlite::memory:").unwrap();
    let path = config.path().unwrap();
    let first = Sqlite::open(&config).await.unwrap();
    let second = Sqlite::open(&config.clone()).await.unwrap();
    first.execute("CREATE TABLE t (n)", &[]).await.unwrap();
    first.begin(&super::WRITE).await.unwrap();
    first
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    // A reader does not wait for a writer, nor sees what is not committed.
    assert_eq!(one::<i64>(&second, "SELECT count(*) FROM t").await, 0);
    first.commit().await.unwrap();
    assert_eq!(one::<i64>(&second, "SELECT count(*) FROM t").await, 1);
    first.close().await.unwrap();
    drop(config);
    assert_eq!(one::<i64>(&second, "SELECT count(*) FROM t").await, 1);
    assert!(path.exists());
    second.close().await.unwrap();
    assert!(!path.parent().unwrap().exists());

    let other = Sqlite::open(&Config::parse("sqlite::memory:").unwrap())
        .await
        .unwrap();
    refused(
        other.query("SELECT * FROM t", &[]).await,
        ErrorKind::Refused,
        "no such table: t",
    );
}
