//! Statements, their parameters and their errors.

use super::{Bank, ErrorKind, one, one_of, refused};
use crate::Value;

fn numbers(numbers: &[i64]) -> Vec<Value<'static>> {
    numbers.iter().map(Value::from).collect()
}

#[tokio::test]
async fn parameters_are_found_by_their_number_wherever_they_stand() {
    let bank = Bank::new();
    let session = bank.open().await;
    for sql in [
        "SELECT $1, $2, $3",
        "SELECT $1, ($2 + $2) / 2, $3",
        "SELECT ?1, ?2, ?3",
        "SELECT ?, ?, ?",
        "SELECT a.column2, a.column1, $3 FROM (VALUES ($2, $1)) AS a",
        "SELECT a.column3, a.column2, a.column1 FROM (VALUES ($3, $2, $1)) AS a",
        "SELECT a.column3, a.column2, a.column1 FROM (VALUES (?3, ?2, ?1)) AS a",
    ] {
        let row: (i64, i64, i64) = one_of(&session, sql, &numbers(&[10, 20, 30])).await;
        assert_eq!(row, (10, 20, 30), "{sql}");
    }
    // The second time they come from the cache, with other values.
    let row: (i64, i64) = one_of(&session, "SELECT $2, $1", &numbers(&[1, 2])).await;
    assert_eq!(row, (2, 1));
    let row: (i64, i64) = one_of(&session, "SELECT $2, $1", &numbers(&[3, 4])).await;
    assert_eq!(row, (4, 3));
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    let bank = Bank::new();
    let session = bank.open().await;
    let check = async |sql: &str, given: &[i64], says: &str| {
        let result = session.query(sql, &numbers(given)).await;
        let error = refused(result, ErrorKind::Parameter, says);
        assert_eq!(error.statement(), Some(sql));
    };
    check(
        "SELECT $1, $2",
        &[1],
        "it takes 2 parameters, and there are 1",
    )
    .await;
    check(
        "SELECT $1",
        &[1, 2],
        "it takes 1 parameters, and there are 2",
    )
    .await;
    check("SELECT 1", &[1], "it takes 0 parameters").await;
    check("SELECT $2", &[1], "it takes 2 parameters").await;
    check("SELECT :id", &[1], "`:id` is no number").await;
    check("SELECT @1", &[1], "`@1` is no number").await;
    check("SELECT $id", &[1], "`$id` is no number").await;
    check("SELECT $0", &[1], "`$0` is no number").await;
    check("SELECT $2, ?", &[1, 2], "not both").await;
    let result = session.batch("SELECT 1; SELECT $1").await;
    refused(result, ErrorKind::Parameter, "it takes 1 parameters");
}

#[tokio::test]
async fn values_come_back_as_they_were() {
    let bank = Bank::new();
    let session = bank.open().await;
    let params = crate::params![true, i64::MIN, 0.5, "ä'\"; --", &b"\0\xff"[..], None::<i64>];
    let sql = "SELECT $1 AS a, $2 AS b, $3 AS c, $4 AS d, $5 AS e, $6 AS f";
    let rows = session.query(sql, params).await.unwrap();
    let row = &rows[0];
    assert!(row.get::<bool>("a").unwrap());
    assert_eq!(row.get::<i64>("b").unwrap(), i64::MIN);
    assert_eq!(row.get::<f64>("c").unwrap(), 0.5);
    assert_eq!(row.get::<String>("d").unwrap(), "ä'\"; --");
    assert_eq!(row.get::<Vec<u8>>("e").unwrap(), b"\0\xff");
    assert_eq!(row.get::<Option<i64>>("f").unwrap(), None);

    let result = session.query("SELECT CAST(x'ff' AS TEXT)", &[]).await;
    refused(result, ErrorKind::Decode, "column 0 cannot be read");
}

#[tokio::test]
async fn execute_gives_how_many_rows_there_were() {
    let bank = Bank::new();
    let session = bank.open().await;
    let check = async |sql: &str, count: u64| {
        assert_eq!(session.execute(sql, &[]).await.unwrap(), count, "{sql}");
    };
    check("INSERT INTO accounts VALUES (3, 0), (4, 0), (5, 0)", 3).await;
    check("CREATE TABLE t (n)", 0).await;
    check("UPDATE accounts SET balance = balance WHERE id > 3", 2).await;
    check("UPDATE accounts SET balance = 0 WHERE id > 9", 0).await;
    check("SELECT * FROM accounts", 5).await;
    check("INSERT INTO t VALUES (1), (2) RETURNING n", 2).await;
    check("DELETE FROM t", 2).await;
    check("DROP TABLE t", 0).await;
}

#[tokio::test]
async fn a_statement_is_one() {
    let bank = Bank::new();
    let session = bank.open().await;
    let check = async |sql: &str, says: &str| {
        refused(session.execute(sql, &[]).await, ErrorKind::Refused, says);
    };
    check(
        "DELETE FROM accounts; DELETE FROM big",
        "more than one statement",
    )
    .await;
    check(
        "DELETE FROM accounts;;\n;DELETE FROM big;",
        "more than one statement",
    )
    .await;
    check("DELETE FROM accounts\0 WHERE id = 1", "NUL").await;
    check("", "there is no statement").await;
    check(" ;", "there is no statement").await;
    check("-- nothing", "there is no statement").await;
    check(";/* nothing */ -- at all\n;", "there is no statement").await;
    assert_eq!(bank.balances(), (100, 100));
    for sql in [
        "SELECT ';' ;",
        "SELECT ';'; -- that is all\n",
        "SELECT ';' /* ; */",
    ] {
        assert_eq!(one::<String>(&session, sql).await, ";");
    }
    let trigger = "CREATE TRIGGER t AFTER DELETE ON big BEGIN SELECT 1; SELECT 2; END";
    session.execute(trigger, &[]).await.unwrap();
}

#[tokio::test]
async fn a_kept_statement_sees_that_the_schema_has_changed() {
    let bank = Bank::new();
    let (session, other) = (bank.open().await, bank.open().await);
    let sql = "SELECT * FROM accounts WHERE id = 1";
    assert_eq!(one::<(i64, i64)>(&session, sql).await, (1, 100));
    other
        .execute(
            "ALTER TABLE accounts ADD COLUMN owner TEXT DEFAULT 'Ada'",
            &[],
        )
        .await
        .unwrap();
    let rows = session.query(sql, &[]).await.unwrap();
    assert_eq!(rows[0].get::<String>("owner").unwrap(), "Ada");
}

#[tokio::test]
async fn errors_name_the_code_and_the_statement_and_no_parameter() {
    let bank = Bank::new();
    let session = bank.open().await;
    let check = async |sql: &str, code: &str, says: &str| {
        let result = session.execute(sql, &numbers(&[4711])).await;
        let error = refused(result, ErrorKind::Refused, says);
        assert_eq!(error.code(), Some(code));
        assert_eq!(error.statement(), Some(sql));
        assert!(!format!("{error} {error:?}").contains("4711"), "{error:?}");
    };
    session
        .batch("CREATE TABLE child (id REFERENCES accounts, n UNIQUE, CHECK (n < 9000));")
        .await
        .unwrap();
    session
        .execute("INSERT INTO child VALUES (1, 4711)", &[])
        .await
        .unwrap();
    check("SELEC $1", "SQLITE_ERROR", "near \"SELEC\": syntax error").await;
    check(
        "SELECT $1 FROM nowhere",
        "SQLITE_ERROR",
        "no such table: nowhere",
    )
    .await;
    check(
        "INSERT INTO child VALUES (1, $1)",
        "SQLITE_CONSTRAINT_UNIQUE",
        "child.n",
    )
    .await;
    check(
        "INSERT INTO child VALUES ($1, 1)",
        "SQLITE_CONSTRAINT_FOREIGNKEY",
        "FOREIGN KEY",
    )
    .await;
    check(
        "INSERT INTO child VALUES (1, $1 + 5000)",
        "SQLITE_CONSTRAINT_CHECK",
        "CHECK",
    )
    .await;
    check(
        "INSERT INTO accounts VALUES ($1, NULL)",
        "SQLITE_CONSTRAINT_NOTNULL",
        "NOT NULL",
    )
    .await;
    check(
        "INSERT INTO accounts VALUES (1, $1)",
        "SQLITE_CONSTRAINT_PRIMARYKEY",
        "accounts.id",
    )
    .await;
}

#[tokio::test]
async fn a_script_runs_to_its_end_or_says_on_which_line_it_failed() {
    let bank = Bank::new();
    let session = bank.open().await;
    let script = "-- two tables; with a comment\nCREATE TABLE a (n);\n\n;;CREATE TABLE b (n);\n\
                  CREATE TRIGGER t AFTER DELETE ON a BEGIN\n  DELETE FROM b;\n  DELETE FROM big;\n\
                  END;\nINSERT INTO b SELECT 7;SELECT * FROM b; -- ';'";
    session.batch(script).await.unwrap();
    assert_eq!(one::<i64>(&session, "SELECT n FROM b").await, 7);
    session.batch("").await.unwrap();
    session.batch(" -- nothing\n").await.unwrap();

    let check = async |script: &str, says: &str, statement: &str| {
        let error = refused(session.batch(script).await, ErrorKind::Refused, says);
        let shown = error.statement().unwrap().trim();
        assert!(shown.starts_with(statement), "{shown}");
    };
    check(
        "INSERT INTO a VALUES (1);\n;\n  INSERT INTO accounts\n  VALUES (1, 1);\nDROP TABLE a;",
        "line 3: UNIQUE constraint failed",
        "INSERT INTO accounts",
    )
    .await;
    check(
        "INSERT INTO a VALUES (1);\nINSERT INTO a\n  VALUSE (2);\n",
        "line 3: near \"VALUSE\": syntax error",
        "INSERT INTO a",
    )
    .await;
    check(
        "DROP TABLE nowhere; DROP TABLE a",
        "no such table: nowhere",
        "DROP",
    )
    .await;
    assert_eq!(one::<i64>(&session, "SELECT count(*) FROM a").await, 2);
}
