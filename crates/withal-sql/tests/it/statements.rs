//! Statements, parameters and rows.

use serde::Deserialize;
use withal_scope::with_ref;
use withal_sql::{ErrorKind, params};

#[cfg(feature = "sqlite")]
use crate::support::Kind;
use crate::support::each_connection;
#[cfg(feature = "postgres")]
use crate::support::with_connection;

#[derive(Debug, Deserialize, PartialEq)]
struct Everything {
    i: i64,
    f: f64,
    t: String,
    n: Option<String>,
    b: bool,
}

#[test]
fn rows_become_structs_tuples_and_values() {
    each_connection(async |_, conn| {
        let sql = "SELECT CAST($1 AS bigint) AS i, CAST($2 AS double precision) AS f, \
                CAST($3 AS text) AS t, CAST($4 AS text) AS n, $5 = 1 AS b";
        let row = conn
            .query_one(sql, params![7, 0.5, "ä\n", None::<&str>, 1])
            .await?;
        let whole = Everything {
            i: 7,
            f: 0.5,
            t: "ä\n".to_owned(),
            n: None,
            b: true,
        };
        assert_eq!(row.read::<Everything>()?, whole);
        let tuple: (i64, f64, String, Option<String>, bool) = row.read()?;
        assert_eq!(tuple, (7, 0.5, "ä\n".to_owned(), None, true));
        assert_eq!(row.get::<i64>("i")?, 7);
        assert_eq!(row.get::<String>(2)?, "ä\n");
        let error = row.get::<i64>("t").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.to_string().contains("`t` of type text"), "{error}");
        let error = row.get::<String>("n").unwrap_err();
        assert!(error.to_string().contains("`n`"), "{error}");
        let error = row.get::<i64>("missing").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`missing`: there are i, f, t, n, b"),
            "{error}"
        );
        let error = row.read::<(i64, i64)>().unwrap_err();
        assert!(error.to_string().contains("5 columns"), "{error}");
        let one: i64 = conn
            .query_one_as("SELECT CAST(41 AS bigint) + 1", &[])
            .await?;
        assert_eq!(one, 42);
        Ok(())
    });
}

#[test]
fn a_number_that_a_float_does_not_have_is_no_float() {
    each_connection(async |_, conn| {
        let sql = "SELECT CAST($1 AS bigint) AS n, CAST($2 AS double precision) AS f";
        let exact = 9_007_199_254_740_992_i64;
        let params = params![exact, 16_777_216.0];
        let (n, f): (f64, f32) = conn.query_one_as(sql, params).await?;
        assert_eq!((n, f), (9_007_199_254_740_992.0, 16_777_216.0));
        let row = conn
            .query_one(sql, params![exact + 1, 16_777_217.0])
            .await?;
        for error in [
            row.get::<f64>("n").unwrap_err(),
            row.get::<Option<f64>>("n").unwrap_err(),
            row.get::<f32>("n").unwrap_err(),
            row.read::<(f64, f64)>().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Decode);
            let text = error.to_string();
            assert!(
                text.contains("column `n` of type int") && text.contains("i64"),
                "{text}"
            );
        }
        assert_eq!(row.get::<f64>("f")?, 16_777_217.0);
        let error = row.get::<f32>("f").unwrap_err();
        assert!(error.to_string().contains("column `f`"), "{error}");
        for (value, is_kept) in [
            (0.1, true),
            (1e300, false),
            (1e-300, false),
            (f64::INFINITY, true),
        ] {
            let row = conn.query_one(sql, params![i64::MAX, value]).await?;
            assert_eq!(row.get::<f32>("f").is_ok(), is_kept, "{value}");
            assert_eq!(row.get::<f64>("f")?, value);
            row.get::<f64>("n").unwrap_err();
        }
        Ok(())
    });
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_numeric_is_a_float_if_no_digit_before_the_point_is_lost() {
    with_connection(async |conn| {
        let check = async |text: &str, expected: Option<f64>| {
            let row = conn
                .query_one("SELECT CAST($1 AS numeric) AS n", params![text])
                .await?;
            let found = row.get::<f64>("n");
            assert_eq!(found.as_ref().ok().copied(), expected, "{text}");
            if let Err(error) = found {
                assert!(
                    error.to_string().contains("column `n` of type numeric"),
                    "{error}"
                );
            }
            assert_eq!(row.get::<String>("n")?, text);
            Ok::<(), withal_sql::Error>(())
        };
        check("12.50", Some(12.5)).await?;
        check("-33.3333333333333333", Some(-33.333_333_333_333_336)).await?;
        check("0.000", Some(0.0)).await?;
        check("9007199254740992.00", Some(9_007_199_254_740_992.0)).await?;
        check("9007199254740993", None).await?;
        check(&format!("1{}", "0".repeat(400)), None).await?;
        check(&format!("0.{}1", "0".repeat(400)), None).await?;
        let sql = "SELECT CAST('NaN' AS numeric)";
        assert!(conn.query_one_as::<f64>(sql, params![]).await?.is_nan());
        Ok(())
    })
    .await;
}

#[cfg(feature = "sqlite")]
#[test]
fn sqlite_takes_no_nan() {
    each_connection(async |kind, conn| {
        let sql = "SELECT CAST($1 AS double precision) AS f";
        let found = conn.query_one(sql, params![f64::NAN]).await;
        match kind {
            #[cfg(feature = "postgres")]
            Kind::Postgres => assert!(found?.get::<f64>("f")?.is_nan()),
            Kind::Sqlite => {
                let error = found.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Parameter);
                assert!(error.to_string().contains("parameter 1 is NaN"), "{error}");
            }
        }
        Ok(())
    });
}

#[test]
fn parameters_are_found_by_their_number() {
    each_connection(async |_, conn| {
        let sql = "SELECT CAST($2 AS text) || CAST($1 AS text) || CAST($2 AS text)";
        let text: String = conn.query_one_as(sql, params!["a", "b"]).await?;
        assert_eq!(text, "bab");
        let error = conn.query(sql, params!["a"]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Parameter, "{error}");
        let hostile = "'); DROP TABLE accounts; --";
        let text: String = conn
            .query_one_as("SELECT CAST($1 AS text)", params![hostile])
            .await?;
        assert_eq!(text, hostile);
        Ok(())
    });
}

#[test]
fn what_is_refused_is_named_without_its_parameters() {
    each_connection(async |kind, conn| {
        let sql = "INSERT INTO accounts VALUES ($1, $2)";
        let error = conn.execute(sql, params![1, 77_777_777]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(error.statement(), Some(sql));
        let code = error.code().unwrap();
        let codes = ["23505", "SQLITE_CONSTRAINT_PRIMARYKEY"];
        assert!(codes.contains(&code), "{kind:?}: {code}");
        let text = format!("{error} {error:?}");
        assert!(
            text.contains("INSERT INTO") && !text.contains("77777777"),
            "{text}"
        );
        let error = conn.query("SELECT nonsense FROM", &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        let error = conn
            .query_one("SELECT 1 FROM accounts", &[])
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ManyRows);
        let none = conn
            .query_one("SELECT 1 FROM accounts WHERE id = 0", &[])
            .await;
        assert_eq!(none.unwrap_err().kind(), ErrorKind::NoRow);
        Ok(())
    });
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn what_the_server_says_of_values_is_not_shown() {
    let setup = "CREATE TABLE t (k text CONSTRAINT only_once PRIMARY KEY, n int NOT NULL, \
            CONSTRAINT small CHECK (n < 10)); INSERT INTO t VALUES ('top-secret', 1)";
    with_connection(async |conn| {
        conn.batch(setup).await?;
        let shown = |error: &withal_sql::Error| {
            let source = std::error::Error::source(error);
            let text = format!("{error} {error:?} {error:#?} {source:?}");
            assert!(
                !text.contains("top-secret") && !text.contains("77"),
                "{text}"
            );
            error.to_string()
        };
        let insert = "INSERT INTO t VALUES ($1, $2)";
        let error = conn.execute(insert, params!["top-secret", 1]).await;
        let error = error.unwrap_err();
        assert!(
            shown(&error).contains("(23505) in `INSERT INTO t"),
            "{error}"
        );
        assert_eq!(error.constraint(), Some("only_once"));
        assert_eq!((error.schema(), error.table()), (Some("public"), Some("t")));
        let error = conn.execute(insert, params!["a", 77]).await.unwrap_err();
        assert!(shown(&error).contains("\"small\""), "{error}");
        let error = conn.execute(insert, params!["77", None::<i64>]).await;
        let error = error.unwrap_err();
        shown(&error);
        assert_eq!(error.column(), Some("n"));
        let sql = "SELECT CAST($1 AS text)::int";
        let of_integer = "invalid input syntax for type integer: …";
        for sql in ["SELECT CAST($1 AS int)", sql] {
            let params = params!["top-secret"];
            let error = conn.query(sql, params).await.unwrap_err();
            assert_eq!(error.message(), of_integer);
            assert_eq!(error.code(), Some("22P02"));
            assert_eq!(error.statement(), Some(sql));
            shown(&error);
            let read = with_ref(conn.cursor(sql, params), async |rows| {
                Ok(rows.next().await?.is_some())
            });
            let error = read.await.unwrap_err();
            shown(error.downcast_ref().unwrap());
        }
        // What stands in the statement may be shown: it is, anyway.
        let error = conn.batch("SELECT 'abc'::int").await.unwrap_err();
        assert!(error.message().ends_with("\"abc\""), "{error}");
        assert_eq!(error.offset(), Some(7));
        Ok(())
    })
    .await;
}

/// Statements that look up what a parameter names, with the code they are refused with.
#[cfg(feature = "postgres")]
const LOOK_UPS: &[(&str, &str)] = &[
    ("SELECT ($1::text)::regclass", "42P01"),
    ("SELECT ($1::text)::regtype", "42704"),
    ("SELECT ($1::text)::regproc", "42883"),
    ("SELECT ($1::text)::regoper", "42883"),
    ("SELECT ($1::text || '.a.b')::regclass", "0A000"),
    ("SELECT ($1::text || '.a.b.c')::regclass", "42601"),
    ("SELECT ('int ' || $1)::regtype", "42601"),
    ("SELECT nextval($1::text)", "42P01"),
    ("SELECT to_tsquery($1 || ' & &')", "42601"),
    ("SELECT ($1::text || ' & &')::tsquery", "42601"),
    ("SELECT current_setting($1)", "42704"),
    ("SELECT set_config($1, '', false)", "42704"),
    ("SELECT set_config('work_mem', $1, false)", "22023"),
    ("SELECT pg_database_size(($1::text)::name)", "3D000"),
    ("SELECT has_schema_privilege($1, 'USAGE')", "3F000"),
    ("SELECT has_table_privilege('t', $1)", "22023"),
    ("SELECT has_column_privilege('t', $1, 'SELECT')", "42703"),
    ("SELECT pg_get_serial_sequence('t', $1)", "42703"),
    ("SELECT pg_read_file($1)", "58P01"),
    (
        "SELECT query_to_xml('SELECT 1 x ' || $1, false, false, '')",
        "42601",
    ),
    ("SELECT dynamic($1)", "42703"),
    ("SELECT pg_get_viewdef(($1::text)::regclass)", "42P01"),
];

#[cfg(feature = "postgres")]
#[tokio::test]
async fn what_a_parameter_names_and_is_not_there_is_not_shown() {
    const SETUP: &str = "CREATE TABLE t (k int);
        CREATE FUNCTION dynamic(what text) RETURNS void LANGUAGE plpgsql AS $$
            BEGIN EXECUTE 'SELECT ' || what; END $$;
        CREATE FUNCTION fixed() RETURNS void LANGUAGE plpgsql AS $$
            BEGIN RAISE 'my \"own\" words: all of them'; END $$";
    with_connection(async |conn| {
        conn.batch(SETUP).await?;
        for (sql, code) in LOOK_UPS {
            let error = conn.query(sql, params!["topsecret"]).await.unwrap_err();
            assert_eq!(error.code(), Some(*code), "{error}");
            let text = format!("{error} {error:?} {error:#?}");
            assert!(!text.contains("topsecret"), "{text}");
            assert!(error.message().contains('…'), "{error}");
        }
        // What stands in the statement is shown, whether it has a place there or not, and so are
        // names of what is there, and what users say themselves.
        for (sql, message) in [
            (
                "SELECT * FROM nowhere",
                "relation \"nowhere\" does not exist",
            ),
            (
                "SELECT nextval('nowhere')",
                "relation \"nowhere\" does not exist",
            ),
            ("DROP TABLE Nowhere", "table \"nowhere\" does not exist"),
            (
                "ALTER TABLE t DROP CONSTRAINT c",
                "constraint \"c\" of relation \"t\" does not exist",
            ),
            ("SELECT fixed()", "my \"own\" words: all of them"),
            ("CREATE TABLE t ()", "relation \"t\" already exists"),
        ] {
            let error = conn.query(sql, &[]).await.unwrap_err();
            assert_eq!(error.message(), message);
        }
        Ok(())
    })
    .await;
}

#[test]
fn a_nul_in_a_statement_is_told_and_costs_nothing() {
    each_connection(async |kind, conn| {
        let sql = "SELECT '\0'";
        let mut errors = vec![
            conn.execute(sql, &[]).await.unwrap_err(),
            conn.query(sql, &[]).await.unwrap_err(),
        ];
        let rows = with_ref(conn.cursor(sql, &[]), async |_| Ok(()));
        let error = rows.await.unwrap_err();
        errors.push(error.downcast().unwrap());
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Refused, "{kind:?}: {error}");
            assert!(error.message().contains("NUL"), "{kind:?}: {error}");
        }
        assert_eq!(conn.query_one_as::<i32>("SELECT 5", &[]).await?, 5);
        Ok(())
    });
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_copy_that_is_no_copy_in_or_out_names_what_is_for_it() {
    with_connection(async |conn| {
        let setup = "CREATE TABLE t (v text); INSERT INTO t VALUES ('COPY t TO STDOUT')";
        conn.batch(setup).await?;
        let out = "/* all */ copy (SELECT v FROM t) to stdout (FORMAT csv)";
        let (into, method) = ("COPY t FROM STDIN", "`copy_in`");
        for (error, method) in [
            (conn.execute(out, &[]).await.unwrap_err(), "`copy_out`"),
            (conn.query(into, &[]).await.unwrap_err(), method),
            (
                conn.batch("SELECT 1; COPY t FROM STDIN").await.unwrap_err(),
                method,
            ),
        ] {
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            assert!(error.message().contains(method), "{error}");
        }
        conn.batch("COPY (SELECT 'STDOUT') TO PROGRAM 'cat > /dev/null'")
            .await?;
        let sql = "SELECT count(*) FROM t WHERE v = 'COPY t TO STDOUT'";
        assert_eq!(conn.query_one_as::<i64>(sql, &[]).await?, 1);
        let mut copied = Vec::new();
        conn.copy_out("COPY t TO STDOUT", &mut copied).await?;
        assert_eq!(copied, b"COPY t TO STDOUT\n");
        Ok(())
    })
    .await;
}

#[test]
fn rows_come_one_after_the_other_and_leave_the_session_free() {
    each_connection(async |_, conn| {
        let numbers = "WITH RECURSIVE n(i) AS (SELECT CAST(1 AS bigint) UNION ALL SELECT i + 1 FROM n \
                WHERE i < $1) SELECT i FROM n";
        for exclusive in [false, true] {
            let params = params![2500];
            let cursor = match exclusive {
                true => conn.exclusive_cursor(numbers, params),
                false => conn.cursor(numbers, params),
            };
            let sum = with_ref(cursor, async |rows| {
                let mut sum = 0;
                while let Some(row) = rows.next().await? {
                    sum += row.read::<i64>()?;
                }
                Ok(sum)
            });
            assert_eq!(sum.await?, 2500 * 2501 / 2, "exclusive: {exclusive}");
            let params = params![1_000_000_000];
            let cursor = match exclusive {
                true => conn.exclusive_cursor(numbers, params),
                false => conn.cursor(numbers, params),
            };
            let first = with_ref(cursor, async |rows| {
                Ok(rows.next().await?.unwrap().read::<i64>()?)
            });
            assert_eq!(first.await?, 1, "exclusive: {exclusive}");
            let free: i64 = conn.query_one_as("SELECT CAST(5 AS bigint)", &[]).await?;
            assert_eq!(free, 5);
        }
        Ok(())
    });
}
