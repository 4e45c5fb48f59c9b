//! Rebuilds what a power loss can leave on ext4, XFS and btrfs, mounts it and checks it.
//!
//! A file system stands on a loop device, that on a file which a FUSE server gives out, so every
//! write and every flush is seen, in one order with what the writer says is acknowledged. From
//! such a recording a crash at any point is rebuilt: what was flushed is there, and of what was
//! not, any part is lost. A flush counts as covering every write before it.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    reason = "a command-line program: its output is what it is for"
)]

mod device;
mod disk;
mod matrix;
mod recorder;
mod recording;
mod replay;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match matrix::run(&matrix::Arguments::parse()) {
        Ok(tally) => {
            println!("{tally}");
            tally.exit_code()
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
