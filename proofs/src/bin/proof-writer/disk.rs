//! Workloads for a file system whose every write is recorded.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate};
use rustix::io::Errno;
use withal_log::{Durability, Log, LogError, LogErrorKind, LogOptions, OnFull};
use withal_os::{AtomicBatch, AtomicWriter};
use withal_proofs::check::{Kept, Way};
use withal_proofs::dice::Dice;
use withal_proofs::submitted;

use crate::ringed;

/// How large a commit ring is that comes round often.
const RING: u64 = 256 * 1024;
/// How much of a full disk is left, in bytes, and how much of that a neighbour takes at a time.
const LEFT: u64 = 640 << 10;
const PIECE: usize = 16 << 10;
/// How long the disk may stay full.
const WAIT: Duration = Duration::from_secs(30);

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

    /// The disk is full but for what this needs, and a neighbour takes what is freed
    #[arg(long)]
    full: bool,

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

    /// The disk is full but for what this needs, and a neighbour takes what is freed
    #[arg(long)]
    full: bool,
}

pub(crate) fn write_log(arguments: &LogArguments) -> Result<()> {
    let mark = OpenOptions::new().write(true).open(&arguments.mark)?;
    let work = || append_all(arguments, &mark);
    disturbed(&arguments.folder, arguments.full, work)
}

/// Does the work while somebody else writes beside `path`.
fn disturbed(path: &Path, is_full: bool, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    if is_full {
        fill(folder)?;
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let neighbour = scope.spawn(|| match is_full {
            true => take_freed(folder, &done),
            false => disturb(folder, &done),
        });
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
    let options = options.on_full(OnFull::Block(Some(WAIT)));
    let log = open(&ringed(options, arguments.ring, RING))?;
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
            write_back(&File::open(arguments.folder.join("current"))?)?;
            park_timeout(Duration::from_millis(4));
        }
    }
    log.close()?;
    tell(mark, number)
}

fn open(options: &LogOptions) -> Result<Log, LogError> {
    let since = Instant::now();
    loop {
        match options.clone().open() {
            Err(error) if error.kind() == LogErrorKind::Full && since.elapsed() < WAIT => {}
            opened => return opened,
        }
        park_timeout(Duration::from_millis(1));
    }
}

/// Has the system begin to write the file's pages, in an order of its own.
fn write_back(file: &File) -> Result<()> {
    Ok(fadvise(file, 0, None, Advice::DontNeed)?)
}

pub(crate) fn write_file(arguments: &FileArguments) -> Result<()> {
    let mark = OpenOptions::new().write(true).open(&arguments.mark)?;
    let work = || replace_all(arguments, &mark);
    disturbed(&arguments.path, arguments.full, work)
}

fn replace_all(arguments: &FileArguments, mark: &File) -> Result<()> {
    for version in 1..=arguments.versions {
        let since = Instant::now();
        while let Err(error) = put(arguments.way, &arguments.path, version) {
            let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
            if !causes.any(is_full) || since.elapsed() > WAIT {
                return Err(error);
            }
            park_timeout(Duration::from_millis(1));
        }
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
fn disturb(folder: &Path, done: &AtomicBool) -> Result<()> {
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

/// Leaves `LEFT` bytes of the file system, without writing to the disk.
fn fill(folder: &Path) -> Result<()> {
    let ballast = File::create(folder.join("ballast"))?;
    let (mut len, mut step) = (0, 8 << 20);
    while step >= 4 << 10 {
        match fallocate(&ballast, FallocateFlags::empty(), len, step) {
            Ok(()) => len += step,
            Err(Errno::NOSPC) => step /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    ballast.set_len(len.saturating_sub(LEFT))?;
    Ok(ballast.sync_all()?)
}

/// A neighbour that takes all there is of a full disk, and gives it back, again and again. Its data
/// is on the disk at once: where that of a file was which a crash may bring back.
fn take_freed(folder: &Path, done: &AtomicBool) -> Result<()> {
    let piece = vec![b'#'; PIECE];
    while !done.load(Ordering::Relaxed) {
        let mut file = File::create(folder.join("greedy"))?;
        let refused = loop {
            if let Err(error) = file.write_all(&piece) {
                break error;
            }
        };
        if !is_full(&refused) {
            return Err(refused.into());
        }
        write_back(&file)?;
        park_timeout(Duration::from_millis(1));
        file.set_len(0)?;
        park_timeout(Duration::from_millis(2));
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::StorageFull
}
