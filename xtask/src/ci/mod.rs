//! `cargo xtask ci`: everything CI runs, in order, stopping at the first failure.

mod steps;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use self::steps::{STEPS, Step};
use crate::repository::Metadata;

/// What to run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Run only this step; may be given more than once
    #[arg(long, value_name = "STEP", value_parser = steps::names())]
    only: Vec<String>,

    /// List the steps and end
    #[arg(long)]
    list: bool,
}

/// How a step ended.
#[derive(Debug)]
enum Ending {
    Passed,
    /// Could not run here, and why.
    Skipped(String),
    Failed(anyhow::Error),
    NotReached,
}

/// Runs the steps and prints a summary.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        for step in STEPS {
            println!("{:<14} {}", step.name, step.what);
        }
        return Ok(());
    }
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|step| arguments.only.is_empty() || arguments.only.iter().any(|o| o == step.name))
        .collect();
    let metadata = Metadata::load()?;
    let began = Instant::now();
    let endings = run_all(&chosen, &metadata);
    summarize(&chosen, &endings, began.elapsed())
}

fn run_all(steps: &[&Step], metadata: &Metadata) -> Vec<(Ending, Duration)> {
    let mut endings = Vec::new();
    let mut failed = false;
    for (index, step) in steps.iter().enumerate() {
        if failed {
            endings.push((Ending::NotReached, Duration::ZERO));
            continue;
        }
        println!(
            "\n==> [{}/{}] {}: {}",
            index + 1,
            steps.len(),
            step.name,
            step.what
        );
        let began = Instant::now();
        let ending = match (step.run)(metadata) {
            Ok(None) => Ending::Passed,
            Ok(Some(reason)) => Ending::Skipped(reason),
            Err(error) => Ending::Failed(error),
        };
        let took = began.elapsed();
        println!(
            "<== {}: {} in {}",
            step.name,
            verdict(&ending),
            seconds(took)
        );
        failed = matches!(ending, Ending::Failed(_));
        endings.push((ending, took));
    }
    endings
}

fn summarize(steps: &[&Step], endings: &[(Ending, Duration)], took: Duration) -> Result<()> {
    println!("\n==> summary");
    for (step, (ending, took)) in steps.iter().zip(endings) {
        println!(
            "{:<14} {:>8}  {}",
            step.name,
            seconds(*took),
            verdict(ending)
        );
    }
    println!("{:<14} {:>8}", "total", seconds(took));
    for (step, (ending, _)) in steps.iter().zip(endings) {
        if let Ending::Failed(error) = ending {
            bail!("step {}: {error:#}", step.name);
        }
    }
    println!("all is well");
    Ok(())
}

fn verdict(ending: &Ending) -> String {
    match ending {
        Ending::Passed => "passed".to_owned(),
        Ending::Skipped(reason) => format!("skipped: {reason}"),
        Ending::Failed(_) => "FAILED".to_owned(),
        Ending::NotReached => "not reached".to_owned(),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
