//! `withal-conformance FILE...`: replays each file, and says what differs.
#![expect(
    clippy::print_stdout,
    reason = "its output is the point of the program"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use withal_conformance::forms::Form;
use withal_conformance::{difference, format};

/// How many differences are printed.
const SHOWN: usize = 10;

fn main() -> ExitCode {
    // What the programs swallow is what they are about.
    withal_core::set_notice_hook(|_| {});
    match run(std::env::args_os().skip(1).map(PathBuf::from).collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("withal-conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(files: Vec<PathBuf>) -> anyhow::Result<bool> {
    anyhow::ensure!(!files.is_empty(), "name at least one file of cases");
    let (mut passed, mut failed) = (0_usize, 0_usize);
    for file in files {
        for (number, case) in format::read(&file)?.iter().enumerate() {
            for form in Form::ALL.into_iter().filter(|form| form.fits(case)) {
                let Some(difference) = difference(case, form) else {
                    passed += 1;
                    continue;
                };
                failed += 1;
                if failed <= SHOWN {
                    let program = serde_json::to_string(&(&case.entries, &case.body))?;
                    println!("{}: case {number} as {form}: {difference}", file.display());
                    println!("    {program}");
                }
            }
        }
    }
    if failed > SHOWN {
        println!("… and {} more", failed - SHOWN);
    }
    println!("{passed} passed, {failed} failed");
    Ok(failed == 0 && passed > 0)
}
