//! Cursors.

use super::super::SqliteCursor;
use super::{Bank, ENDLESS, ErrorKind, Sqlite, WRITE, begin_and_drop, one, refused};
use crate::Value;

const COUNT: &str = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < $1) \
     SELECT n FROM n";

async fn count(session: &Sqlite, to: i64, batch: usize) -> SqliteCursor {
    let opened = session.open_cursor(COUNT, &[Value::from(to)], batch).await;
    opened.unwrap()
}

async fn next(cursor: &mut SqliteCursor) -> Vec<i64> {
    let rows = cursor.next_batch().await.unwrap();
    rows.iter().map(|row| row.read().unwrap()).collect()
}

/// Whether nothing that is half read keeps the log.
async fn is_log_free(session: &Sqlite) -> bool {
    one::<(i64, i64, i64)>(session, "PRAGMA wal_checkpoint(TRUNCATE)")
        .await
        .0
        == 0
}

#[tokio::test]
async fn rows_come_in_batches_to_the_end() {
    let bank = Bank::new();
    let session = bank.open().await;
    for (to, batch, batches) in [
        (5, 2, vec![vec![1, 2], vec![3, 4], vec![5]]),
        (4, 2, vec![vec![1, 2], vec![3, 4]]),
        (1, 9, vec![vec![1]]),
        (2, 0, vec![vec![1], vec![2]]),
    ] {
        let mut cursor = count(&session, to, batch).await;
        for expected in batches {
            assert_eq!(next(&mut cursor).await, expected);
        }
        assert!(next(&mut cursor).await.is_empty());
        assert!(next(&mut cursor).await.is_empty());
        cursor.close().await.unwrap();
    }
    let sql = "SELECT 1 WHERE 1 = 2";
    let mut cursor = session.open_cursor(sql, &[], 10).await.unwrap();
    assert!(next(&mut cursor).await.is_empty());
}

#[tokio::test]
async fn other_statements_and_cursors_work_while_one_is_open() {
    let bank = Bank::new();
    let session = bank.open().await;
    let mut first = count(&session, 6, 2).await;
    let mut second = count(&session, 60, 3).await;
    assert_eq!(next(&mut first).await, [1, 2]);
    session
        .execute("INSERT INTO big VALUES (1, NULL)", &[])
        .await
        .unwrap();
    assert_eq!(next(&mut second).await, [1, 2, 3]);
    let mut third = count(&session, 3, 2).await;
    second.close().await.unwrap();
    assert_eq!(one::<i64>(&session, "SELECT count(*) FROM big").await, 1);
    assert_eq!(next(&mut first).await, [3, 4]);
    assert_eq!(next(&mut third).await, [1, 2]);
    drop(first);
    assert_eq!(next(&mut third).await, [3]);
    assert!(next(&mut third).await.is_empty());
    refused(
        {
            let _open = count(&session, 3, 1).await;
            session.with(|_| ()).await
        },
        ErrorKind::Refused,
        "while a cursor is open",
    );
    session.with(|_| ()).await.unwrap();
}

#[tokio::test]
async fn a_cursor_is_closed_at_once_when_it_is_dropped_or_has_ended() {
    let bank = Bank::new();
    let (session, other) = (bank.open().await, bank.open().await);
    let sql = "SELECT * FROM accounts, accounts AS b, accounts AS c";
    for end in 0..3 {
        let mut cursor = session.open_cursor(sql, &[], 2).await.unwrap();
        assert_eq!(cursor.next_batch().await.unwrap().len(), 2);
        other
            .execute("INSERT INTO big VALUES (1, NULL)", &[])
            .await
            .unwrap();
        let config = bank.config_with("?busy_timeout=0s");
        let impatient = Sqlite::open(&config).await.unwrap();
        assert!(!is_log_free(&impatient).await);
        match end {
            0 => drop(cursor),
            1 => cursor.close().await.unwrap(),
            _ => while !cursor.next_batch().await.unwrap().is_empty() {},
        }
        session.ping().await.unwrap();
        assert!(is_log_free(&impatient).await);
    }
}

#[tokio::test]
async fn a_cursor_dropped_while_it_reads_reads_no_further() {
    let bank = Bank::new();
    let session = bank.open().await;
    // The first batch is there at once, the second never.
    let sql = format!("SELECT 1 UNION ALL SELECT * FROM ({ENDLESS})");
    let mut cursor = session.open_cursor(&sql, &[], 1).await.unwrap();
    let others = count(&session, 10, 2).await;
    assert_eq!(next(&mut cursor).await, [1]);
    begin_and_drop(&session, cursor.next_batch(), async || ()).await;
    drop(cursor);
    assert_eq!(
        one::<i64>(&session, "SELECT sum(balance) FROM accounts").await,
        200
    );
    // And no other cursor is hit.
    let mut others = others;
    for expected in [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]] {
        assert_eq!(next(&mut others).await, expected);
    }
}

#[tokio::test]
async fn an_open_that_was_given_up_leaves_no_cursor() {
    let bank = Bank::new();
    let session = bank.open().await;
    begin_and_drop(&session, session.open_cursor(ENDLESS, &[], 1), async || ()).await;
    begin_and_drop(
        &session,
        session.open_cursor("SELECT * FROM accounts", &[], 1),
        async || {
            session.ping().await.unwrap();
        },
    )
    .await;
    session.ping().await.unwrap();
    assert!(is_log_free(&session).await);
    assert!(session.handle.shared.is_clean());
}

#[tokio::test]
async fn a_dropped_future_loses_no_rows() {
    let bank = Bank::new();
    let session = bank.open().await;
    let mut cursor = count(&session, 100, 1).await;
    for expected in 1..=100 {
        begin_and_drop(&session, cursor.next_batch(), async || ()).await;
        assert_eq!(next(&mut cursor).await, [expected]);
    }
    assert!(next(&mut cursor).await.is_empty());
}

#[tokio::test]
async fn an_error_half_way_comes_after_the_rows_before_it() {
    let bank = Bank::new();
    let session = bank.open().await;
    let sql = "SELECT abs(column1) FROM (VALUES (1), (2), (3), (-9223372036854775808), (5))";
    for batch in 1..6 {
        let mut cursor = session.open_cursor(sql, &[], batch).await.unwrap();
        let mut seen = Vec::new();
        let error = loop {
            match cursor.next_batch().await {
                Ok(rows) => seen.extend(rows.iter().map(|row| row.read::<i64>().unwrap())),
                Err(error) => break error,
            }
        };
        assert_eq!(seen, [1, 2, 3]);
        assert!(error.to_string().contains("integer overflow"), "{error}");
        assert_eq!(error.statement(), Some(sql));
        assert!(cursor.next_batch().await.unwrap().is_empty());
    }
    refused(
        session.open_cursor("SELEC", &[], 1).await,
        ErrorKind::Refused,
        "syntax error",
    );
}

#[tokio::test]
async fn a_cursor_ends_with_the_transaction_it_was_opened_in() {
    let bank = Bank::new();
    let session = bank.open().await;
    let mut outside = count(&session, 9, 1).await;
    session.begin(&WRITE).await.unwrap();
    let mut outer = count(&session, 9, 1).await;
    session.savepoint("inner").await.unwrap();
    let mut inner = count(&session, 9, 1).await;
    let sql = "INSERT INTO big SELECT id, NULL FROM accounts RETURNING n";
    let mut written = session.open_cursor(sql, &[], 1).await.unwrap();
    assert_eq!(next(&mut inner).await, [1]);
    assert_eq!(next(&mut written).await, [1]);
    session.release("inner").await.unwrap();
    let says = "closed at the end of its transaction";
    refused(inner.next_batch().await, ErrorKind::Refused, says);
    refused(written.next_batch().await, ErrorKind::Refused, says);
    assert_eq!(next(&mut outer).await, [1]);
    session.commit().await.unwrap();
    refused(outer.next_batch().await, ErrorKind::Refused, says);
    assert_eq!(next(&mut outside).await, [1]);
    assert_eq!(one::<i64>(&session, "SELECT count(*) FROM big").await, 2);
}

#[tokio::test]
async fn a_cursor_outlives_its_session_closed() {
    let bank = Bank::new();
    let session = bank.open().await;
    let mut cursor = count(&session, 9, 1).await;
    session.close().await.unwrap();
    refused(
        cursor.next_batch().await,
        ErrorKind::ConnectionLost,
        "closed",
    );
    refused(cursor.close().await, ErrorKind::ConnectionLost, "closed");
}
