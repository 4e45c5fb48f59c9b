//! `withal run`, killed at random moments.

use anyhow::Result;
use clap::Args;

use super::tally::Tally;
use super::{Place, conclude};
use crate::shell;

/// How much to try.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How many runs to kill
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    runs: u64,

    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(arguments: &Arguments, place: &Place) -> Result<()> {
    for (package, program) in [("withal-cli", "withal"), ("withal-proofs", "proof-run")] {
        shell::run(shell::cargo().args([
            "build",
            "--quiet",
            "--release",
            &format!("--package={package}"),
            &format!("--bin={program}"),
        ]))?;
    }
    kill(arguments, place)
}

/// A few, with the programs as the tests build them.
pub(super) fn quick(place: &Place) -> Result<()> {
    shell::run(shell::cargo().args([
        "build",
        "--workspace",
        "--all-features",
        "--bin=withal",
        "--bin=proof-run",
    ]))?;
    kill(&Arguments { runs: 30, seed: 1 }, place)
}

fn kill(arguments: &Arguments, place: &Place) -> Result<()> {
    let mut proof = place.program("proof-run");
    let _ = proof
        .arg("--withal")
        .arg(place.programs.join("withal"))
        .arg("--scratch")
        .arg(place.scratch.join("run"))
        .arg(format!("--runs={}", arguments.runs))
        .arg(format!("--seed={}", arguments.seed));
    conclude(Tally::of(&mut proof)?)
}
