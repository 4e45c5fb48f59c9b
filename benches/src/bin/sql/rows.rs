//! Rows one after the other.

use std::hint::black_box;
use std::pin::pin;
use std::time::Instant;

use futures_util::TryStreamExt as _;
use tokio::runtime::Runtime;
use tokio_postgres::NoTls;
use withal_benches::{Bench, US};
use withal_core::{AsyncContextManager as _, BoxError};
use withal_scope::with_ref;
use withal_sql::{Database, Row};

const ROWS: u64 = 500_000;
const SQL: &str = "SELECT id, name, line FROM lines LIMIT $1";

/// All columns of each row are looked at.
pub(crate) fn add<'a>(
    bench: &mut Bench<'a>,
    runtime: &'a Runtime,
    url: &str,
) -> Result<(), BoxError> {
    let _inside = runtime.enter();
    let database = runtime.block_on(Database::open(url).max_connections(2).enter())?;
    for (work, is_exclusive) in [("rows, exclusive", true), ("rows, others may run", false)] {
        let database = database.clone();
        bench.rate(work, US, move |repeats| {
            runtime.block_on(async {
                let mut conn = database.lease().await.expect("a connection");
                let began = Instant::now();
                let mut left = repeats;
                while left > 0 {
                    let count = left.min(ROWS);
                    let params = withal_sql::params![count.cast_signed()];
                    let cursor = match is_exclusive {
                        true => conn.exclusive_cursor(SQL, params),
                        false => conn.cursor(SQL, params),
                    };
                    let read = with_ref(cursor, async |rows| {
                        let mut read = 0;
                        while let Some(row) = rows.next().await? {
                            read += look(&row)?;
                        }
                        Ok(read)
                    });
                    assert_eq!(read.await.expect("rows"), count);
                    left -= count;
                }
                let took = began.elapsed();
                conn.release().await;
                took
            })
        });
    }
    let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls))?;
    let mut carrier = tokio::task::JoinSet::new();
    let _ = carrier.spawn(connection);
    let client = std::rc::Rc::new((client, carrier));
    for work in ["rows, exclusive", "rows, others may run"] {
        let client = client.clone();
        bench.rate(work, "tokio-postgres `query_raw`", move |repeats| {
            runtime.block_on(async {
                let (client, _) = &*client;
                let statement = client.prepare(SQL).await.expect("a statement");
                let began = Instant::now();
                let mut left = repeats;
                while left > 0 {
                    let count = left.min(ROWS);
                    let rows = client.query_raw(&statement, [count.cast_signed()]).await;
                    let mut rows = pin!(rows.expect("rows"));
                    let mut read = 0;
                    while let Some(row) = rows.try_next().await.expect("a row") {
                        let seen: (i64, &str, &str) = (row.get(0), row.get(1), row.get(2));
                        let _ = black_box(seen);
                        read += 1;
                    }
                    assert_eq!(read, count);
                    left -= count;
                }
                began.elapsed()
            })
        });
    }
    Ok(())
}

/// As a user reads it; 1.
fn look(row: &Row) -> Result<u64, withal_sql::Error> {
    let seen: (i64, &str, &str) = row.read()?;
    let _ = black_box(seen);
    Ok(1)
}
