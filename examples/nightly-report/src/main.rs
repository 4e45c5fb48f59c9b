//! The report of a day: reads an access log, compares it with the days before, prints what a
//! person wants to know in the morning.
//!
//! It is run by `JOB.toml`, and relies on what that holds: `$HISTORY` is a private copy of the
//! database, in which it may do what it likes; `$TMPDIR` is a scratch directory; its stdout becomes
//! `report.txt`, whole or not at all; what it says on stderr is in the log.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line program: its output is what it is for"
)]

use std::env;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use regex::Regex;
use rusqlite::{Connection, params};

/// Apache's combined format.
const COMBINED: &str = r#"^(?<client>\S+) \S+ \S+ \[(?<day>\d+/\w+/\d+):(?<hour>\d\d):[^\]]*\] "(?<method>[A-Z]+) (?<path>\S+) [^"]*" (?<status>\d{3}) (?<bytes>\d+|-) "(?<referer>[^"]*)" "(?<agent>[^"]*)"$"#;

const WIDEST: u32 = 40;

fn main() -> Result<()> {
    let log = env::args_os().nth(1);
    let log = PathBuf::from(log.context("no log; write `nightly-report access.log`")?);
    let history = env::var_os("HISTORY").context("`$HISTORY` is not set; run it by JOB.toml")?;
    let scratch = PathBuf::from(env::var_os("TMPDIR").context("`$TMPDIR` is not set")?);

    let mut database = Connection::open(history)?;
    let rejected = scratch.join("rejected.log");
    let (day, rejects) = load(&mut database, &log, &rejected)?;
    println!("Access report of {day}\n");
    totals(&database)?;
    hours(&database)?;
    table(
        &database,
        "Most wanted pages",
        "SELECT path, count(*), sum(bytes) FROM request WHERE status < 400
         GROUP BY path ORDER BY 2 DESC, 1 LIMIT 8",
    )?;
    table(
        &database,
        "What failed",
        "SELECT status || ' ' || path, count(*), sum(bytes) FROM request WHERE status >= 400
         GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 8",
    )?;
    visitors(&database)?;

    let requests: i64 = database.query_row("SELECT count(*) FROM request", [], |row| row.get(0))?;
    eprintln!(
        "nightly-report: {requests} requests of {day} read, {rejects} lines rejected, history of \
         {} days left as it was",
        days(&database)?
    );
    Ok(())
}

/// Reads the log into the database; lines that are no requests go to a file. Gives the day.
fn load(database: &mut Connection, log: &PathBuf, rejected: &PathBuf) -> Result<(String, usize)> {
    let combined = Regex::new(COMBINED)?;
    let opened = File::open(log).with_context(|| log.display().to_string())?;
    let mut rejected = BufWriter::new(File::create(rejected)?);
    let (mut day, mut rejects) = (None, 0);
    let transaction = database.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE request (client TEXT, hour INTEGER, path TEXT, status INTEGER, bytes INTEGER)",
    )?;
    let mut insert = transaction.prepare("INSERT INTO request VALUES (?, ?, ?, ?, ?)")?;
    for line in BufReader::new(opened).lines() {
        let line = line?;
        let Some(found) = combined.captures(&line) else {
            writeln!(rejected, "{line}")?;
            rejects += 1;
            continue;
        };
        let number = |name: &str| found.name(name)?.as_str().parse::<i64>().ok();
        let text = |name: &str| found.name(name).map_or("", |part| part.as_str());
        let path = text("path").split('?').next();
        let bytes = number("bytes").unwrap_or(0);
        let _rows = insert.execute(params![
            text("client"),
            number("hour"),
            path,
            number("status"),
            bytes
        ])?;
        let _first = day.get_or_insert_with(|| text("day").to_owned());
    }
    drop(insert);
    transaction.commit()?;
    rejected.flush()?;
    Ok((day.context("the log has no requests")?, rejects))
}

fn totals(database: &Connection) -> Result<()> {
    let sql = "SELECT count(*), sum(bytes), sum(status >= 500) FROM request";
    let (requests, bytes, errors): (f64, f64, f64) =
        database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let sql = "SELECT avg(requests), avg(bytes), avg(errors) FROM day";
    let (usual_requests, usual_bytes, usual_errors): (f64, f64, f64) =
        database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    println!("              today     usual");
    for (what, today, usual) in [
        ("requests", requests, usual_requests),
        ("megabytes", bytes / 1e6, usual_bytes / 1e6),
        ("errors 5xx", errors, usual_errors),
    ] {
        let change = (today / usual - 1.0) * 100.0;
        println!("{what:11} {today:7.0}   {usual:7.0}   {change:+.0} %");
    }
    Ok(())
}

/// A bar for each hour.
fn hours(database: &Connection) -> Result<()> {
    println!("\nRequests by hour");
    let mut query = database.prepare("SELECT hour, count(*) FROM request GROUP BY 1 ORDER BY 1")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let hours: Vec<(i64, u32)> = rows.collect::<Result<_, _>>()?;
    let most = hours.iter().map(|(_, requests)| *requests).max();
    for (hour, requests) in hours {
        let width = requests * WIDEST / most.unwrap_or(1);
        let bar = "█".repeat(width.try_into()?);
        println!("{hour:02} {bar} {requests}");
    }
    Ok(())
}

fn table(database: &Connection, title: &str, sql: &str) -> Result<()> {
    println!("\n{title:40} requests     kB");
    let mut query = database.prepare(sql)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (what, requests): (String, i64) = (row.get(0)?, row.get(1)?);
        let kilobytes = row.get::<_, i64>(2)? / 1000;
        println!("{what:40} {requests:8} {kilobytes:6}");
    }
    Ok(())
}

fn visitors(database: &Connection) -> Result<()> {
    let sql = "SELECT count(DISTINCT client), count(DISTINCT client) FILTER (WHERE client NOT IN
               (SELECT address FROM visitor)) FROM request";
    let (all, new): (i64, i64) =
        database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    println!("\n{all} visitors, {new} of them for the first time");
    Ok(())
}

fn days(database: &Connection) -> Result<i64> {
    Ok(database.query_row("SELECT count(*) FROM day", [], |row| row.get(0))?)
}
