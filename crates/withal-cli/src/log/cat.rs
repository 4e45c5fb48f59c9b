//! `withal log cat`: a log as it was written.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use memchr::memchr;
use regex::bytes::Regex;
use withal_log::{Reader, ReverseReader, decode};

use super::holes::Holes;
use super::progress::Progress;
use super::records::{Records, goes_on};
use super::{check_is_log, tell_removed, values};
use crate::output::Output;
use crate::run::Exit;

/// What stands for what text cannot hold.
const MARK: u8 = 0xC0;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory of the log
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// Print lines as they are stored
    #[arg(long)]
    raw: bool,

    /// Only lines written since then
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    since: Option<u64>,

    /// Only lines written until then
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    until: Option<u64>,

    /// The last line first
    #[arg(short, long)]
    reverse: bool,

    /// Only lines that match a regular expression
    #[arg(short, long, value_name = "RE", value_parser = values::pattern)]
    grep: Option<Regex>,
}

impl Arguments {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match (self.since, self.until) {
            (Some(since), Some(until)) if since > until => {
                anyhow::bail!("--until: it is before --since, so that nothing lies between them")
            }
            _ => Ok(()),
        }
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    check_is_log(&arguments.path)?;
    let mut printer = Printer::new(arguments.raw, arguments.grep.clone())?;
    let progress = match io::stdout().is_terminal() {
        true => Progress::none(),
        false => Progress::of(&arguments.path),
    };
    let mut holes = Holes::of(&arguments.path);
    let removed = match arguments.reverse {
        true => print_reversed(arguments, &mut printer, &progress, &mut holes)?,
        false => print(arguments, &mut printer, &progress, &mut holes)?,
    };
    drop(progress);
    printer.finish()?;
    tell_removed(removed);
    Ok(holes.exit())
}

/// Gives how many bytes retention has removed meanwhile.
fn print(
    arguments: &Arguments,
    printer: &mut Printer,
    progress: &Progress,
    holes: &mut Holes,
) -> anyhow::Result<u64> {
    let reader = Reader::open(&arguments.path)?;
    let mut reader = reader.between(arguments.since, arguments.until);
    loop {
        match reader.next_chunk() {
            Ok(Some(lines)) => progress.add(lines.len() as u64),
            Ok(None) => return Ok(reader.removed()),
            Err(error) => {
                printer.break_off()?;
                holes.pass(error)?;
            }
        }
        let _gap = printer.next(&reader)?;
    }
}

/// As `print`, the last line first.
fn print_reversed(
    arguments: &Arguments,
    printer: &mut Printer,
    progress: &Progress,
    holes: &mut Holes,
) -> anyhow::Result<u64> {
    let reader = ReverseReader::open(&arguments.path)?;
    let mut reader = reader.between(arguments.since, arguments.until);
    printer.ends_lines = true;
    // The lines of one record, the last first.
    let mut record: Vec<Vec<u8>> = Vec::new();
    loop {
        let line = reader.next_line();
        let is_begun = matches!(&line, Ok(Some(line)) if goes_on(line));
        if !is_begun && !record.is_empty() {
            record.reverse();
            printer.record(&record.concat())?;
            record.clear();
        }
        match line {
            Ok(Some(line)) => {
                progress.add(line.len() as u64);
                record.push(line);
            }
            Ok(None) => return Ok(reader.removed()),
            Err(error) => {
                printer.break_off()?;
                holes.pass(error)?;
            }
        }
    }
}

/// Prints stored lines.
#[derive(Debug)]
pub(super) struct Printer {
    output: Output,
    raw: bool,
    grep: Option<Regex>,
    records: Records,
    decoded: Vec<u8>,
    /// Whether a record without a newline gets one.
    ends_lines: bool,
    /// How much was missing so far of what it was given.
    removed: u64,
    /// Whether what was printed last has no newline.
    is_begun: bool,
}

impl Printer {
    pub(super) fn new(raw: bool, grep: Option<Regex>) -> anyhow::Result<Printer> {
        Ok(Printer {
            output: Output::new()?,
            raw,
            grep,
            records: Records::default(),
            decoded: Vec::new(),
            ends_lines: false,
            removed: 0,
            is_begun: false,
        })
    }

    /// Prints what the reader has read last; gives how many bytes are missing before it.
    pub(super) fn next(&mut self, reader: &Reader) -> anyhow::Result<u64> {
        let missing = reader.removed() - std::mem::replace(&mut self.removed, reader.removed());
        if missing > 0 {
            self.end_line()?;
        }
        if !reader.lines().is_empty() {
            self.lines(reader.lines())?;
        }
        Ok(missing)
    }

    /// Prints all that comes before a hole: what comes behind it does not go on with it.
    pub(super) fn break_off(&mut self) -> anyhow::Result<()> {
        self.end_line()?;
        self.output.flush()
    }

    /// Ends a line that does not go on with what comes next.
    fn end_line(&mut self) -> anyhow::Result<()> {
        self.rest()?;
        match std::mem::take(&mut self.is_begun) {
            true => self.output.write(b"\n"),
            false => Ok(()),
        }
    }

    /// Prints a record whose end was never written.
    fn rest(&mut self) -> anyhow::Result<()> {
        let rest = std::mem::take(&mut self.records).rest();
        match rest.is_empty() {
            true => Ok(()),
            false => self.record(&rest),
        }
    }

    /// Prints whole lines, in order.
    fn lines(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        if self.grep.is_some() {
            let mut records = std::mem::take(&mut self.records);
            records.each(lines, |record| self.record(record))?;
            self.records = records;
            return Ok(());
        }
        if self.raw || memchr(MARK, lines).is_none() {
            self.is_begun = false;
            return self.output.write(lines);
        }
        self.decoded.clear();
        decode(lines, &mut self.decoded);
        self.is_begun = !self.decoded.ends_with(b"\n");
        self.output.write(&self.decoded)
    }

    /// Prints one record, if it is one of those to print.
    fn record(&mut self, stored: &[u8]) -> anyhow::Result<()> {
        self.decoded.clear();
        decode(stored, &mut self.decoded);
        let text = self.decoded.strip_suffix(b"\n").unwrap_or(&self.decoded);
        if self.grep.as_ref().is_some_and(|grep| !grep.is_match(text)) {
            return Ok(());
        }
        if self.raw {
            return self.output.write(stored);
        }
        if self.ends_lines && !self.decoded.ends_with(b"\n") {
            self.decoded.push(b'\n');
        }
        self.is_begun = !self.decoded.ends_with(b"\n");
        self.output.write(&self.decoded)
    }

    /// Everything so far becomes visible; fails if nobody looks any more.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.output.flush()?;
        self.output.check()
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.rest()?;
        self.output.flush()
    }
}
