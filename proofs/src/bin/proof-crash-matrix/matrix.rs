//! File systems times workloads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Parser;
use rustix::process::geteuid;
use withal_proofs::check::{Kept, Way};
use withal_proofs::tally::Tally;

use crate::disk::{FILE_SYSTEMS, FileSystem};
use crate::recording::{Durable, Made, Recording, Room, Workload};
use crate::replay::{Outcome, Replay};

/// Rebuilds what a power loss can leave, and checks it.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// A folder to work in, best in memory; some hundred megabytes for each file system
    #[arg(long, default_value = "/dev/shm/withal-proofs")]
    scratch: PathBuf,

    /// Where bad states are kept
    #[arg(long)]
    kept: PathBuf,

    /// How many states of a log to check on each file system; of each way to write a file, a tenth
    #[arg(long, default_value_t = 10_000)]
    states: u64,

    /// Only this file system; may be given more than once
    #[arg(long)]
    only: Vec<String>,

    /// Only those of a workload's names that contain this
    #[arg(long, default_value = "")]
    workload: String,

    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How many crashed logs are recovered with a recorder below, to crash in the middle of that.
const RECOVERIES: u64 = 20;
/// How many file systems are tried at a time.
const AT_ONCE: usize = 3;
/// How many states are rebuilt from one recording before another is made.
const PER_RECORDING: u64 = 500;

pub(crate) fn run(arguments: &Arguments) -> Result<Tally> {
    let chosen: Vec<&FileSystem> = FILE_SYSTEMS
        .iter()
        .filter(|file_system| {
            arguments.only.is_empty() || arguments.only.iter().any(|o| o == file_system.name)
        })
        .collect();
    ready(&chosen)?;
    match chosen.as_slice() {
        [alone] => one(alone, arguments),
        several => several
            .chunks(AT_ONCE)
            .try_fold(Tally::default(), |mut sum, some| {
                sum.add(side_by_side(some, arguments)?);
                Ok(sum)
            }),
    }
}

/// Each in a process of its own: what one forks would hold the files of another open.
fn side_by_side(file_systems: &[&FileSystem], arguments: &Arguments) -> Result<Tally> {
    let mut children = Vec::new();
    for file_system in file_systems {
        let child = Command::new(std::env::current_exe()?)
            .arg("--scratch")
            .arg(&arguments.scratch)
            .arg("--kept")
            .arg(&arguments.kept)
            .arg(format!("--states={}", arguments.states))
            .arg(format!("--seed={}", arguments.seed))
            .arg(format!("--workload={}", arguments.workload))
            .arg(format!("--only={}", file_system.name))
            .stdout(Stdio::piped())
            .spawn()?;
        children.push(child);
    }
    // All are heard to their ends, whatever becomes of one.
    let ended: Vec<Result<Tally>> = children.into_iter().map(hear).collect();
    let mut sum = Tally::default();
    for tally in ended {
        sum.add(tally?);
    }
    Ok(sum)
}

/// Passes on what it says; its last word is its tally.
fn hear(mut child: Child) -> Result<Tally> {
    let output = child.stdout.take().context("it has a pipe")?;
    let mut tally = None;
    for line in BufReader::new(output).lines() {
        let line = line?;
        match Tally::parse(&line) {
            Some(said) => tally = Some(said),
            None => println!("{line}"),
        }
    }
    let status = child.wait()?;
    tally.with_context(|| format!("a file system's part came to no end: {status}"))
}

/// Says what is missing.
fn ready(chosen: &[&FileSystem]) -> Result<()> {
    if chosen.is_empty() {
        bail!("no such file system");
    }
    if !geteuid().is_root() {
        bail!("this needs root: it mounts file systems");
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        if !Path::new(device).exists() {
            bail!("there is no {device} here: `modprobe fuse loop`, or another machine");
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let programs = chosen.iter().map(|file_system| file_system.program());
    for program in programs.chain(["strace"]) {
        if !std::env::split_paths(&path).any(|folder| folder.join(program).is_file()) {
            let packages = "e2fsprogs xfsprogs btrfs-progs strace";
            bail!("{program} is missing: `apt-get install {packages}`");
        }
    }
    Ok(())
}

/// All workloads on one file system.
fn one(file_system: &FileSystem, arguments: &Arguments) -> Result<Tally> {
    let name = file_system.name;
    let scratch = arguments.scratch.join(name);
    if scratch.exists() {
        fs::remove_dir_all(&scratch).with_context(|| format!("{}", scratch.display()))?;
    }
    fs::create_dir_all(&scratch)?;
    let base = scratch.join("base");
    file_system.make(&base)?;
    let replay = Replay {
        file_system,
        scratch: &scratch,
        kept: &arguments.kept,
    };
    let mut sum = Tally::default();
    let mut unmountable = 0;
    let mut told = |workload: &str, outcome: Outcome| {
        println!(
            "{name}, {workload}: {}, {} more did not mount",
            outcome.tally, outcome.unmountable
        );
        sum.add(outcome.tally);
        unmountable += outcome.unmountable;
    };
    let seed = arguments.seed;
    let is_wanted = |workload: &str| workload.contains(&arguments.workload);
    for (workload, what, states) in workloads(file_system, arguments.states) {
        if is_wanted(&workload) {
            told(
                &workload,
                record_and_replay(&replay, what, &base, states, seed)?,
            );
        }
    }
    for (workload, durable) in [
        ("recovery of a log", Durable::Some),
        ("recovery of a log, in a ring", Durable::Ringed),
    ] {
        if is_wanted(workload) {
            let states = arguments.states.div_ceil(4);
            told(workload, recoveries(&replay, &base, durable, states, seed)?);
        }
    }
    println!("{name}: {sum}, {unmountable} more did not mount");
    fs::remove_dir_all(&scratch)?;
    Ok(sum)
}

/// What is tried, and in how many states.
fn workloads(file_system: &FileSystem, states: u64) -> Vec<(String, Workload, u64)> {
    // Half of the logs' states with a sync now and then, a quarter each of the others.
    let (of_log, of_others, of_files) =
        (states.div_ceil(2), states.div_ceil(4), states.div_ceil(10));
    let last = "log, only the last is kept";
    let ringed = "log, only the last is kept, in a ring";
    let logs = [
        ("log", Kept::Whole, Durable::Some, of_log),
        ("log, always", Kept::Whole, Durable::All, of_others),
        ("log, in a ring", Kept::Whole, Durable::Ringed, of_others),
        (
            "log, compressed",
            Kept::Compressed,
            Durable::Some,
            of_others,
        ),
        (last, Kept::Last, Durable::Some, of_others),
        (ringed, Kept::Last, Durable::Ringed, of_others),
    ];
    let logs = logs.map(|(name, kept, durable, states)| (name, log(kept, durable), states));
    let files = Way::ALL.map(|way| (way.as_str(), file(way), of_files));
    let all = logs.into_iter().chain(files);
    let mut all: Vec<_> = all
        .map(|(name, workload, states)| (name.to_owned(), workload, states))
        .collect();
    if file_system.reuses_at_once() {
        let on_full_disk = |(name, workload, states): &(String, Workload, u64)| {
            let scarce = workload.on_full_disk()?;
            Some((format!("{name}, on a full disk"), scarce, *states))
        };
        let scarce: Vec<_> = all.iter().filter_map(on_full_disk).collect();
        all.extend(scarce);
    }
    all
}

fn log(kept: Kept, durable: Durable) -> Workload {
    Workload::Log {
        seed: 0,
        records: match durable {
            Durable::Some => 5_000,
            Durable::All | Durable::Ringed => 1_500,
        },
        durable,
        kept,
        room: Room::Ample,
    }
}

fn file(way: Way) -> Workload {
    Workload::File {
        way,
        versions: match way {
            Way::Replace => 300,
            _ => 150,
        },
        room: Room::Ample,
    }
}

/// As many recordings as the number of states deserves.
fn record_and_replay(
    replay: &Replay<'_>,
    workload: Workload,
    base: &Path,
    states: u64,
    seed: u64,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let (mut left, mut seed) = (states, seed);
    while left > 0 {
        let now = left.min(PER_RECORDING);
        let recording = Recording::make(
            replay.file_system,
            workload.seeded(seed),
            base.to_owned(),
            0,
            replay.scratch,
        )?
        .expected()?;
        println!("{}: {}", replay.file_system.name, recording.describe());
        replay.check(&recording, now, seed, &mut outcome)?;
        left -= now;
        seed += 1;
    }
    Ok(outcome)
}

/// Crashes a log, records how it is recovered and goes on, and crashes that.
fn recoveries(
    replay: &Replay<'_>,
    base: &Path,
    durable: Durable,
    states: u64,
    seed: u64,
) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let first = Recording::make(
        replay.file_system,
        log(Kept::Whole, durable).seeded(seed + 1_000),
        base.to_owned(),
        0,
        replay.scratch,
    )?
    .expected()?;
    let each = states.div_ceil(RECOVERIES);
    let mut left = states;
    for number in 0..RECOVERIES {
        let now = left.min(each);
        if now == 0 {
            break;
        }
        left -= now;
        let crashed = replay.scratch.join("first");
        let seed = seed + number;
        let acknowledged = replay.crash(&first, seed, &crashed)?;
        let again = Workload::Log {
            seed,
            records: 60,
            durable,
            kept: Kept::Whole,
            room: Room::Ample,
        };
        let recording = Recording::make(
            replay.file_system,
            again,
            crashed,
            acknowledged,
            replay.scratch,
        )?;
        let recording = match recording {
            Made::Recording(recording) => recording,
            Made::Unmountable(error) => {
                println!("did not mount: {error}");
                outcome.unmountable += 1;
                continue;
            }
            Made::Failed(how) => {
                println!("BAD: {}, recovery {number}: {how}", replay.file_system.name);
                outcome.tally.count(false);
                continue;
            }
        };
        replay.check(&recording, now, seed, &mut outcome)?;
    }
    Ok(outcome)
}
