//! Kills the service again and again, and compares what it acknowledged with what is there.

use std::collections::BTreeMap;
use std::env;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use withal::{ContextManager, ExitCase, with};
use withal_log::{Log, Reader, verify};
use withal_os::TempDir;

use crate::record::Writer;

/// How many orders of each writer, counted from 0.
type Orders = BTreeMap<Writer, u64>;

#[derive(Debug, Default)]
pub(crate) struct Report {
    kills: u32,
    acknowledged: u64,
    /// Acknowledged, and not in the log.
    missing: u64,
    /// In the log, and nobody wrote it, or not in this order.
    invented: u64,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.acknowledged > 0 && self.missing == 0 && self.invented == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            kills,
            acknowledged,
            missing,
            invented,
        } = self;
        write!(
            f,
            "{kills} kills, {acknowledged} acknowledged, {missing} missing, {invented} invented"
        )
    }
}

/// Starts and kills the service so many times, then looks at its log.
pub(crate) fn prove(service: &str, kills: u32) -> Result<Report> {
    let report = with(TempDir::new(), |directory| {
        let log = directory.path().join("log");
        let mut acknowledged = Orders::new();
        for run in 0..kills {
            acknowledged.extend(run_and_kill(service, &log, run)?);
        }
        Ok(compare(&log, kills, &acknowledged)?)
    })?;
    Ok(report)
}

/// A process that is killed with SIGKILL at the end of the block, on every path out.
struct Killed(Command);

impl ContextManager for Killed {
    type Resource = Child;
    type Error = io::Error;

    fn enter(mut self) -> io::Result<Child> {
        self.0.spawn()
    }

    fn exit(mut child: Child, _: ExitCase) -> io::Result<()> {
        child.kill()?;
        child.wait().map(drop)
    }
}

/// Kills the service at a random moment; gives what it has acknowledged.
fn run_and_kill(service: &str, log: &Path, run: u32) -> Result<Orders> {
    let mut command = Command::new(env::current_exe()?);
    command.arg(service).arg(log).arg(run.to_string());
    command.stdout(Stdio::piped());
    let mut acknowledged = Orders::new();
    let mut acknowledge = |line: io::Result<String>| -> Result<()> {
        let line = line?;
        let (number, order) = line.split_once(' ').context("no acknowledgement")?;
        let number = number.parse()?;
        let orders = acknowledged.entry(Writer { run, number }).or_default();
        ensure!(order == orders.to_string(), "{line}: not the next order");
        *orders += 1;
        Ok(())
    };
    let rest = with(Killed(command), |service| {
        let stdout = service.stdout.take().context("its stdout is a pipe")?;
        let mut lines = BufReader::new(stdout).lines();
        lines
            .by_ref()
            .take(fastrand::usize(..1000))
            .try_for_each(&mut acknowledge)?;
        thread::park_timeout(Duration::from_micros(fastrand::u64(..5000)));
        Ok(lines)
    })?;
    // What it has said before the kill counts.
    for line in rest {
        acknowledge(line)?;
    }
    Ok(acknowledged)
}

fn compare(log: &Path, kills: u32, acknowledged: &Orders) -> Result<Report> {
    // To open it cuts off what the last kill has torn.
    with(Log::open(log), |_| Ok(()))?;
    let verified = verify(log, |_| ())?;
    ensure!(verified.problems.is_empty(), "{:?}", verified.problems);

    let mut report = Report {
        kills,
        acknowledged: acknowledged.values().sum(),
        ..Report::default()
    };
    let mut found = Orders::new();
    for record in Reader::open(log)?.records() {
        match Writer::parse(&record?) {
            Some((writer, order)) if order == found.get(&writer).copied().unwrap_or(0) => {
                let _ = found.insert(writer, order + 1);
            }
            _ => report.invented += 1,
        }
    }
    for (writer, &acknowledged) in acknowledged {
        let found = found.remove(writer).unwrap_or(0);
        report.missing += acknowledged.saturating_sub(found);
        // One was on its way when the service was killed.
        report.invented += found.saturating_sub(acknowledged + 1);
    }
    // Those of writers that have acknowledged nothing.
    report.invented += found.values().map(|found| found - 1).sum::<u64>();
    Ok(report)
}
