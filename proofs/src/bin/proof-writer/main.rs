//! The writers that are killed: each says on a file or a pipe what was acknowledged.

#![forbid(unsafe_code)]

mod disk;
mod script;
mod threads;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::{Signal, getpid, kill_process};
use withal_log::{CommitRing, Log, LogOptions};

/// The writers that are killed.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    writer: Writer,
}

#[derive(Debug, Subcommand)]
enum Writer {
    /// One thread that does the same each time; the acknowledged count is on standard input
    Script(script::Arguments),
    /// Many threads; each acknowledgement is a line on standard output
    Threads(threads::Arguments),
    /// One thread beside a busy neighbour; the durable count goes to a file
    Log(disk::LogArguments),
    /// A file replaced again and again; the version goes to a file
    File(disk::FileArguments),
    /// Opens the log, and kills itself
    Recover {
        /// The log
        folder: PathBuf,
    },
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().writer {
        Writer::Script(arguments) => script::run(&arguments),
        Writer::Threads(arguments) => threads::run(&arguments),
        Writer::Log(arguments) => disk::write_log(&arguments),
        Writer::File(arguments) => disk::write_file(&arguments),
        Writer::Recover { folder } => recover(&folder),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error may be what is full.
            let _ = writeln!(std::io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// With a commit ring of this size from the first record on, or with none.
fn ringed(options: LogOptions, is_ringed: bool, size: u64) -> LogOptions {
    let ring = match is_ringed {
        true => CommitRing::Always,
        false => CommitRing::Never,
    };
    options.commit_ring(ring).ring_size(size)
}

fn recover(folder: &Path) -> anyhow::Result<()> {
    let _open = Log::open(folder)
        .open()
        .map_err(|error| anyhow::anyhow!("{error:?}"))?;
    kill_process(getpid(), Signal::KILL)?;
    Ok(())
}
