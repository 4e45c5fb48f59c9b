//! Transactions from the opening of their pool to the closing, cancelled at every await point in
//! every way.
//!
//! A program of its own: the kit counts the descriptors of the process.
#![cfg(feature = "postgres")]
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use withal_core::{ContextManager as _, Error};
use withal_proofs_pg::{Lab, Limits, Who};
use withal_scope::{async_with, scope};
use withal_sql::{Database, params};
use withal_testkit::Cancel;
use withal_testkit::servers::postgres;

const ADD: &str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";

async fn transfer(url: String) -> Result<(), Error> {
    scope(async move |s| {
        let db = s.enter(Database::open(url).max_connections(2)).await?;
        let conn = s.enter(db.acquire()).await?;
        s.with(conn.begin(), async |s, tx| {
            let _ = tx.execute(ADD, params![-100, 1]).await?;
            s.with(tx.begin(), async |_, inner| {
                let _ = inner.execute(ADD, params![100, 2]).await?;
                Ok(())
            })
            .await?;
            Ok(())
        })
        .await?;
        async_with(db.begin(), async |tx| {
            let _ = tx.execute(ADD, params![-100, 2]).await?;
            let _ = tx.execute(ADD, params![100, 1]).await?;
            Ok(())
        })
        .await?;
        Ok(())
    })
    .await
}

#[test]
fn a_transaction_cancelled_anywhere_in_any_way_leaves_nothing() {
    let server = postgres().enter().unwrap();
    let watch = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let lab = Lab::new(&server, Who::Withal, Limits::patient());
    let lab = watch.block_on(lab).unwrap();
    let report = Cancel::every_way().real_time().everywhere(
        || {
            watch.block_on(lab.put_right()).unwrap();
            let url = lab.url();
            async { drop(transfer(url).await) }
        },
        || {
            let check =
                async { Ok([lab.check_server().await?, lab.check_money().await?].concat()) };
            let wrong: withal_proofs_pg::Result<Vec<String>> = watch.block_on(check);
            match wrong.map_err(|error| error.to_string())? {
                wrong if wrong.is_empty() => Ok(()),
                wrong => Err(wrong.join("; ")),
            }
        },
    );
    report.assert_clean();
}
