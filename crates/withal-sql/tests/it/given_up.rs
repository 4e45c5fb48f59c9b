//! Statements whose futures are dropped, and what becomes of the transaction around them.

use std::time::Duration;

use withal_core::BoxError;
use withal_scope::{scope, with_ref};
use withal_sql::{ErrorKind, params};

use crate::support::{balances, each, each_connection, give_up, kind, open};

const ADD: &str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";

#[test]
fn a_transaction_with_a_statement_given_up_is_not_committed() {
    each_connection(async |_, conn| {
        let swallowed = with_ref(conn.begin(), async |tx| {
            while !give_up(tx.execute(ADD, params![-1, 1])).await {}
            let refused = tx.execute(ADD, params![100, 2]).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Poisoned);
            Ok(())
        })
        .await;
        assert_eq!(kind(&swallowed.unwrap_err()), ErrorKind::Poisoned);
        assert_eq!(balances(conn).await?, (1000, 1000));
        Ok(())
    });
}

#[test]
fn a_statement_given_up_in_a_savepoint_costs_the_savepoint_alone() {
    each_connection(async |_, conn| {
        with_ref(conn.begin(), async |tx| {
            tx.execute(ADD, params![-1, 1]).await?;
            let inner = with_ref(tx.begin(), async |inner| {
                while !give_up(inner.execute(ADD, params![-1, 1])).await {}
                Ok(())
            });
            assert_eq!(kind(&inner.await.unwrap_err()), ErrorKind::Poisoned);
            tx.execute(ADD, params![1, 2]).await?;
            Ok(())
        })
        .await?;
        assert_eq!(balances(conn).await?, (999, 1001));
        // What was given up around a savepoint is not mended by the end of that.
        let outer = with_ref(conn.begin(), async |tx| {
            while !give_up(tx.execute(ADD, params![-1, 1])).await {}
            let inner: Result<(), _> =
                with_ref(tx.begin(), async |_| Err::<(), BoxError>("no".into())).await;
            assert_eq!(kind(&inner.unwrap_err()), ErrorKind::Poisoned);
            Ok(())
        });
        assert_eq!(kind(&outer.await.unwrap_err()), ErrorKind::Poisoned);
        assert_eq!(balances(conn).await?, (999, 1001));
        Ok(())
    });
}

#[test]
fn what_is_cancelled_is_counted_and_what_has_ended_is_not() {
    const LONG: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n \
        WHERE x < 100000000) SELECT count(*) FROM n";
    each(async |_, url| {
        let database = open(&url).max_connections(1);
        scope(async |s| {
            let db = s.enter(database).await?;
            for times in 1..=2 {
                let conn = db.lease().await?;
                let _ = balances(&conn).await?;
                assert_eq!(db.cancelled_statements(), times - 1);
                let slow = conn.query(LONG, &[]);
                let limit = Duration::from_millis(100);
                tokio::time::timeout(limit, slow).await.unwrap_err();
                conn.release().await;
                let conn = db.lease().await?;
                let _ = balances(&conn).await?;
                assert_eq!(db.cancelled_statements(), times);
                conn.release().await;
            }
            Ok(())
        })
        .await?;
        Ok(())
    });
}

#[test]
fn a_statement_given_up_outside_of_a_transaction_is_over_before_the_next() {
    each_connection(async |_, conn| {
        for _ in 0..20 {
            give_up(conn.execute(ADD, params![1, 1])).await;
        }
        let (first, second) = balances(conn).await?;
        assert!((1000..=1020).contains(&first), "{first}");
        assert_eq!(second, 1000);
        // Nothing of it comes later.
        assert_eq!(balances(conn).await?, (first, second));
        Ok(())
    });
}
