//! Workloads for a file system whose every write is recorded.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::park_timeout;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use rustix::fs::{Advice, fadvise};
use withal_log::Durability;
use withal_os::{AtomicBatch, AtomicWriter};
use withal_proofs::check::{Kept, Way};
use withal_proofs::dice::Dice;
use withal_proofs::submitted;

use crate::ringed;

/// How large a commit ring is that comes round often.
const RING: u64 = 256 * 1024;

#[derive(Args, Debug)]
pub(crate) struct LogArguments {
    /// The log
    folder: PathBuf,

    /// Where the number of durable records goes
    #[arg(long)]
    mark: PathBuf,

    /// How many records to append
    #[arg(long, default_value_t = 6_000)]
    records: u64,

    /// Every record is durable when it is acknowledged
    #[arg(long)]
    always: bool,

    /// And that by way of the commit ring
    #[arg(long, requires = "always")]
    ring: bool,

    /// What becomes of ended segments
    #[arg(long, value_enum, default_value_t = Kept::Whole)]
    kept: Kept,

    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args, Debug)]
pub(crate) struct FileArguments {
    /// The file
    path: PathBuf,

    /// Where the number of the version goes
    #[arg(long)]
    mark: PathBuf,

    /// How many versions to write
    #[arg(long, default_value_t = 300)]
    versions: u64,

    /// How each is put in place
    #[arg(long, value_enum, default_value_t = Way::Replace)]
    way: Way,
}

pub(crate) fn write_log(arguments: &LogArguments) -> Result<()> {
    let mark = OpenOptions::new().write(true).open(&arguments.mark)?;
    disturbed(&arguments.folder, || append_all(arguments, &mark))
}

/// Does the work while somebody else writes beside `path`.
fn disturbed(path: &Path, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| disturb(path, &done));
        let worked = work();
        done.store(true, Ordering::Relaxed);
        let disturbed = neighbour.join();
        worked?;
        match disturbed {
            Ok(disturbed) => disturbed,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    })
}

fn append_all(arguments: &LogArguments, mark: &File) -> Result<()> {
    let mut dice = Dice::new(arguments.seed);
    let durability = match arguments.always {
        true => Durability::Always,
        false => Durability::Interval(Duration::from_secs(3600)),
    };
    let options = arguments.kept.options(&arguments.folder);
    // Some sync beside the writing, too, which notes how far that came behind it.
    let beside = match dice.roll(2) {
        0 => 16 << 10,
        _ => 4 << 20,
    };
    let options = options.durability(durability).sync_beside(beside);
    let log = ringed(options, arguments.ring, RING).open()?;
    let begun = log.progress();
    tell(mark, begun.durable)?;
    let (mut number, end) = (begun.written, begun.written + arguments.records);
    while number < end {
        // A burst, of which the last may be made durable.
        for _ in 0..1 + dice.roll(if arguments.always { 3 } else { 60 }) {
            let _ = log.append(submitted::record(number))?;
            number += 1;
        }
        if !arguments.always && dice.roll(3) == 0 {
            log.sync()?;
        }
        tell(mark, log.progress().durable)?;
        if dice.roll(4) == 0 {
            write_back(&arguments.folder.join("current"))?;
            park_timeout(Duration::from_millis(4));
        }
    }
    log.close()?;
    tell(mark, number)
}

/// Has the system begin to write the file's pages, in an order of its own.
fn write_back(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

pub(crate) fn write_file(arguments: &FileArguments) -> Result<()> {
    let mark = OpenOptions::new().write(true).open(&arguments.mark)?;
    disturbed(&arguments.path, || replace_all(arguments, &mark))
}

fn replace_all(arguments: &FileArguments, mark: &File) -> Result<()> {
    for version in 1..=arguments.versions {
        put(arguments.way, &arguments.path, version)?;
        tell(mark, version)?;
        park_timeout(Duration::from_millis(2));
    }
    Ok(())
}

fn put(way: Way, path: &Path, version: u64) -> Result<()> {
    let content = submitted::content(version);
    if way == Way::Batch {
        let mut batch = AtomicBatch::new();
        for member in way.paths(path, version) {
            batch
                .open(AtomicWriter::create(member))?
                .write_all(&content)?;
        }
        return Ok(batch.commit()?);
    }
    for target in way.paths(path, version) {
        let writer = AtomicWriter::create(target);
        let mut file = match way {
            Way::Make => writer.no_clobber(true),
            Way::Keep => writer.backup_suffix("~"),
            Way::Replace | Way::Batch => writer,
        }
        .open()?;
        file.write_all(&content)?;
        file.commit()?;
    }
    Ok(())
}

fn tell(mark: &File, number: u64) -> Result<()> {
    Ok(mark.write_all_at(&number.to_le_bytes(), 0)?)
}

/// A neighbour that syncs often: the commits of the journal it causes carry our names and sizes
/// along, before our data.
fn disturb(beside: &Path, done: &AtomicBool) -> Result<()> {
    let folder = beside.parent().unwrap_or(Path::new("."));
    let mut turn = 0_u64;
    while !done.load(Ordering::Relaxed) {
        let file = File::create(folder.join(format!("neighbour{}", turn % 8)))?;
        file.write_all_at(b"busy", 0)?;
        file.sync_all()?;
        turn += 1;
        park_timeout(Duration::from_millis(4));
    }
    Ok(())
}
