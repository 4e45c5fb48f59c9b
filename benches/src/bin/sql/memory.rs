//! How much memory rows take that are read one after the other: the peak of a process that does
//! nothing else.

use std::env;
use std::hint::black_box;
use std::io::{self, Write as _};
use std::path::Path;
use std::pin::pin;
use std::process::Command;

use futures_util::TryStreamExt as _;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;
use withal_benches::whole::memory;
use withal_benches::{Bench, US};
use withal_core::{AsyncContextManager as _, BoxError};
use withal_scope::with_ref;
use withal_sql::{Database, OpenDatabase, params};

const ARGUMENT: &str = "--memory";
const ROWS: u64 = 500_000;
const SQL: &str = "SELECT id, name, line, id % 100, length(line) FROM lines";

/// All columns, in both drivers.
type Columns<'r> = (i64, &'r str, &'r str, i64, i32);

/// Adds what each takes.
pub(crate) fn add(bench: &mut Bench<'_>, url: &str) -> Result<(), BoxError> {
    let program = env::current_exe()?;
    let peak = |how: &str| {
        let asked = Command::new(&program).args([ARGUMENT, how, url]).output();
        let output = asked.expect("the program runs once more");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().expect("it says how much")
    };
    let query_raw = "tokio-postgres `query_raw`";
    for (work, how) in [
        ("peak memory, 500,000 rows of 5, exclusive", "exclusive"),
        ("peak memory, 500,000 rows of 5, others may run", "shared"),
    ] {
        bench.bytes(work, US, || peak(how));
        bench.bytes(work, query_raw, || peak("query_raw"));
    }
    Ok(())
}

/// Whether this process is to read rows, and to say how much memory it took.
pub(crate) fn is_asked() -> bool {
    env::args().nth(1).is_some_and(|first| first == ARGUMENT)
}

/// Reads all rows and prints the peak, in bytes.
pub(crate) fn answer() -> Result<(), BoxError> {
    let mut arguments = env::args().skip(2);
    let (Some(how), Some(url)) = (arguments.next(), arguments.next()) else {
        return Err("how, and from where?".into());
    };
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let read = runtime.block_on(async {
        match &*how {
            "query_raw" => with_query_raw(&url).await,
            how => with_cursor(&url, how == "exclusive").await,
        }
    });
    assert_eq!(read?, ROWS);
    let peak = memory(Path::new("/proc/self/status"), "VmHWM")?;
    Ok(writeln!(io::stdout(), "{peak}")?)
}

async fn with_cursor(url: &str, is_exclusive: bool) -> Result<u64, BoxError> {
    let database = Database::open(url).max_connections(1).enter().await?;
    let mut conn = database.lease().await?;
    let cursor = match is_exclusive {
        true => conn.exclusive_cursor(SQL, params![]),
        false => conn.cursor(SQL, params![]),
    };
    let read = with_ref(cursor, async |rows| {
        let mut read = 0;
        while let Some(row) = rows.next().await? {
            let _ = black_box(row.read::<Columns<'_>>()?);
            read += 1;
        }
        Ok(read)
    })
    .await?;
    conn.release().await;
    OpenDatabase::exit(database, withal_core::ExitCase::Succeeded).await?;
    Ok(read)
}

async fn with_query_raw(url: &str) -> Result<u64, BoxError> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    let mut carrier = JoinSet::new();
    let _ = carrier.spawn(connection);
    let statement = client.prepare(SQL).await?;
    let mut rows = pin!(client.query_raw(&statement, [0_i64; 0]).await?);
    let mut read = 0;
    while let Some(row) = rows.try_next().await? {
        let columns: Columns<'_> = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
        let _ = black_box(columns);
        read += 1;
    }
    Ok(read)
}
