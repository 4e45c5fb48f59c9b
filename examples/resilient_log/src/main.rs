//! A service that is killed at random, and has lost nothing that it acknowledged.
//!
//! Run it with `cargo run -p withal-example-resilient-log -- prove`.
#![allow(unused_results, reason = "which line a record is in is of no use here")]

mod prove;
mod record;
mod tasks;
mod threads;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::{ExitCode, Termination};

use anyhow::{Result, ensure};
use clap::Parser;
use withal::block_on;

/// A service that is killed at random, and has lost nothing that it acknowledged.
#[derive(Debug, Parser)]
enum Command {
    /// Starts each service, kills it with SIGKILL, starts it again, and looks at what is left.
    Prove {
        /// How often each is killed.
        #[arg(long, default_value_t = 20)]
        kills: u32,
    },
    /// The service, with threads: logs until it is killed, and says what is safe.
    Threads(Service),
    /// The same with tasks of tokio.
    Tasks(Service),
}

#[derive(Debug, clap::Args)]
struct Service {
    /// The directory of the log.
    log: PathBuf,
    /// A number that stands in each record of this run.
    run: u32,
}

/// How many threads or tasks write at once.
const WRITERS: u32 = 8;

/// Small, so that kills hit the change from one segment to the next as well.
const SEGMENT: u64 = 64 * 1024;

fn main() -> ExitCode {
    match Command::parse() {
        Command::Prove { kills } => prove(kills).report(),
        Command::Threads(service) => threads::serve(service.log, service.run).report(),
        Command::Tasks(service) => block_on(tasks::serve(service.log, service.run)),
    }
}

fn prove(kills: u32) -> Result<()> {
    for service in ["threads", "tasks"] {
        let report = prove::prove(service, kills)?;
        writeln!(stdout(), "{service}: {report}")?;
        ensure!(report.is_clean(), "the log has not kept its promise");
    }
    Ok(())
}
