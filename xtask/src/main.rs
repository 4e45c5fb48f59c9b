//! The project's chores, as one small program: `cargo xtask <chore>`.
//!
//! CI runs `cargo xtask ci` and nothing else, so what passes here passes there.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line program: its output is what it is for"
)]

mod bench;
mod ci;
mod miri;
mod proof;
mod provision;
mod repository;
mod shell;
mod tidy;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, Parser, Subcommand};

/// The project's chores.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Run everything CI runs, after installing what is missing.
    Ci(ci::Arguments),
    /// Check the repository's own rules.
    Tidy,
    /// Look for undefined behaviour: Miri, else AddressSanitizer, else Valgrind.
    Miri(miri::Arguments),
    /// Measure withal beside its peers and rewrite docs/benchmarks.md.
    Bench(bench::Arguments),
    /// Crash what must survive a crash, in every way that can be had here.
    Proof(proof::Arguments),
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().chore {
        Chore::Ci(arguments) => ci::run(&arguments),
        Chore::Tidy => tidy::run(),
        Chore::Miri(arguments) => miri::run(&arguments).map(drop),
        Chore::Bench(arguments) => bench::run(&arguments),
        Chore::Proof(arguments) => proof::run(&arguments),
    };
    report(ended)
}

/// The names of the chores.
fn chores() -> impl Iterator<Item = String> {
    let command = Arguments::command();
    let names: Vec<String> = command
        .get_subcommands()
        .map(|chore| chore.get_name().to_owned())
        .collect();
    names.into_iter()
}

fn report(ended: Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
