//! Power losses on real file systems.

use anyhow::{Result, bail};
use clap::Args;

use super::tally::Tally;
use super::{Place, conclude};
use crate::shell;

/// `-garbage` is a disk that was full of other bytes before.
const FILE_SYSTEMS: [&str; 11] = [
    "ext4",
    "ext4-nodelalloc",
    "ext4-writeback",
    "xfs",
    "btrfs",
    "ext4-garbage",
    "ext4-nodelalloc-garbage",
    "ext4-writeback-garbage",
    "ext4-nodelalloc-writeback-garbage",
    "xfs-garbage",
    "btrfs-garbage",
];

/// How much to try.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// How many states of a log on each file system; of each way to write a file
    /// atomically, a tenth of that
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    states: u64,

    /// Only this file system; may be given more than once
    #[arg(long, value_name = "NAME", value_parser = FILE_SYSTEMS)]
    only: Vec<String>,

    /// Only what has this in its name: a part of "log, always", "log, in a ring", "log, compressed",
    /// "log, only the last is kept", "recovery of a log", the last two also ", in a ring", "atomic
    /// write", "atomic batch"
    #[arg(long, value_name = "TEXT", default_value = "")]
    workload: String,

    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(arguments: &Arguments, place: &Place) -> Result<()> {
    if shell::output(shell::at_root("id").arg("-u"))?.trim() != "0" {
        bail!("this needs root, as it mounts file systems: run it by `sudo`");
    }
    place.build()?;
    let mut matrix = place.program("proof-crash-matrix");
    let _ = matrix
        .arg("--kept")
        .arg(place.scratch.join("crash-matrix"))
        .arg(format!("--states={}", arguments.states))
        .arg(format!("--seed={}", arguments.seed))
        .arg(format!("--workload={}", arguments.workload))
        .args(arguments.only.iter().map(|name| format!("--only={name}")));
    let tally = Tally::of(&mut matrix)?;
    conclude(tally)
}
