//! One thread that makes the same system calls each time.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use rustix::process::{Signal, getpid, kill_process};
use withal_log::storage::Disk;
use withal_log::{Durability, Log, LogError, LogErrorKind, OnFull};
use withal_proofs::dice::Dice;
use withal_proofs::submitted;

use crate::ringed;

/// How large a commit ring is that comes round twice.
const RING: u64 = 64 * 1024;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The log
    folder: PathBuf,

    /// How many records to append
    #[arg(long, default_value_t = 40)]
    records: u64,

    /// How large a segment grows
    #[arg(long, default_value_t = 1_000)]
    rotate: u64,

    /// Every record is durable when it is acknowledged
    #[arg(long)]
    always: bool,

    /// And that by way of the commit ring
    #[arg(long, requires = "always")]
    ring: bool,

    /// Is killed when all is appended
    #[arg(long)]
    dies: bool,

    /// What the threads of the log do is done by the one that appends
    #[arg(long)]
    inline: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let acknowledged = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let log = open(arguments)?;
    let begun = log.progress().written;
    let appended = append_all(&log, begun, arguments.records, &acknowledged);
    if arguments.dies {
        kill_process(getpid(), Signal::KILL)?;
    }
    let closed = log.close();
    appended?;
    Ok(closed?)
}

fn open(arguments: &Arguments) -> Result<Log> {
    let durability = match arguments.always {
        true => Durability::Always,
        false => Durability::Interval(Duration::from_secs(3600)),
    };
    let options = Log::open(&arguments.folder)
        .durability(durability)
        .on_full(OnFull::Fail)
        .rotate_size(arguments.rotate);
    let options = ringed(options, arguments.ring, RING);
    if arguments.inline {
        let disk = Disk::open_or_create(&arguments.folder)?;
        return Ok(options.open_in(Arc::new(disk))?);
    }
    Ok(options.open()?)
}

fn append_all(log: &Log, begun: u64, records: u64, acknowledged: &File) -> Result<()> {
    for number in begun..begun + records {
        let line = append(log, number)?;
        if line != number + 1 {
            bail!("record {number} became line {line}");
        }
        // Not to the log's folder: only what goes there is spoiled.
        acknowledged.write_all_at(&(number + 1).to_le_bytes(), 0)?;
    }
    Ok(())
}

/// Tries again where the log says that the record is not in it.
fn append(log: &Log, number: u64) -> Result<u64, LogError> {
    let record = submitted::record(number);
    let mut tries = 0;
    loop {
        let appended = match Dice::new(number).roll(3) {
            0 => log.append_durable(&record),
            _ => log.append(&record),
        };
        match appended {
            Err(error) if error.kind() == LogErrorKind::Full && tries < 3 => tries += 1,
            done => return done,
        }
    }
}
