//! What only Postgres has.

use std::time::{Duration, Instant};

use withal_core::BoxError;
use withal_scope::{async_with, scope, with_ref};
use withal_sql::{
    Cursor, Database, Error, ErrorKind, Isolation, Session, params, retry_serializable,
};
use withal_testkit::proxy::{Direction, Proxy};
use withal_testkit::servers::postgres;

use crate::support::{give_up, kind, open, with_connection, with_postgres};

#[tokio::test]
async fn values_of_many_types_come_as_what_they_are() {
    with_connection(async |conn| {
        for (sql, expected) in [
            ("SELECT numeric '123456.0700'", "123456.0700"),
            ("SELECT numeric '-0.00012'", "-0.00012"),
            ("SELECT numeric '100000000'", "100000000"),
            ("SELECT numeric '0'", "0"),
            ("SELECT numeric 'NaN'", "NaN"),
            (
                "SELECT timestamptz '2026-11-21 10:00:00.25+01'",
                "2026-11-21T09:00:00.25Z",
            ),
            (
                "SELECT timestamp '1999-12-31 23:59:59'",
                "1999-12-31T23:59:59",
            ),
            ("SELECT date '2024-02-29'", "2024-02-29"),
            ("SELECT time '12:34:56.789'", "12:34:56.789"),
            ("SELECT timestamptz 'infinity'", "infinity"),
            (
                "SELECT interval '1 year 2 days -3.5 seconds'",
                "P12M2DT-3.500000S",
            ),
            (
                "SELECT uuid '0123456789abcdef0123456789abcdef'",
                "01234567-89ab-cdef-0123-456789abcdef",
            ),
            ("SELECT 'x'::name", "x"),
            ("SELECT 'abc'::varchar(5)", "abc"),
        ] {
            let found: String = conn.query_one_as(sql, &[]).await?;
            assert_eq!(found, expected, "{sql}");
        }
        let list: Vec<Option<i64>> = conn
            .query_one_as("SELECT ARRAY[1, NULL, 3]::bigint[]", &[])
            .await?;
        assert_eq!(list, [Some(1), None, Some(3)]);
        let map: std::collections::BTreeMap<String, Vec<i64>> = conn
            .query_one_as("SELECT jsonb '{\"a\": [1, 2]}'", &[])
            .await?;
        assert_eq!(map["a"], [1, 2]);
        let exact: f64 = conn.query_one_as("SELECT numeric '12.5'", &[]).await?;
        assert_eq!(exact, 12.5);
        let echoed: (String, String, i64, Vec<u8>) = conn
            .query_one(
                "SELECT $1::uuid, $2::timestamptz, $3::smallint, $4::bytea",
                params![
                    "01234567-89ab-cdef-0123-456789abcdef",
                    "2026-11-21T09:00:00Z",
                    7,
                    b"\0\xff",
                ],
            )
            .await?
            .read()?;
        assert_eq!(echoed.1, "2026-11-21T09:00:00Z");
        assert_eq!((echoed.2, echoed.3), (7, vec![0, 255]));
        Ok(())
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn both_ends_of_a_session_look_whether_the_other_is_there() {
    async_with(postgres(), async |server| {
        let database = open(&server.url());
        scope(async |s| {
            let db = s.enter(database).await?;
            let conn = s.enter(db.acquire()).await?;
            let show = "SHOW client_connection_check_interval";
            let interval: String = conn.query_one_as(show, &[]).await?;
            assert_eq!(interval, "100ms");
            let ports = "SELECT inet_client_port()::bigint, inet_server_port()::bigint";
            let ports: (i64, i64) = conn.query_one_as(ports, &[]).await?;
            let probe = async {
                loop {
                    if let Some(probe) = next_probe(ports) {
                        return probe;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let probe = tokio::time::timeout(Duration::from_secs(5), probe).await?;
            let thirty = Duration::from_secs(25)..=Duration::from_secs(30);
            assert!(thirty.contains(&probe), "{probe:?}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
    .unwrap();
}

/// When the kernel asks next whether somebody is at the other end of a connection between these ports.
///
/// Our port alone may be that of others, too: of connections to other servers, and of those that ended
/// a minute ago.
#[cfg(target_os = "linux")]
fn next_probe(ports: (i64, i64)) -> Option<Duration> {
    let [ours, theirs] = [ports.0, ports.1].map(|port| format!("0100007F:{port:04X}"));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let line = table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let line = line
        .into_iter()
        .find(|line| line[1] == ours && line[2] == theirs)?;
    // Timer 2 is that of keepalive; in hundredths of a second.
    let when = line[5].strip_prefix("02:")?;
    let when = u64::from_str_radix(when, 16).unwrap();
    Some(Duration::from_millis(when * 10))
}

#[tokio::test]
async fn a_statement_whose_future_is_gone_is_gone_from_the_server_and_the_slot_is_free() {
    with_postgres(1, async |db| {
            let conn = db.lease().await?;
            let slow = conn.query("SELECT pg_sleep(30)", &[]);
            tokio::time::timeout(Duration::from_millis(50), slow).await.unwrap_err();
            let begun = Instant::now();
            drop(conn);
            let conn = db.lease().await?;
            let running: i64 = conn
                .query_one_as(
                    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep%' AND state = 'active' \
                     AND pid <> pg_backend_pid()",
                    &[],
                )
                .await?;
            assert_eq!(running, 0);
            println!("free after {:?}", begun.elapsed());
            conn.release().await;
            Ok(())
    }).await;
}

/// What a session is not to have of an earlier user: settings, role, counts of locks, prepared
/// statements, cursors and channels, a temporary table.
type Traces = (String, String, i64, i64, i64, i64, Option<String>);

async fn traces(session: &Session) -> Result<Traces, Error> {
    let sql = "SELECT current_setting('search_path'), current_setting('role'), \
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'), \
        (SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'), \
        (SELECT count(*) FROM pg_cursors WHERE name = 'mine'), \
        (SELECT count(*) FROM pg_listening_channels()), \
        to_regclass('pg_temp.left_over')::text";
    session.query_one_as(sql, &[]).await
}

fn no_traces() -> Traces {
    (
        "\"$user\", public".to_owned(),
        "none".to_owned(),
        0,
        0,
        0,
        0,
        None,
    )
}

#[tokio::test]
async fn the_next_user_sees_nothing_of_the_last_ones_session() {
    with_postgres(1, async |db| {
            for is_dropped in [false, true] {
                let conn = db.lease().await?;
                conn.batch(
                    "SET search_path TO nowhere; SET ROLE pg_read_all_data; CREATE TEMP TABLE left_over (); \
                     LISTEN gossip; PREPARE mine AS SELECT 1; SELECT pg_advisory_lock(7); \
                     BEGIN; DECLARE mine CURSOR WITH HOLD FOR SELECT 1; COMMIT",
                )
                .await?;
                match is_dropped {
                    true => drop(conn),
                    false => conn.release().await,
                }
                let conn = db.lease().await?;
                assert_eq!(traces(&conn).await?, no_traces(), "dropped: {is_dropped}");
                conn.release().await;
            }
            Ok(())
    }).await;
}

#[tokio::test]
async fn the_next_user_sees_nothing_of_a_transaction_that_had_its_own_connection() {
    with_postgres(1, async |db| {
        for (is_failing, more) in [
            (false, ""),
            (true, ""),
            // What has such words is committed and then made clean in two steps.
            (false, "PREPARE mine AS SELECT 1"),
        ] {
            let done = async_with(db.begin(), async |tx| {
                for sql in [
                    "SET search_path TO nowhere",
                    "SET ROLE pg_read_all_data",
                    "CREATE TEMP TABLE left_over ()",
                    "LISTEN gossip",
                    "SELECT pg_advisory_lock(7)",
                    "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
                    more,
                ] {
                    tx.execute(sql, &[]).await?;
                }
                if is_failing { Err("no".into()) } else { Ok(()) }
            });
            assert_eq!(done.await.is_err(), is_failing);
            let conn = db.lease().await?;
            assert_eq!(
                traces(&conn).await?,
                no_traces(),
                "failing: {is_failing}, {more}"
            );
            conn.release().await;
        }
        assert_eq!(db.status().size, 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_is_refused_is_told_and_its_connection_used_again() {
    with_postgres(1, async |db| {
        let conn = db.lease().await?;
        let schema = "CREATE TABLE t (x int UNIQUE DEFERRABLE INITIALLY DEFERRED)";
        conn.batch(schema).await?;
        let backend = "SELECT pg_backend_pid()";
        let pid: i32 = conn.query_one_as(backend, &[]).await?;
        conn.release().await;
        let refused = async_with(db.begin(), async |tx| {
            tx.execute("SET search_path TO public, nowhere", &[])
                .await?;
            tx.execute("INSERT INTO t VALUES (1), (1)", &[]).await?;
            Ok(())
        });
        let refused = refused.await.unwrap_err();
        assert_eq!(kind(&refused), ErrorKind::Refused);
        assert!(refused.to_string().contains("23505"), "{refused}");
        let conn = db.lease().await?;
        assert_eq!(traces(&conn).await?, no_traces());
        assert_eq!(conn.query_one_as::<i32>(backend, &[]).await?, pid);
        assert_eq!(
            conn.query_one_as::<i64>("SELECT count(*) FROM t", &[])
                .await?,
            0
        );
        conn.release().await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_transaction_is_as_isolated_as_it_asks_for() {
    with_connection(async |conn| {
        let begin = conn
            .begin()
            .isolation(Isolation::Serializable)
            .read_only()
            .deferrable();
        let settings = withal_scope::with_ref(begin, async |tx| {
            let write = tx.execute("CREATE TABLE t ()", &[]).await.unwrap_err();
            assert_eq!(write.code(), Some("25006"));
            Err::<(), BoxError>("seen".into())
        });
        assert!(settings.await.unwrap_err().to_string().contains("seen"));
        let begin = conn.begin().isolation(Isolation::RepeatableRead);
        let level: String = withal_scope::with_ref(begin, async |tx| {
            Ok(tx.query_one_as("SHOW transaction_isolation", &[]).await?)
        })
        .await?;
        assert_eq!(level, "repeatable read");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn tables_are_copied_as_bytes() {
    with_connection(async |conn| {
        conn.batch("CREATE TABLE t (i bigint, s text)").await?;
        let rows: String = (0..10_000).map(|i| format!("{i}\trow {i}\n")).collect();
        let copied = conn.copy_in("COPY t FROM STDIN", rows.as_bytes()).await?;
        assert_eq!(copied, 10_000);
        let mut out = Vec::new();
        conn.copy_out("COPY (SELECT * FROM t ORDER BY i) TO STDOUT", &mut out)
            .await?;
        assert_eq!(out, rows.as_bytes());
        let refused = conn
            .copy_in("COPY t FROM STDIN", &b"no number\tx\n"[..])
            .await;
        assert_eq!(refused.unwrap_err().code(), Some("22P02"));
        // Given up half way: nothing is copied, and the session is free.
        let (never, mut writer) = tokio::io::duplex(64);
        tokio::io::AsyncWriteExt::write_all(&mut writer, b"1\tx\n").await?;
        let copying = conn.copy_in("COPY t FROM STDIN", never);
        tokio::time::timeout(Duration::from_millis(100), copying)
            .await
            .unwrap_err();
        let count: i64 = conn.query_one_as("SELECT count(*) FROM t", &[]).await?;
        assert_eq!(count, 10_000);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_collides_is_done_again() {
    async_with(postgres(), async |server| {
        let database = open(&server.url()).max_connections(8);
        scope(async |s| {
            let db = s.enter(database).await?.clone();
            let setup = db.lease().await?;
            setup
                .batch("CREATE TABLE c (n bigint); INSERT INTO c VALUES (0)")
                .await?;
            setup.release().await;
            for _ in 0..8 {
                let db = db.clone();
                let _task = s.spawn(async move {
                    scope(async |s| {
                        let conn = s.enter(db.acquire()).await?;
                        for _ in 0..10 {
                            retry_serializable(conn, 1000, async |tx| {
                                let n: i64 = tx.query_one_as("SELECT n FROM c", &[]).await?;
                                tx.execute("UPDATE c SET n = $1", params![n + 1]).await?;
                                Ok(())
                            })
                            .await?;
                        }
                        Ok(())
                    })
                    .await?;
                    Ok(())
                });
            }
            Ok(())
        })
        .await?;
        let database = open(&server.url());
        scope(async |s| {
            let db = s.enter(database).await?;
            let conn = s.enter(db.acquire()).await?;
            let n: i64 = conn.query_one_as("SELECT n FROM c", &[]).await?;
            assert_eq!(n, 80);
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_unknown() {
    let server = postgres();
    async_with(server, async |server| {
        let schema = "CREATE TABLE t (x int)";
        let here = open(&server.url());
        scope(async |s| {
            let here = s.enter(here).await?;
            here.lease().await?.batch(schema).await?;
            let proxy = s.enter(Proxy::to(server.addr())).await?.handle();
            let there = open(&server.url_at(proxy.addr()));
            let there = s.enter(there).await?.clone();
            let committing = async {
                let mut conn = there.lease().await.unwrap();
                let ended = with_ref(conn.begin(), async |tx| {
                    tx.execute("INSERT INTO t VALUES (1)", &[]).await?;
                    proxy.freeze(Direction::ToClient);
                    Ok(())
                });
                ended.await.unwrap_err()
            };
            let breaking = async {
                let conn = here.lease().await?;
                let is_there = "SELECT count(*) FROM t";
                while conn.query_one_as::<i64>(is_there, &[]).await? == 0 {}
                proxy.reset().await;
                Ok::<(), BoxError>(())
            };
            let (error, broken) = tokio::join!(committing, breaking);
            broken?;
            assert_eq!(kind(&error), ErrorKind::CommitUnknown);
            assert!(error.to_string().contains("committed or not"), "{error}");
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_request_to_cancel_that_was_given_up_hits_nobody_else() {
    const SLEEPING: &str = "SELECT count(*) FROM pg_stat_activity \
        WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'";
    async_with(postgres(), async |server| {
        let here = open(&server.url());
        scope(async |s| {
            let here = s.enter(here).await?;
            let here = here.lease().await?;
            let proxy = s.enter(Proxy::to(server.addr())).await?.handle();
            // Who asks for TLS waits for an answer to that first.
            let there = open(&format!("{}?sslmode=disable", server.url_at(proxy.addr())));
            let there = s.enter(there).await?;
            let mut conn = there.lease().await?;
            assert!(give_up(conn.batch("SELECT pg_sleep(0.3)")).await);
            // It asks to cancel that, over a connection that does not get to the server.
            proxy.hold();
            let before = proxy.status().accepted;
            let asked = async {
                let _ = proxy.wait_for(|status| status.accepted > before).await;
                // Until it has written, too.
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            tokio::select! {
                ended = conn.batch("SELECT 1") => panic!("it asked nobody: {ended:?}"),
                () = asked => {}
            }
            while here.query_one_as::<i64>(SLEEPING, &[]).await? > 0 {}
            let next = with_ref(conn.begin(), async |tx| {
                tx.execute("SELECT pg_sleep(0.3)", &[]).await?;
                Ok(())
            });
            let resuming = async {
                let began = Instant::now();
                // One that did not wait for the request is seen, and would be hit.
                while began.elapsed() < Duration::from_millis(100)
                    && here.query_one_as::<i64>(SLEEPING, &[]).await? == 0
                {}
                proxy.resume().await?;
                Ok::<(), BoxError>(())
            };
            let (next, resumed) = tokio::join!(next, resuming);
            resumed?;
            next?;
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn what_the_driver_prepared_is_there_for_the_next_user_or_the_session_is_not() {
    with_postgres(1, async |db| {
        let conn = db.lease().await?;
        let types = "CREATE TYPE a AS ENUM ('x'); CREATE TYPE b AS ENUM ('y'); \
                CREATE TYPE c AS ENUM ('z')";
        conn.batch(types).await?;
        let _ = conn.query("SELECT 'x'::a", &[]).await?;
        conn.release().await;
        let conn = db.lease().await?;
        let _ = conn.query("SELECT 'y'::b", &[]).await?;
        assert_eq!(db.pool().counters().created, 1);
        conn.execute("DISCARD ALL", &[]).await?;
        conn.release().await;
        let conn = db.lease().await?;
        let _ = conn.query("SELECT 'z'::c", &[]).await?;
        assert_eq!(db.pool().counters().created, 2);
        conn.release().await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn statements_given_up_while_they_are_prepared_do_not_pile_up() {
    with_postgres(1, async |db| {
        for number in 0..200 {
            let conn = db.lease().await?;
            let sql = format!("SELECT {number}");
            give_up(conn.query(&sql, &[])).await;
        }
        let conn = db.lease().await?;
        let kept: i64 = conn
            .query_one_as("SELECT count(*) FROM pg_prepared_statements", &[])
            .await?;
        assert!(kept < 100, "{kept}");
        conn.release().await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn the_clients_own_client_may_be_used_and_dropped_anywhere() {
    with_postgres(1, async |db| {
        let conn = db.lease().await?;
        conn.batch("CREATE TABLE t (x int)").await?;
        let client = conn.postgres().await?.unwrap();
        client
            .batch_execute("BEGIN; INSERT INTO t VALUES (1)")
            .await?;
        let slow = client.batch_execute("SELECT pg_sleep(30)");
        tokio::time::timeout(Duration::from_millis(20), slow)
            .await
            .unwrap_err();
        conn.release().await;
        let conn = db.lease().await?;
        let found: (i64, i64) = conn
            .query_one_as(
                "SELECT (SELECT count(*) FROM t), (SELECT count(*) FROM pg_stat_activity \
                     WHERE wait_event = 'PgSleep')",
                &[],
            )
            .await?;
        assert_eq!(found, (0, 0));
        conn.release().await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn statements_are_answered_while_large_rows_of_a_cursor_wait_to_be_read() {
    with_connection(async |conn| {
        let conn = &*conn;
        with_ref(conn.cursor(LARGE, &[]).batch(100), async |rows| {
            let mut count = 0;
            while let Some(row) = rows.next().await? {
                assert_eq!(row.read::<&str>()?.len(), 100_000);
                count += 1;
                if count % 50 == 1 {
                    let other: i64 = conn
                        .query_one_as("SELECT $1::bigint", params![count])
                        .await?;
                    assert_eq!(other, count);
                }
            }
            assert_eq!(count, 400);
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

/// Rows that do not fit into what is between us and the server.
const LARGE: &str = "SELECT repeat('x', 100000) FROM generate_series(1, 400)";

#[tokio::test]
async fn the_client_of_the_driver_is_answered_while_large_rows_of_a_cursor_wait_to_be_read() {
    with_connection(async |conn| {
        let conn = &*conn;
        let client = conn.postgres().await?.unwrap();
        with_ref(conn.cursor(LARGE, &[]).batch(100), async |rows| {
            let mut count = 0;
            while let Some(row) = rows.next().await? {
                assert_eq!(row.read::<&str>()?.len(), 100_000);
                count += 1;
                if count % 50 == 1 {
                    let row = client.query_one("SELECT $1::bigint", &[&count]).await?;
                    assert_eq!(row.get::<_, i64>(0), count);
                }
            }
            assert_eq!(count, 400);
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn cursors_are_read_in_turn_and_at_once_with_statements_between() {
    with_connection(async |conn| {
        let conn = &*conn;
        with_ref(conn.cursor(LARGE, &[]).batch(30), async |outer| {
            with_ref(conn.cursor(LARGE, &[]), async |inner| {
                for _ in 0..50 {
                    assert!(outer.next().await?.is_some());
                    assert!(inner.next().await?.is_some());
                }
                let rest = async |rows: &mut Cursor<'_>| {
                    let mut count = 50;
                    while let Some(row) = rows.next().await? {
                        assert_eq!(row.read::<&str>()?.len(), 100_000);
                        count += 1;
                    }
                    Ok::<_, Error>(count)
                };
                let statements = async {
                    for number in 0..50 {
                        let found: i64 = conn
                            .query_one_as("SELECT $1::bigint", params![number])
                            .await?;
                        assert_eq!(found, number);
                    }
                    Ok::<_, Error>(())
                };
                let (outer, inner, done) = tokio::join!(rest(outer), rest(inner), statements);
                assert_eq!((outer?, inner?), (400, 400));
                Ok(done?)
            })
            .await?;
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_cursor_does_not_wait_for_a_statement_that_was_given_up() {
    with_connection(async |conn| {
        let conn = &*conn;
        let read = with_ref(conn.cursor(LARGE, &[]).batch(10), async |rows| {
            assert!(rows.next().await?.is_some());
            assert!(give_up(conn.query("SELECT pg_sleep(600)", &[])).await);
            while rows.next().await?.is_some() {}
            Ok(())
        });
        // What was cancelled has ended the transaction.
        assert_eq!(kind(&read.await.unwrap_err()), ErrorKind::Poisoned);
        let one: i64 = conn.query_one_as("SELECT 1::bigint", &[]).await?;
        assert_eq!(one, 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_error_in_rows_that_nobody_has_read_yet_is_not_committed() {
    with_connection(async |conn| {
        conn.batch("CREATE TABLE t (x int)").await?;
        let conn = &*conn;
        let divided = "SELECT 1 / (i - 1000) FROM generate_series(1, 2000) AS i";
        let read = with_ref(conn.cursor(divided, &[]).batch(600), async |rows| {
            conn.execute("INSERT INTO t VALUES (1)", &[]).await?;
            for _ in 0..10 {
                assert!(rows.next().await?.is_some());
            }
            Ok(())
        });
        assert_eq!(kind(&read.await.unwrap_err()), ErrorKind::Poisoned);
        let count: i64 = conn.query_one_as("SELECT count(*) FROM t", &[]).await?;
        assert_eq!(count, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn an_exclusive_cursor_ends_no_transaction() {
    with_connection(async |conn| {
        conn.batch("CREATE TABLE t (x int)").await?;
        let failed: Result<(), _> = with_ref(conn.begin(), async |tx| {
            tx.execute("INSERT INTO t VALUES (1)", &[]).await?;
            let ended = with_ref(tx.exclusive_cursor("COMMIT", &[]), async |rows| {
                Ok(rows.next().await?.is_none())
            });
            assert_eq!(kind(&ended.await.unwrap_err()), ErrorKind::Refused);
            let count: i64 = tx.query_one_as("SELECT count(*) FROM t", &[]).await?;
            assert_eq!(count, 1);
            Err("no".into())
        })
        .await;
        assert!(failed.unwrap_err().to_string().contains("no"));
        let count: i64 = conn.query_one_as("SELECT count(*) FROM t", &[]).await?;
        assert_eq!(count, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_session_that_was_lost_is_not_for_the_next_user() {
    with_postgres(1, async |db| {
        for _ in 0..20 {
            let conn = db.lease().await?;
            let lost = conn.query("SELECT pg_terminate_backend(pg_backend_pid())", &[]);
            assert_eq!(lost.await.unwrap_err().kind(), ErrorKind::ConnectionLost);
            conn.release().await;
            let conn = db.lease().await?;
            let _ = conn.query("SELECT 1", &[]).await?;
            conn.release().await;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_session_that_waits_for_a_copy_is_not_for_the_next_user() {
    const COPY: &str = "COPY t FROM STDIN";
    with_postgres(1, async |db| {
        let conn = db.lease().await?;
        conn.batch("CREATE TABLE t (x int)").await?;
        conn.release().await;
        for is_batch in [false, true] {
            let conn = db.lease().await?;
            let asked = match is_batch {
                false => conn.execute(COPY, &[]).await.map(drop),
                true => conn.batch(COPY).await,
            };
            // It is not sent: the session would wait for what nobody gives it.
            assert_eq!(asked.unwrap_err().kind(), ErrorKind::Refused);
            conn.release().await;
            let conn = db.lease().await?;
            let _ = conn.query("SELECT 1", &[]).await?;
            conn.release().await;
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_sent_costs_no_session() {
    with_postgres(1, async |db| {
        let conn = db.lease().await?;
        for refused in [
            conn.execute("SELECT '\0'", &[]).await.map(drop),
            conn.batch("SELECT '\0'").await,
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Refused);
        }
        let _ = conn.query("SELECT 1", &[]).await?;
        conn.release().await;
        let conn = db.lease().await?;
        let _ = conn.query("SELECT 1", &[]).await?;
        assert_eq!(db.pool().counters().created, 1);
        conn.release().await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn rows_that_a_cursor_has_locked_stay_locked_if_it_is_left_early() {
    with_postgres(2, async |db| {
        let mut conn = db.lease().await?;
        conn.batch("CREATE TABLE t AS SELECT generate_series(1, 10) AS i")
            .await?;
        with_ref(conn.begin(), async |tx| {
            let locking = "SELECT i FROM t FOR UPDATE";
            with_ref(tx.exclusive_cursor(locking, &[]), async |rows| {
                assert!(rows.next().await?.is_some());
                Ok(())
            })
            .await?;
            let other = db.lease().await?;
            let free = "SELECT i FROM t FOR UPDATE SKIP LOCKED";
            assert_eq!(other.query(free, &[]).await?.len(), 0);
            other.release().await;
            Ok(())
        })
        .await?;
        conn.release().await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_cursor_has_changed_is_kept_if_it_is_left_early() {
    const COUNT: &str = "SELECT count(*) FROM t";
    // Much of it is on its way still when the block is left.
    const INSERT: &str = "WITH n AS (INSERT INTO t SELECT generate_series(1, 200000) RETURNING i) \
        SELECT i FROM n";
    with_connection(async |conn| {
        conn.batch("CREATE TABLE t (i bigint)").await?;
        for (times, reads) in [(1, 1), (2, 0)] {
            with_ref(conn.begin(), async |tx| {
                with_ref(tx.exclusive_cursor(INSERT, &[]), async |rows| {
                    for _ in 0..reads {
                        assert!(rows.next().await?.is_some());
                    }
                    Ok(())
                })
                .await?;
                let failed = with_ref(tx.exclusive_cursor(INSERT, &[]), async |rows| {
                    assert!(rows.next().await?.is_some());
                    Err::<(), BoxError>("no".into())
                });
                assert!(failed.await.unwrap_err().to_string().contains("no"));
                Ok(())
            })
            .await?;
            let count: i64 = conn.query_one_as(COUNT, &[]).await?;
            assert_eq!(count, times * 200_000);
        }
        with_ref(conn.exclusive_cursor(INSERT, &[]), async |rows| {
            assert!(rows.next().await?.is_some());
            Ok(())
        })
        .await?;
        let count: i64 = conn.query_one_as(COUNT, &[]).await?;
        assert_eq!(count, 600_000);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_another_one_at_its_end_is_not_committed() {
    const WORDS: [&str; 6] = [
        "COMMIT; BEGIN",
        "ROLLBACK; BEGIN",
        "COMMIT; BEGIN; SAVEPOINT withal",
        "ROLLBACK AND CHAIN",
        "/**/ COMMIT AND CHAIN",
        "COMMIT",
    ];
    with_connection(async |conn| {
        conn.batch("CREATE TABLE t (x int)").await?;
        for words in WORDS {
            for is_ours in [true, false] {
                let ended = with_ref(conn.begin(), async |tx| {
                    tx.execute("INSERT INTO t VALUES (1)", &[]).await?;
                    match is_ours {
                        true => tx.batch(words).await?,
                        false => {
                            let client = tx.postgres().await?.unwrap();
                            client.batch_execute(words).await?;
                        }
                    }
                    tx.execute("INSERT INTO t VALUES (2)", &[]).await?;
                    Ok(())
                });
                let error = ended.await.unwrap_err();
                assert_eq!(kind(&error), ErrorKind::Poisoned, "{words}");
                assert!(error.to_string().contains("behind its back"), "{error}");
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_transaction_is_committed_whatever_savepoints_and_settings_it_has_had() {
    with_connection(async |conn| {
        conn.batch("CREATE TABLE t (x int)").await?;
        for is_empty in [true, false] {
            with_ref(conn.begin(), async |tx| {
                if !is_empty {
                    tx.execute("SAVEPOINT mine", &[]).await?;
                }
                tx.batch("SET TRANSACTION READ WRITE; SAVEPOINT theirs")
                    .await?;
                let undone: Result<(), _> = with_ref(tx.begin(), async |inner| {
                    inner.batch("INSERT INTO t VALUES (1)").await?;
                    Err::<(), BoxError>("no".into())
                })
                .await;
                assert!(undone.is_err());
                with_ref(tx.begin(), async |inner| {
                    Ok(inner.batch("INSERT INTO t VALUES (2)").await?)
                })
                .await?;
                tx.batch("ROLLBACK TO SAVEPOINT theirs; RELEASE SAVEPOINT theirs")
                    .await?;
                if !is_empty {
                    tx.execute("ROLLBACK TO SAVEPOINT mine", &[]).await?;
                }
                tx.batch("INSERT INTO t VALUES (3)").await?;
                Ok(())
            })
            .await?;
        }
        let rows: Vec<i64> = conn.query_as("SELECT x FROM t", &[]).await?;
        assert_eq!(rows, [3, 3]);
        Ok(())
    })
    .await;
}

/// The next user has the same session, and nothing that the last one has prepared by SQL.
async fn check_nothing_prepared(db: &Database) -> Result<(), BoxError> {
    let conn = db.lease().await?;
    let theirs = "SELECT count(*) FROM pg_prepared_statements WHERE from_sql";
    let theirs: i64 = conn.query_one_as(theirs, &[]).await?;
    assert_eq!((theirs, db.pool().counters().created), (0, 1));
    conn.release().await;
    Ok(())
}

#[tokio::test]
async fn what_was_prepared_before_a_transaction_is_not_for_the_next_user() {
    with_postgres(1, async |db| {
        let mut conn = db.lease().await?;
        conn.execute("PREPARE mine AS SELECT 1", &[]).await?;
        with_ref(conn.begin(), async |tx| {
            Ok(tx.execute("SELECT 2", &[]).await?)
        })
        .await?;
        conn.release().await;
        check_nothing_prepared(&db).await?;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_was_prepared_inside_of_a_do_is_not_for_the_next_user() {
    const DO: &str = "DO $$ BEGIN EXECUTE 'PRE' || 'PARE mine AS SELECT 1'; END $$";
    with_postgres(1, async |db| {
        for is_in_transaction in [false, true] {
            let mut conn = db.lease().await?;
            match is_in_transaction {
                false => conn.execute(DO, &[]).await?,
                true => with_ref(conn.begin(), async |tx| Ok(tx.execute(DO, &[]).await?)).await?,
            };
            conn.release().await;
            check_nothing_prepared(&db).await?;
        }
        Ok(())
    })
    .await;
}

const SHORT: &str = "INSERT INTO short VALUES ($1)";

#[tokio::test]
async fn names_mean_to_a_user_what_they_are_to_it() {
    with_postgres(1, async |db| {
        let conn = db.lease().await?;
        conn.batch("CREATE TABLE short (v text)").await?;
        conn.release().await;
        for is_batch in [false, true] {
            for ty in ["int", "text", "bytea"] {
                let mut conn = db.lease().await?;
                let create = format!("CREATE TEMP TABLE short (v {ty}, w {ty})");
                match is_batch {
                    false => conn.execute(&create, &[]).await.map(drop)?,
                    true => conn.batch(&create).await?,
                }
                with_ref(conn.begin(), async |tx| {
                    match ty {
                        "int" => tx.execute(SHORT, params![7]).await?,
                        "text" => tx.execute(SHORT, params!["abc"]).await?,
                        _ => tx.execute(SHORT, params![b"\0\xff"]).await?,
                    };
                    assert_eq!(tx.query("SELECT * FROM short", &[]).await?.len(), 1);
                    Ok(())
                })
                .await?;
                conn.release().await;
                // The lasting one.
                let mut conn = db.lease().await?;
                with_ref(conn.begin(), async |tx| {
                    tx.execute(SHORT, params!["abc"]).await?;
                    let row = tx.query("SELECT * FROM short", &[]).await?.pop();
                    assert_eq!(row.unwrap().read::<(String,)>()?.0, "abc");
                    Ok(())
                })
                .await?;
                conn.release().await;
            }
        }
        assert_eq!(db.pool().counters().created, 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_table_that_others_have_altered_is_used_as_it_is() {
    with_postgres(2, async |db| {
        let mut conn = db.lease().await?;
        let other = db.lease().await?;
        other.batch("CREATE TABLE short (v int)").await?;
        let all = "SELECT * FROM short";
        let alter = async |ty: &str| {
            let alter = format!("ALTER TABLE short ALTER COLUMN v TYPE {ty} USING NULL");
            other.batch(&alter).await
        };
        for _ in 0..2 {
            conn.execute(SHORT, params![1]).await?;
            let _ = conn.query(all, &[]).await?;
        }
        alter("text").await?;
        conn.execute(SHORT, params!["abc"]).await?;
        let _ = conn.query(all, &[]).await?;
        alter("bytea").await?;
        conn.execute(SHORT, params![b"\0"]).await?;
        alter("int").await?;
        with_ref(conn.exclusive_cursor(SHORT, params![1]), async |rows| {
            assert!(rows.next().await?.is_none());
            Ok(())
        })
        .await?;
        // What is wrong remains so.
        for _ in 0..3 {
            let wrong = conn.execute(SHORT, params!["abc"]).await.unwrap_err();
            assert_eq!(wrong.code(), Some("22P02"));
        }
        // A transaction is ended by it, once.
        alter("text").await?;
        for is_first in [true, false] {
            let ended = with_ref(conn.begin(), async |tx| {
                Ok(tx.execute(SHORT, params!["abc"]).await?)
            });
            assert_eq!(ended.await.is_err(), is_first);
        }
        // And so is one that was begun by hand; the error says why.
        let _ = conn.query(all, &[]).await?;
        let _ = conn.query(all, &[]).await?;
        alter("int").await?;
        conn.execute("BEGIN", &[]).await?;
        let stale = conn.query(all, &[]).await.unwrap_err();
        assert_eq!(stale.code(), Some("0A000"));
        conn.execute("ROLLBACK", &[]).await?;
        let _ = conn.query(all, &[]).await?;
        conn.release().await;
        other.release().await;
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_given_up_by_way_of_the_drivers_client_is_not_waited_for_and_not_committed() {
    const ADD: &str = "INSERT INTO t VALUES (1)";
    const SLOW: &str = "INSERT INTO t SELECT 2 FROM pg_sleep(3)";
    with_connection(async |conn| {
        conn.batch("CREATE TABLE t (x int)").await?;
        let ended = with_ref(conn.begin(), async |tx| {
            tx.execute(ADD, &[]).await?;
            let client = tx.postgres().await?.unwrap();
            assert!(give_up(client.batch_execute(SLOW)).await);
            Ok(())
        });
        assert_eq!(kind(&ended.await.unwrap_err()), ErrorKind::Poisoned);
        with_ref(conn.begin(), async |tx| {
            tx.execute(ADD, &[]).await?;
            let ended = with_ref(tx.begin(), async |inner| {
                let client = inner.postgres().await?.unwrap();
                assert!(give_up(client.batch_execute(SLOW)).await);
                Ok(())
            });
            assert_eq!(kind(&ended.await.unwrap_err()), ErrorKind::Poisoned);
            let client = tx.postgres().await?.unwrap();
            Ok(client.batch_execute(ADD).await?)
        })
        .await?;
        let rows: Vec<i64> = conn.query_as("SELECT x FROM t", &[]).await?;
        assert_eq!(rows, [1, 1]);
        Ok(())
    })
    .await;
}
