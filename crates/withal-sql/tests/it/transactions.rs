//! Transactions and savepoints.

use std::time::Duration;

use withal_core::BoxError;
use withal_scope::{async_with, scope, with_ref};
use withal_sql::{Error, ErrorKind, Session, params};

use crate::support::{balances, each, each_connection, kind, open};

async fn transfer(session: &Session, amount: i64) -> Result<(), Error> {
    session
        .execute(
            "UPDATE accounts SET balance = balance - $1 WHERE id = 1",
            params![amount],
        )
        .await?;
    session
        .execute(
            "UPDATE accounts SET balance = balance + $1 WHERE id = 2",
            params![amount],
        )
        .await?;
    Ok(())
}

#[test]
fn a_block_that_succeeds_is_committed_and_any_other_is_not() {
    each_connection(async |_, conn| {
        with_ref(conn.begin(), async |tx| Ok(transfer(tx, 100).await?)).await?;
        assert_eq!(balances(conn).await?, (900, 1100));
        let failed: Result<(), _> = with_ref(conn.begin(), async |tx| {
            transfer(tx, 100).await?;
            Err("no".into())
        })
        .await;
        assert!(failed.unwrap_err().to_string().contains("no"));
        assert_eq!(balances(conn).await?, (900, 1100));
        // Refused half way, and the error thrown away.
        let swallowed = with_ref(conn.begin(), async |tx| {
            tx.execute(
                "UPDATE accounts SET balance = balance + 5 WHERE id = 2",
                &[],
            )
            .await?;
            let _refused = tx
                .execute("UPDATE accounts SET balance = -1", &[])
                .await
                .unwrap_err();
            Ok(())
        })
        .await;
        let after = balances(conn).await?;
        match swallowed {
            // Postgres undoes all of it, and that is told.
            Err(error) => {
                assert_eq!(kind(&error), ErrorKind::Poisoned);
                assert_eq!(after, (900, 1100));
            }
            // SQLite undoes the statement.
            Ok(()) => assert_eq!(after, (900, 1105)),
        }
        Ok(())
    });
}

#[test]
fn a_transaction_of_the_pool_has_a_connection_of_its_own() {
    each(async |_, url| {
        scope(async |s| {
            let database = open(&url).max_connections(1);
            let db = s
                .enter(database.acquire_timeout(Duration::from_millis(50)))
                .await?;
            let waited = async_with(db.begin(), async |tx| {
                transfer(tx, 100).await?;
                let other = async_with(db.begin(), async |_| Ok(())).await;
                Ok(other.unwrap_err())
            })
            .await?;
            assert_eq!(kind(&waited), ErrorKind::Acquire);
            assert!(waited.to_string().contains(file!()), "{waited}");
            let failed: Result<(), _> = async_with(db.begin(), async |tx| {
                transfer(tx, 100).await?;
                with_ref(tx.begin(), async |inner| Ok(transfer(inner, 100).await?)).await?;
                Err("no".into())
            })
            .await;
            assert!(failed.unwrap_err().to_string().contains("no"));
            let never = async_with(db.begin(), async |tx| {
                transfer(tx, 100).await?;
                std::future::pending::<Result<(), BoxError>>().await
            });
            tokio::time::timeout(Duration::from_millis(200), never)
                .await
                .unwrap_err();
            let read = async_with(db.begin().read_only(), async |tx| {
                assert!(transfer(tx, 100).await.is_err());
                Ok(())
            });
            let _is_poisoned_in_postgres = read.await;
            // Nothing was asked for in it.
            async_with(db.begin(), async |_| Ok(())).await?;
            let conn = s.enter(db.acquire()).await?;
            assert_eq!((conn.depth(), balances(conn).await?), (0, (900, 1100)));
            Ok(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn savepoints_end_by_themselves() {
    each_connection(async |_, conn| {
        with_ref(conn.begin(), async |tx| {
            transfer(tx, 1).await?;
            with_ref(tx.begin(), async |inner| Ok(transfer(inner, 10).await?)).await?;
            let failed: Result<(), _> = with_ref(tx.begin(), async |inner| {
                transfer(inner, 100).await?;
                Err("no".into())
            })
            .await;
            assert!(failed.is_err());
            let refused: Result<(), _> = with_ref(tx.begin(), async |inner| {
                with_ref(inner.begin(), async |innermost| {
                    Ok(transfer(innermost, 100).await?)
                })
                .await?;
                Ok(transfer(inner, 1_000_000).await?)
            })
            .await;
            assert!(refused.is_err());
            assert_eq!(balances(tx).await?, (989, 1011));
            Ok(())
        })
        .await?;
        assert_eq!(balances(conn).await?, (989, 1011));
        Ok(())
    });
}

#[test]
fn a_dropped_transaction_is_undone_before_anything_else() {
    each_connection(async |_, conn| {
        let never = with_ref(conn.begin(), async |tx| {
            transfer(tx, 100).await?;
            std::future::pending::<Result<(), BoxError>>().await
        });
        tokio::time::timeout(Duration::from_millis(200), never)
            .await
            .unwrap_err();
        assert_eq!(conn.depth(), 0);
        assert_eq!(balances(conn).await?, (1000, 1000));
        // A savepoint alone: what is around it goes on.
        with_ref(conn.begin(), async |tx| {
            transfer(tx, 1).await?;
            let never = with_ref(tx.begin(), async |inner| {
                transfer(inner, 100).await?;
                std::future::pending::<Result<(), BoxError>>().await
            });
            tokio::time::timeout(Duration::from_millis(200), never)
                .await
                .unwrap_err();
            transfer(tx, 1).await?;
            Ok(())
        })
        .await?;
        assert_eq!(balances(conn).await?, (998, 1002));
        Ok(())
    });
}

#[test]
fn a_transaction_ended_behind_its_back_is_not_committed() {
    each(async |_, url| {
        for words in ["COMMIT", "ROLLBACK", "/* no */ COMMIT"] {
            let database = open(&url);
            scope(async |s| {
                let db = s.enter(database).await?;
                let conn = s.enter(db.acquire()).await?;
                let ended = with_ref(conn.begin(), async |tx| {
                    transfer(tx, 0).await?;
                    Ok(tx.batch(words).await?)
                })
                .await;
                let error = ended.unwrap_err();
                let error: &Error = error.downcast_ref().unwrap();
                // At the end; or at once, where it can be seen before it is done.
                let kinds = [ErrorKind::Poisoned, ErrorKind::Refused];
                assert!(kinds.contains(&error.kind()), "{words}: {error}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn a_transaction_is_ended_by_its_block_alone() {
    each_connection(async |_, conn| {
        with_ref(conn.begin(), async |tx| {
            transfer(tx, 1).await?;
            for words in ["COMMIT", "rollback;", " END"] {
                let refused = tx.execute(words, &[]).await.unwrap_err();
                assert_eq!(refused.kind(), ErrorKind::Refused, "{words}");
            }
            tx.execute("SAVEPOINT mine", &[]).await?;
            transfer(tx, 100).await?;
            tx.execute("ROLLBACK TO SAVEPOINT mine", &[]).await?;
            transfer(tx, 1).await?;
            Ok(())
        })
        .await?;
        assert_eq!(balances(conn).await?, (998, 1002));
        Ok(())
    });
}

#[test]
fn what_a_user_leaves_open_is_undone_for_the_next_one() {
    each(async |_, url| {
        let database = open(&url).max_connections(1);
        scope(async |s| {
            let db = s.enter(database).await?;
            let db = db.clone();
            let first = db.lease().await?;
            first.execute("BEGIN", &[]).await?;
            transfer(&first, 100).await?;
            first.release().await;
            let second = db.lease().await?;
            assert_eq!(balances(&second).await?, (1000, 1000));
            second.release().await;
            // Dropped, not released.
            let third = db.lease().await?;
            third.execute("BEGIN", &[]).await?;
            transfer(&third, 100).await?;
            drop(third);
            let fourth = db.lease().await?;
            assert_eq!(balances(&fourth).await?, (1000, 1000));
            fourth.release().await;
            Ok(())
        })
        .await?;
        Ok(())
    });
}
