//! Kills writers of a log, at every system call and at random, and checks what they leave.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line program: its output is what it is for"
)]

mod evidence;
mod kills;
mod strace;
mod syscalls;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use withal_proofs::check::{self, Kept};
use withal_proofs::tally::Tally;

/// Kills writers of a log and checks what they leave.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Debug, Subcommand)]
enum Proof {
    /// At every system call: killed, or told that the disk is full or broken
    Syscalls(syscalls::Arguments),
    /// At random, under many threads
    Kills(kills::Arguments),
    /// Checks what a bad case has left; on a copy, as recovery changes it
    Replay {
        /// The log
        folder: PathBuf,
        /// How many records were acknowledged
        #[arg(long, default_value_t = 0)]
        acknowledged: u64,
        /// What became of ended segments
        #[arg(long, value_enum, default_value_t = Kept::Whole)]
        kept: Kept,
    },
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().proof {
        Proof::Syscalls(arguments) => syscalls::run(&arguments),
        Proof::Kills(arguments) => kills::run(&arguments),
        Proof::Replay {
            folder,
            acknowledged,
            kept,
        } => replay(folder, acknowledged, kept),
    };
    match ended {
        Ok(tally) => {
            println!("{tally}");
            tally.exit_code()
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn replay(folder: PathBuf, acknowledged: u64, kept: Kept) -> Result<Tally> {
    let copy = folder.with_extension("replayed");
    evidence::copy(&folder, &copy)?;
    let checked = check::log(&copy, acknowledged, kept);
    std::fs::remove_dir_all(copy)?;
    let mut tally = Tally::default();
    tally.count(checked.is_ok());
    match checked {
        Ok(lines) => println!("{lines} lines"),
        Err(how) => println!("bad: {how}"),
    }
    Ok(tally)
}
