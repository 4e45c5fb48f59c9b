//! `cargo xtask proof`: crashes of every kind, and what must be there after them.

mod crash_matrix;
mod log;
mod pg;
mod run;
mod tally;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::tally::Tally;
use crate::repository::Metadata;
use crate::shell;

/// What to prove.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    proof: Proof,
}

#[derive(Debug, Subcommand)]
enum Proof {
    /// The log: killed at every system call and at random, and on a disk that fails and forgets.
    Log(log::Arguments),
    /// The pool and the sessions of a real Postgres: cancelled everywhere, and at random.
    Pg(pg::Arguments),
    /// `withal run`: killed at random moments with all its gates in use, then recovered.
    Run(run::Arguments),
    /// The log and the atomic writer: power losses on ext4, XFS and btrfs. Needs root.
    CrashMatrix(crash_matrix::Arguments),
}

/// Runs it; its last line is what was tried and what was bad.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let place = Place::of(&Metadata::load()?, "release");
    match &arguments.proof {
        Proof::Log(arguments) => log::run(arguments, &place),
        Proof::Pg(arguments) => pg::run(arguments, &place),
        Proof::Run(arguments) => run::run(arguments, &place),
        Proof::CrashMatrix(arguments) => crash_matrix::run(arguments, &place),
    }
}

/// Kills a few runs, in CI.
pub(crate) fn quick(metadata: &Metadata) -> Result<()> {
    run::quick(&Place::of(metadata, "debug"))
}

/// Where the programs are and where they work.
struct Place {
    programs: PathBuf,
    scratch: PathBuf,
}

impl Place {
    fn of(metadata: &Metadata, profile: &str) -> Place {
        Place {
            programs: metadata.target_directory.join(profile),
            scratch: metadata.target_directory.join("proof"),
        }
    }

    /// Builds the programs.
    fn build(&self) -> Result<()> {
        shell::run(shell::cargo().args([
            "build",
            "--quiet",
            "--release",
            "--package=withal-proofs",
            "--bins",
        ]))
    }

    fn program(&self, name: &str) -> Command {
        shell::at_root(self.programs.join(name))
    }
}

/// Says the sum, and fails if something was bad or nothing tried.
fn conclude(tally: Tally) -> Result<()> {
    println!("{tally}");
    tally.verdict()
}
