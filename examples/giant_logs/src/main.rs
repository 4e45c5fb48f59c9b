//! Half a million rows, one after the other, in a few megabytes.

use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use withal::sql::{Database, Session, params};
use withal::{scope, with_ref};

/// Fills a table with log lines, and reads them one after the other.
#[derive(Debug, Parser)]
struct Arguments {
    /// `sqlite:logs.db` or `postgres://user@host/logs`
    #[arg(default_value = "sqlite::memory:")]
    url: String,

    /// How many lines
    #[arg(long, default_value_t = 500_000)]
    lines: u32,
}

#[withal::main]
async fn main() -> Result<(), withal::Error> {
    let Arguments { url, lines } = Arguments::parse();
    scope(async |s| {
        let db = s.enter(Database::open(url)).await?;
        let conn = s.enter(db.acquire()).await?;
        fill(conn, lines).await?;
        println!("{} with {lines} lines in a table", memory()?);

        let sql = "SELECT id, line FROM giant_logs ORDER BY id";
        let begun = Instant::now();
        let (read, bytes) = with_ref(conn.cursor(sql, &[]), async |rows| {
            let (mut read, mut bytes) = (0_u32, 0);
            while let Some(row) = rows.next().await? {
                let (_, line): (i64, String) = row.read()?;
                read += 1;
                bytes += line.len();
            }
            Ok((read, bytes))
        })
        .await?;
        assert_eq!(read, lines);
        println!(
            "{} after {bytes} bytes of them, read in {:.1?}",
            memory()?,
            begun.elapsed()
        );

        // Whoever has seen enough leaves: the rest of the rows is never sent.
        let begun = Instant::now();
        with_ref(conn.cursor(sql, &[]), async |rows| {
            let first = rows.next().await?.context("there is no line")?;
            println!("the first one: {}", first.get::<String>("line")?);
            Ok(())
        })
        .await?;
        println!("and free again after {:.1?}", begun.elapsed());
        Ok(())
    })
    .await
}

async fn fill(conn: &Session, lines: u32) -> Result<(), withal::sql::Error> {
    conn.batch("DROP TABLE IF EXISTS giant_logs; CREATE TABLE giant_logs (id bigint, line text)")
        .await?;
    let sql = "WITH RECURSIVE n(id) AS (SELECT CAST(1 AS bigint) UNION ALL SELECT id + 1 FROM n WHERE id < $1)
        INSERT INTO giant_logs
        SELECT id, '192.0.2.7 - - \"GET /page/' || id || ' HTTP/1.1\" 200 5120 \"-\" \"Mozilla/5.0\"' FROM n";
    let _filled = conn.execute(sql, params![lines]).await?;
    Ok(())
}

/// How much memory this process has had at most.
fn memory() -> anyhow::Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.context("the kernel does not say")?.trim();
    let kib: u64 = peak.trim_end_matches(" kB").parse()?;
    Ok(format!("{:.1} MiB at most", kib as f64 / 1024.0))
}
