//! Transactions and savepoints.

use super::{Bank, ENDLESS, ENDLESS_INSERT, ErrorKind, READ, Sqlite, WRITE, begin_and_drop, one};
use super::{refused, until};

const PAY: &str = "UPDATE accounts SET balance = balance - 40 WHERE id = 1";
const GET: &str = "UPDATE accounts SET balance = balance + 40 WHERE id = 2";

async fn pay(session: &Sqlite) {
    assert_eq!(session.execute(PAY, &[]).await.unwrap(), 1);
    assert_eq!(session.execute(GET, &[]).await.unwrap(), 1);
}

/// The transaction is gone, and nothing more is done.
async fn check_poisoned(bank: &Bank, session: &Sqlite, says: &str) {
    refused(session.execute(PAY, &[]).await, ErrorKind::Poisoned, says);
    refused(
        session.query("SELECT 1", &[]).await,
        ErrorKind::Poisoned,
        says,
    );
    refused(session.batch(PAY).await, ErrorKind::Poisoned, says);
    refused(session.savepoint("s").await, ErrorKind::Poisoned, says);
    refused(session.release("s").await, ErrorKind::Poisoned, says);
    refused(session.with(|_| ()).await, ErrorKind::Poisoned, says);
    let opened = session.open_cursor("SELECT 1", &[], 1).await;
    refused(opened, ErrorKind::Poisoned, says);
    refused(session.commit().await, ErrorKind::Poisoned, says);
    assert_eq!(bank.balances(), (100, 100));
    assert!(bank.is_free());
    // What comes next has nothing to do with it.
    session.begin(&WRITE).await.unwrap();
    pay(session).await;
    session.commit().await.unwrap();
    assert_eq!(bank.balances(), (60, 140));
}

#[tokio::test]
async fn a_transaction_is_seen_once_it_is_committed_and_never_if_rolled_back() {
    let bank = Bank::new();
    let session = bank.open().await;
    session.begin(&WRITE).await.unwrap();
    pay(&session).await;
    assert_eq!(bank.balances(), (100, 100));
    session.rollback().await.unwrap();
    assert_eq!(bank.balances(), (100, 100));
    session.begin(&WRITE).await.unwrap();
    pay(&session).await;
    session.commit().await.unwrap();
    assert_eq!(bank.balances(), (60, 140));
    session.rollback().await.unwrap();
    refused(session.commit().await, ErrorKind::Poisoned, "never begun");
    session.begin(&WRITE).await.unwrap();
    refused(session.begin(&WRITE).await, ErrorKind::Refused, "already");
    session.commit().await.unwrap();
}

#[tokio::test]
async fn a_writer_has_the_lock_from_the_beginning_and_the_other_is_to_try_again() {
    let bank = Bank::new();
    let (session, other) = (bank.open().await, bank.open_impatient().await);
    session.begin(&WRITE).await.unwrap();
    let error = refused(other.begin(&WRITE).await, ErrorKind::Retry, "is locked");
    assert_eq!(error.code(), Some("SQLITE_BUSY"));
    // Outside of a transaction there is nothing to run again.
    refused(
        other.execute(PAY, &[]).await,
        ErrorKind::Refused,
        "is locked",
    );
    session.rollback().await.unwrap();
    other.begin(&WRITE).await.unwrap();
    other.commit().await.unwrap();
}

#[tokio::test]
async fn a_reader_neither_waits_nor_writes_and_leaves_no_setting() {
    let bank = Bank::new();
    let (session, writer) = (bank.open().await, bank.open().await);
    writer.begin(&WRITE).await.unwrap();
    session.begin(&READ).await.unwrap();
    assert_eq!(
        one::<i64>(&session, "SELECT sum(balance) FROM accounts").await,
        200
    );
    let error = refused(
        session.execute(PAY, &[]).await,
        ErrorKind::Refused,
        "the transaction is read-only",
    );
    assert_eq!(error.code(), Some("SQLITE_READONLY"));
    session.commit().await.unwrap();
    writer.rollback().await.unwrap();
    pay(&session).await;
    session.begin(&READ).await.unwrap();
    session.rollback().await.unwrap();
    session.execute(PAY, &[]).await.unwrap();
}

#[tokio::test]
async fn savepoints_nest() {
    let bank = Bank::new();
    let session = bank.open().await;
    session.begin(&WRITE).await.unwrap();
    session.savepoint("a \"1\"").await.unwrap();
    session.execute(PAY, &[]).await.unwrap();
    session.savepoint("b").await.unwrap();
    session.execute(PAY, &[]).await.unwrap();
    session.rollback_to("b").await.unwrap();
    session.savepoint("b").await.unwrap();
    session.execute(GET, &[]).await.unwrap();
    session.release("b").await.unwrap();
    session.release("a \"1\"").await.unwrap();
    session.savepoint("c").await.unwrap();
    session.execute("DELETE FROM accounts", &[]).await.unwrap();
    session.rollback_to("c").await.unwrap();
    // It was never set, as if its future had been dropped.
    session.rollback_to("d").await.unwrap();
    refused(
        session.release("d").await,
        ErrorKind::Poisoned,
        "no such savepoint",
    );
    session.commit().await.unwrap();
    assert_eq!(bank.balances(), (60, 140));
    refused(
        session.rollback_to("c").await,
        ErrorKind::Poisoned,
        "as a whole",
    );
    refused(
        session.savepoint("c").await,
        ErrorKind::Poisoned,
        "never begun",
    );
}

#[tokio::test]
async fn a_transaction_is_not_ended_by_statements() {
    let bank = Bank::new();
    let session = bank.open().await;
    // Outside they are allowed, and kept prepared or not, they are seen inside.
    for sql in ["BEGIN", "COMMIT", "BEGIN", "ROLLBACK", "BEGIN", "END"] {
        session.execute(sql, &[]).await.unwrap();
    }
    session.begin(&WRITE).await.unwrap();
    pay(&session).await;
    for sql in ["COMMIT", "END", "ROLLBACK", "commit transaction"] {
        let says = "this would end the transaction";
        refused(session.execute(sql, &[]).await, ErrorKind::Refused, says);
        refused(session.query(sql, &[]).await, ErrorKind::Refused, says);
        let script = format!("{PAY}; {sql}; {PAY}");
        refused(session.batch(&script).await, ErrorKind::Refused, says);
        let opened = session.open_cursor(sql, &[], 1).await;
        refused(opened, ErrorKind::Refused, says);
    }
    assert_eq!(bank.balances(), (100, 100));
    session.rollback().await.unwrap();
    assert_eq!(bank.balances(), (100, 100));
}

#[tokio::test]
async fn a_transaction_that_sqlite_has_ended_cannot_go_on() {
    let bank = Bank::new();
    let session = bank.open().await;
    session.begin(&WRITE).await.unwrap();
    pay(&session).await;
    let sql = "INSERT OR ROLLBACK INTO accounts VALUES (1, 1)";
    refused(
        session.execute(sql, &[]).await,
        ErrorKind::Refused,
        "UNIQUE",
    );
    check_poisoned(&bank, &session, "SQLite has ended it").await;
}

#[tokio::test]
async fn a_transaction_ended_behind_its_back_cannot_go_on() {
    let bank = Bank::new();
    let session = bank.open().await;
    for behind in ["ROLLBACK", "ROLLBACK; BEGIN; DELETE FROM accounts"] {
        session.begin(&WRITE).await.unwrap();
        session.savepoint("inner").await.unwrap();
        pay(&session).await;
        session
            .with(|connection| connection.execute_batch(behind))
            .await
            .unwrap()
            .unwrap();
        let says = "ended behind its back";
        let rolled_back = session.rollback_to("inner").await;
        refused(rolled_back, ErrorKind::Poisoned, says);
        check_poisoned(&bank, &session, says).await;
        session
            .execute("UPDATE accounts SET balance = 100", &[])
            .await
            .unwrap();
    }
    // Savepoints of its own end nothing.
    session.begin(&WRITE).await.unwrap();
    session
        .with(|connection| connection.savepoint()?.commit())
        .await
        .unwrap()
        .unwrap();
    session.commit().await.unwrap();
}

#[tokio::test]
async fn an_interrupted_insert_never_leads_to_autocommit() {
    let bank = Bank::new();
    let session = bank.open().await;
    let log = bank.path().with_extension("db-wal");
    for is_nested in [false, true] {
        session.begin(&WRITE).await.unwrap();
        session.execute(PAY, &[]).await.unwrap();
        if is_nested {
            session.savepoint("inner").await.unwrap();
        }
        let size = || std::fs::metadata(&log).unwrap().len();
        let before = size();
        begin_and_drop(&session, session.execute(ENDLESS_INSERT, &[]), async || {
            // It has filled SQLite's cache.
            until(|| size() > before + 100_000).await;
        })
        .await;
        if is_nested {
            let rolled_back = session.rollback_to("inner").await;
            refused(rolled_back, ErrorKind::Poisoned, "SQLite has ended it");
        }
        let says = "SQLite has ended it";
        refused(session.execute(GET, &[]).await, ErrorKind::Poisoned, says);
        refused(session.batch(GET).await, ErrorKind::Poisoned, says);
        refused(session.commit().await, ErrorKind::Poisoned, says);
        assert_eq!(bank.balances(), (100, 100));
        assert!(bank.is_free());
    }
    session.begin(&WRITE).await.unwrap();
    session.rollback().await.unwrap();
}

#[tokio::test]
async fn an_interrupted_query_leaves_the_transaction_open() {
    let bank = Bank::new();
    let session = bank.open().await;
    session.begin(&WRITE).await.unwrap();
    session.execute(PAY, &[]).await.unwrap();
    begin_and_drop(&session, session.query(ENDLESS, &[]), async || ()).await;
    session.execute(GET, &[]).await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(bank.balances(), (60, 140));
}

/// Its caller does not know whether it was done: it must not be committed as if it were not.
#[tokio::test]
async fn a_write_that_was_done_when_it_was_given_up_poisons_unless_its_savepoint_is_undone() {
    let bank = Bank::new();
    let session = bank.open().await;
    let give_up_once_done = async |sql: &str| {
        begin_and_drop(&session, session.execute(sql, &[]), async || {
            session.ping().await.unwrap();
        })
        .await;
    };
    session.begin(&WRITE).await.unwrap();
    give_up_once_done(PAY).await;
    check_poisoned(&bank, &session, "was given up").await;

    session.begin(&WRITE).await.unwrap();
    session.savepoint("inner").await.unwrap();
    give_up_once_done(PAY).await;
    session.rollback_to("inner").await.unwrap();
    session.commit().await.unwrap();
    assert_eq!(bank.balances(), (60, 140));

    session.begin(&WRITE).await.unwrap();
    give_up_once_done(PAY).await;
    session.savepoint("inner").await.unwrap_err();
    session.rollback_to("inner").await.unwrap();
    refused(session.commit().await, ErrorKind::Poisoned, "was given up");

    // Of what only reads there is nothing to know.
    session.begin(&WRITE).await.unwrap();
    give_up_once_done("SELECT * FROM accounts").await;
    session.commit().await.unwrap();
    assert_eq!(bank.balances(), (60, 140));
}

#[tokio::test]
async fn a_transaction_whose_beginning_was_given_up_is_not_there() {
    let bank = Bank::new();
    let session = bank.open().await;
    for is_done in [false, true] {
        begin_and_drop(&session, session.begin(&WRITE), async || {
            if is_done {
                session.ping().await.unwrap();
                assert!(!bank.is_free());
            }
        })
        .await;
        // The thread does it by itself; nobody has to ask.
        until(|| bank.is_free()).await;
        pay(&session).await;
        session.begin(&WRITE).await.unwrap();
        session.rollback().await.unwrap();
    }
    assert_eq!(bank.balances(), (20, 180));
}

#[tokio::test]
async fn who_waits_for_a_lock_and_gives_up_waits_no_longer() {
    let bank = Bank::new();
    let config = bank.config_with("?busy_timeout=1day");
    let (holder, session) = (bank.open().await, Sqlite::open(&config).await.unwrap());
    holder.begin(&WRITE).await.unwrap();
    begin_and_drop(&session, session.begin(&WRITE), async || ()).await;
    begin_and_drop(&session, session.execute(PAY, &[]), async || {
        holder.ping().await.unwrap();
    })
    .await;
    assert_eq!(
        one::<i64>(&session, "SELECT sum(balance) FROM accounts").await,
        200
    );
    session.close().await.unwrap();
    holder.rollback().await.unwrap();
    assert_eq!(bank.balances(), (100, 100));
}

#[tokio::test]
async fn what_a_commit_finds_wrong_rolls_back() {
    let bank = Bank::new();
    let session = bank.open().await;
    session
        .batch("CREATE TABLE late (id REFERENCES accounts DEFERRABLE INITIALLY DEFERRED)")
        .await
        .unwrap();
    session.begin(&WRITE).await.unwrap();
    session
        .execute("INSERT INTO late VALUES (9)", &[])
        .await
        .unwrap();
    let error = refused(session.commit().await, ErrorKind::Refused, "FOREIGN KEY");
    assert_eq!(error.code(), Some("SQLITE_CONSTRAINT_FOREIGNKEY"));
    assert!(bank.is_free());
    assert_eq!(one::<i64>(&session, "SELECT count(*) FROM late").await, 0);
}

#[tokio::test]
async fn a_commit_that_was_asked_for_is_done_though_nobody_waits() {
    let bank = Bank::new();
    let session = bank.open().await;
    session.begin(&WRITE).await.unwrap();
    pay(&session).await;
    begin_and_drop(&session, session.commit(), async || ()).await;
    session.rollback().await.unwrap();
    assert_eq!(bank.balances(), (60, 140));
}
