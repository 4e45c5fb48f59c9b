//! `cargo xtask bench`: withal and its peers in turn in one run, a table, and the report in docs.

mod machine;
mod measure;
mod mode;
mod page;
mod source;
mod suites;
mod table;
#[cfg(test)]
mod tests;

use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;

use self::measure::Measures;
use self::mode::Mode;
use self::source::Available;
use self::suites::{SUITES, Suite};
use crate::repository::{self, Metadata};
use crate::shell;

const PAGE: &str = "docs/benchmarks.md";

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The benchmark; all of them if none is named
    #[arg(value_name = "NAME", value_parser = suites::names())]
    name: Option<String>,

    /// How often to go through all programs in turn; by default as often as a few minutes allow
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    passes: Option<u32>,

    /// Print the table and leave docs/benchmarks.md as it is
    #[arg(long)]
    dry_run: bool,
}

/// Measures, prints and writes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let metadata = Metadata::load()?;
    let chosen = SUITES.iter().filter(|suite| {
        arguments
            .name
            .as_deref()
            .is_none_or(|name| name == suite.name)
    });
    for suite in chosen {
        let report = measure(suite, &metadata, arguments.passes.unwrap_or(suite.passes))?;
        println!("\n{}: {}\n\n{report}", suite.name, suite.what);
        if !arguments.dry_run {
            let path = repository::root().join(PAGE);
            let text = fs::read_to_string(&path).with_context(|| PAGE.to_owned())?;
            fs::write(&path, page::replace(&text, suite.name, &report)?)
                .with_context(|| PAGE.to_owned())?;
            println!("written to {PAGE}");
        }
    }
    Ok(())
}

/// Runs every program once, to see that it runs and that each peer stands beside us.
pub(crate) fn quick() -> Result<()> {
    let metadata = Metadata::load()?;
    for suite in SUITES {
        if let Err(error) = suite.prepare(&metadata, Mode::Try) {
            // Said, not failed: the tests of the program itself are the place for that.
            println!("{}: not run: {error:#}", suite.name);
            continue;
        }
        let mut measures = Measures::default();
        for source in suite.sources {
            if let Available::Missing { program, install } = source.available() {
                println!("{}: {program} is missing: {install}", suite.name);
                continue;
            }
            measures.extend(source.run(&metadata, Mode::Try)?);
        }
        let lonely = measures.peers_without_us();
        if !lonely.is_empty() {
            bail!(
                "{}: nothing of ours beside {}",
                suite.name,
                lonely.join(", ")
            );
        }
        println!("{}: {} measured once", suite.name, measures.len());
    }
    Ok(())
}

fn measure(suite: &Suite, metadata: &Metadata, passes: u32) -> Result<String> {
    suite.prepare(metadata, Mode::Measure)?;
    let mut missing = Vec::new();
    let mut sources = Vec::new();
    for source in suite.sources {
        match source.available() {
            Available::Yes => sources.push(source),
            Available::Missing { program, install } => {
                missing.push(format!(
                    "{program} is missing, and with it {source}: `{install}`"
                ));
            }
        }
    }
    for peer in suite.peers {
        if !shell::is_installed(peer.program) {
            let (program, install) = (peer.program, peer.install);
            missing.push(format!("{program} is missing: `{install}`"));
        }
    }
    let mut measures = Measures::default();
    for pass in 1..=passes {
        for source in &sources {
            eprintln!("{}: pass {pass} of {passes}: {source}", suite.name);
            measures.extend(source.run(metadata, Mode::Measure)?);
        }
    }
    if measures.len() == 0 {
        bail!(
            "{}: nothing was measured\n{}",
            suite.name,
            missing.join("\n")
        );
    }

    let mut report = table::render(&measures);
    for line in missing {
        report.push_str(&format!("\n{line}\n"));
    }
    report.push_str(&format!(
        "\nBy `cargo xtask bench {} --passes {passes}`, {passes} times in turn:\n\n",
        suite.name
    ));
    for source in sources {
        report.push_str(&format!("- `{}`\n", source.command()));
    }
    report.push_str(&format!(
        "\nOn {}.\n",
        machine::describe(suite.tools, metadata)?
    ));
    Ok(report)
}
