//! Kills at every system call, kills at random, and the disk of the tests.

use anyhow::{Result, bail};
use clap::Args;

use super::tally::Tally;
use super::{Place, conclude};
use crate::shell;

/// How much to try.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Kill at random for so many minutes [default: 1,000 times, however long that takes]
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,

    /// A small part of everything
    #[arg(long, conflicts_with = "minutes")]
    quick: bool,

    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How much of each proof is done.
struct Amount {
    every: u32,
    kills: u64,
    cases: u64,
}

const WHOLE: Amount = Amount {
    every: 1,
    kills: 1_000,
    cases: 10_000,
};
const QUICK: Amount = Amount {
    every: 9,
    kills: 50,
    cases: 200,
};

pub(super) fn run(arguments: &Arguments, place: &Place) -> Result<()> {
    if !shell::is_installed("strace") {
        bail!("strace is missing: `apt-get install strace`");
    }
    let amount = if arguments.quick { QUICK } else { WHOLE };
    place.build()?;
    let mut sum = Tally::default();

    println!("-- every system call");
    let mut syscalls = place.program("proof-log");
    let _ = syscalls
        .arg("syscalls")
        .arg("--scratch")
        .arg(place.scratch.join("syscalls"))
        .arg(format!("--every={}", amount.every));
    sum.add(Tally::of(&mut syscalls)?);

    println!("-- kills at random");
    let mut kills = place.program("proof-log");
    let _ = kills
        .arg("kills")
        .arg("--scratch")
        .arg(place.scratch.join("kills"))
        .arg(format!("--seed={}", arguments.seed));
    let _ = match arguments.minutes {
        Some(minutes) => kills.args([
            format!("--kills={}", u64::MAX),
            format!("--within={}", minutes * 60),
        ]),
        None => kills.arg(format!("--kills={}", amount.kills)),
    };
    sum.add(Tally::of(&mut kills)?);

    println!("-- a disk that fails and forgets");
    sum.add(disk_of_the_tests(amount.cases)?);
    conclude(sum)
}

/// Each case of each property is one try; a property ends at its first bad case, and says how to
/// replay it.
fn disk_of_the_tests(cases: u64) -> Result<Tally> {
    let mut command = shell::cargo();
    let _ = command
        .env("PROPTEST_CASES", cases.to_string())
        .args(["test", "--release", "--package=withal-log", "--test=it"])
        .args(["--", "crash::"]);
    let shown = shell::show(&command);
    println!("$ {shown}");
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let Some((passed, failed)) = text.lines().find_map(results) else {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("`{shown}` came to no end: {}", output.status);
    };
    Ok(Tally {
        tried: (passed + failed) * cases,
        bad: failed,
    })
}

/// How many tests passed and failed, of the line that says so.
fn results(line: &str) -> Option<(u64, u64)> {
    let mut words = line.strip_prefix("test result: ")?.split(' ');
    let mut before = |name: &str| -> Option<u64> {
        let mut number = None;
        for word in words.by_ref() {
            if word.trim_end_matches(';') == name {
                return number;
            }
            number = word.parse().ok();
        }
        None
    };
    Some((before("passed")?, before("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_cargo_test_are_read() {
        let line = "test result: FAILED. 4 passed; 1 failed; 0 ignored; 0 measured; 11 filtered";
        assert_eq!(results(line), Some((4, 1)));
        assert_eq!(results("test crash::a ... ok"), None);
    }
}
