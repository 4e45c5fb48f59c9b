//! `withal log tail`: the end of a log.

use std::path::PathBuf;
use std::time::Duration;

use withal_log::Reader;

use super::cat::Printer;
use super::holes::Holes;
use super::{check_is_log, tell_removed};
use crate::run::Exit;

/// How often to look whether anybody still reads stdout.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory of the log
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// How many lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,

    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,

    /// Only lines that no power loss can take any more
    #[arg(long)]
    durable: bool,

    /// Print lines as they are stored
    #[arg(long)]
    raw: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    check_is_log(&arguments.path)?;
    let reader = Reader::open(&arguments.path)?;
    let reader = match arguments.durable {
        true => reader.durable_only(),
        false => reader,
    };
    let mut reader = reader.skip_to_last(arguments.lines)?;
    let mut printer = Printer::new(arguments.raw, None)?;
    let mut holes = Holes::of(&arguments.path);
    loop {
        let is_end = match reader.next_chunk() {
            Ok(lines) => lines.is_none(),
            Err(error) => {
                printer.break_off()?;
                holes.pass(error)?;
                false
            }
        };
        tell_removed(printer.next(&reader)?);
        if !is_end {
            continue;
        }
        if !arguments.follow {
            printer.finish()?;
            return Ok(holes.exit());
        }
        printer.flush()?;
        let _may_be_more = reader.wait(LOOK)?;
    }
}
