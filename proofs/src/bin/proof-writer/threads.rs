//! Many threads that append until they are killed.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use withal_log::{Durability, Log};
use withal_proofs::submitted;

use crate::ringed;

/// How large a commit ring is that comes round often.
const RING: u64 = 256 * 1024;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The log
    folder: PathBuf,

    /// How large a segment grows
    #[arg(long, default_value_t = 32_768)]
    rotate: u64,

    /// Every record is durable when it is acknowledged
    #[arg(long)]
    always: bool,

    /// And that by way of the commit ring
    #[arg(long, requires = "always")]
    ring: bool,

    /// The number of the first record of each thread: as many threads as numbers
    #[arg(long, value_delimiter = ',', required = true)]
    from: Vec<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let durability = match arguments.always {
        true => Durability::Always,
        false => Durability::Interval(Duration::from_millis(20)),
    };
    let options = Log::open(&arguments.folder)
        .durability(durability)
        .sync_beside(8 << 10)
        .rotate_size(arguments.rotate);
    let log = ringed(options, arguments.ring, RING).open()?;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..)
            .zip(&arguments.from)
            .map(|(thread, from)| {
                let log = &log;
                scope.spawn(move || append_all(log, thread, *from))
            })
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(ended) => ended?,
                Err(payload) => std::panic::resume_unwind(payload),
            }
        }
        Ok(())
    })
}

fn append_all(log: &Log, thread: u64, from: u64) -> Result<()> {
    for number in from.. {
        let line = log.append(submitted::record_of(thread, number))?;
        // One short write to a pipe is whole or not at all.
        let said = format!("{thread} {number} {line}\n");
        let _ = rustix::io::write(std::io::stdout(), said.as_bytes())?;
        std::io::stdout().flush()?;
    }
    Ok(())
}
