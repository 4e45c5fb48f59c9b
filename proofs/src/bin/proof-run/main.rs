//! Kills runs with `kill -9` at random moments, recovers them, and looks for what is left.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line program: its output is what it is for"
)]

mod scene;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use withal_proofs::dice::Dice;
use withal_proofs::tally::Tally;

use scene::{Scene, Victim};

/// Kills runs, recovers them, and looks for what is left.
#[derive(Debug, Parser)]
struct Arguments {
    /// The command to prove
    #[arg(long)]
    withal: PathBuf,

    /// A folder to work in; what a bad case has left stays there
    #[arg(long)]
    scratch: PathBuf,

    /// How often to kill
    #[arg(long, default_value_t = 1_000)]
    runs: u64,

    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    match prove(&Arguments::parse()) {
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

fn prove(arguments: &Arguments) -> Result<Tally> {
    let mut dice = Dice::new(arguments.seed);
    let mut scene = Scene::new(&arguments.withal, &arguments.scratch)?;
    let mut tally = Tally::default();
    let mut by_victim = [0_u64; Victim::ALL.len()];
    let mut recovered = 0;
    for number in 1..=arguments.runs {
        let which = usize::try_from(dice.roll(Victim::ALL.len() as u64))?;
        let (Some(victim), Some(count)) = (Victim::ALL.get(which), by_victim.get_mut(which)) else {
            continue;
        };
        *count += 1;
        let checked = scene.run_and_kill(number, *victim, &mut dice);
        tally.count(checked.is_ok());
        match checked {
            Ok(was_needed) => recovered += u64::from(was_needed),
            Err(how) => {
                let seed = arguments.seed;
                println!("BAD: run {number} of seed {seed}, {victim:?} killed: {how:#}");
                scene = scene.leave_as_evidence()?;
            }
        }
    }
    let victims = Victim::ALL.iter().zip(by_victim);
    let victims: Vec<String> = victims
        .map(|(victim, n)| format!("{n} {victim:?}"))
        .collect();
    println!(
        "killed: {}; {recovered} were left to `recover`",
        victims.join(", ")
    );
    scene.remove()?;
    Ok(tally)
}
