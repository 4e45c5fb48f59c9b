//! A real Postgres: pools whose users are cancelled everywhere.

use anyhow::Result;
use clap::Args;

use super::tally::Tally;
use super::{Place, conclude};
use crate::shell;

/// How much to try.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Cancel tasks at random for so many minutes [default: 10,000 tasks]
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,

    /// The same for deadpool-postgres, bb8-postgres and sqlx, beside us
    #[arg(long)]
    peers: bool,

    /// Only what has this in its name
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
}

pub(super) fn run(arguments: &Arguments, place: &Place) -> Result<()> {
    let mut build = shell::cargo();
    let _ = build.args([
        "build",
        "--quiet",
        "--release",
        "--package=withal-proofs-pg",
    ]);
    let mut proof = place.program("proof-pg");
    if arguments.peers {
        let _ = build.arg("--features=peers");
        let _ = proof.arg("--peers");
    }
    shell::run(&mut build)?;
    if let Some(minutes) = arguments.minutes {
        let _ = proof.arg(format!("--seconds={}", minutes * 60));
    }
    if let Some(only) = &arguments.only {
        let _ = proof.arg(format!("--only={only}"));
    }
    conclude(Tally::of(&mut proof)?)
}
