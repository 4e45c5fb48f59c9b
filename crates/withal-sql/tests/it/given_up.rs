//! Statements whose futures are dropped, and what becomes of the transaction around them.

use withal_core::BoxError;
use withal_scope::with_ref;
use withal_sql::{ErrorKind, params};

use crate::support::{balances, each_connection, give_up, kind};

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
