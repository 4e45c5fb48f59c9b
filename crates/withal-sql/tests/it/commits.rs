//! A `COMMIT` whose future is dropped while the server does it.

use std::time::Duration;

use withal_core::BoxError;
use withal_pool::Cause;
use withal_scope::{async_with, scope, with_ref};
use withal_sql::{Database, Session};
use withal_testkit::servers::{PostgresServer, postgres};

use crate::support::{noticed, open};

/// A row whose commit takes so many tenths of a second; odd ones are refused then.
const SLOW: &str = "CREATE TABLE slow (i int);
    CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_sleep(NEW.i / 10.0);
        IF NEW.i % 2 = 1 THEN RAISE 'number % is odd', NEW.i; END IF;
        RETURN NULL;
    END $$;
    CREATE CONSTRAINT TRIGGER look AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION look()";
const INSERT: &str = "INSERT INTO slow VALUES ($1)";
const COMMITTING: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE state = 'active' AND query LIKE '%COMMIT' AND pid <> pg_backend_pid()";

async fn count(session: &Session, number: i64) -> Result<i64, BoxError> {
    let count = "SELECT count(*) FROM slow WHERE i = $1";
    Ok(session.query_one_as(count, &[number.into()]).await?)
}

async fn committing(session: &Session) -> Result<i64, BoxError> {
    Ok(session.query_one_as(COMMITTING, &[]).await?)
}

/// Runs the test with a pool of at most so many connections, and beside it with one of an outsider.
async fn with_slow(
    max_connections: usize,
    test: impl AsyncFnOnce(Database, &Session) -> Result<(), BoxError>,
) {
    let tested = async_with(postgres(), async |server: &mut PostgresServer| {
        let (database, outsider) = (open(&server.url()), open(&server.url()));
        scope(async |s| {
            let db = s.enter(database.max_connections(max_connections)).await?;
            let outsider = s.enter(outsider).await?;
            let outsider = s.enter(outsider.acquire()).await?;
            outsider.batch(SLOW).await?;
            // From now on it is listened.
            let _ = noticed("");
            test(db.clone(), outsider).await
        })
        .await?;
        Ok(())
    });
    tested.await.unwrap();
}

/// Inserts this number, and drops all of the transaction while the server commits it.
async fn drop_in_commit(
    conn: &mut Session,
    number: i64,
    outsider: &Session,
) -> Result<(), BoxError> {
    let work = with_ref(conn.begin(), async |tx| {
        Ok(tx.execute(INSERT, &[number.into()]).await?)
    });
    tokio::select! {
        ended = work => panic!("{ended:?}"),
        begun = until_it_commits(outsider) => begun,
    }
}

async fn until_it_commits(outsider: &Session) -> Result<(), BoxError> {
    while committing(outsider).await? == 0 {}
    Ok(())
}

#[tokio::test]
async fn a_scope_that_is_dropped_in_commit_finishes_it_and_its_failure_is_told() {
    with_slow(1, async |db, outsider| {
        for number in [4, 3] {
            let work = scope(async |s| {
                let conn = s.enter(db.acquire()).await?;
                s.with(conn.begin(), async |_, tx| {
                    Ok(tx.execute(INSERT, &[number.into()]).await?)
                })
                .await?;
                Ok(())
            });
            tokio::select! {
                ended = work => panic!("{ended:?}"),
                begun = until_it_commits(outsider) => begun?,
            }
            let conn = db.lease().await?;
            assert_eq!(count(&conn, number).await?, i64::from(number == 4));
            conn.release().await;
        }
        assert_eq!(noticed("number 3 is odd").len(), 1);
        assert_eq!(db.pool().counters().created, 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_is_finished_by_who_comes_next_and_its_failure_is_told() {
    with_slow(1, async |db, outsider| {
        let mut conn = db.lease().await?;
        for number in [6, 5] {
            drop_in_commit(&mut conn, number, outsider).await?;
            assert_eq!(count(&conn, number).await?, i64::from(number == 6));
        }
        assert_eq!(noticed("number 5 is odd").len(), 1);
        // It goes on as if nothing had been.
        with_ref(conn.begin(), async |tx| {
            Ok(tx.execute(INSERT, &[0.into()]).await?)
        })
        .await?;
        assert_eq!(count(outsider, 0).await?, 1);
        for (number, is_released) in [(8, true), (7, true), (10, false), (9, false)] {
            drop_in_commit(&mut conn, number, outsider).await?;
            match is_released {
                true => conn.release().await,
                false => drop(conn),
            }
            conn = db.lease().await?;
            assert_eq!(committing(outsider).await?, 0);
            assert_eq!(count(&conn, number).await?, i64::from(number % 2 == 0));
        }
        assert_eq!(noticed("number 7 is odd").len(), 1);
        assert_eq!(noticed("number 9 is odd").len(), 1);
        conn.release().await;
        assert_eq!(db.pool().counters().created, 1);
        assert_eq!(db.cancelled_statements(), 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_is_dropped_and_takes_too_long_is_unknown_and_costs_no_slot() {
    with_slow(1, async |db, outsider| {
        let unknown = || noticed("a COMMIT was given up before its answer").len();
        let before = unknown();
        let mut conn = db.lease().await?;
        drop_in_commit(&mut conn, 300, outsider).await?;
        drop(conn);
        let conn = db.lease().await?;
        assert_eq!(count(&conn, 300).await?, 0);
        conn.release().await;
        assert_eq!(unknown(), before + 1);
        let counters = db.pool().counters();
        let ended =
            [Cause::ResetTimedOut, Cause::ResetFailed].map(|cause| counters.discarded_for(cause));
        assert_eq!(ended.iter().sum::<u64>(), 1, "{counters:?}");
        // The server sees that nobody is there any more.
        let gone = async {
            while committing(outsider).await? > 0 {}
            Ok::<(), BoxError>(())
        };
        tokio::time::timeout(Duration::from_secs(5), gone).await??;
        Ok(())
    })
    .await;
}
