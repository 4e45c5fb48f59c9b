//! `withal log cat`: a log as it was written.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use memchr::memchr;
use regex::bytes::Regex;
use withal_log::{Reader, ReverseReader, decode, is_continued};

use super::progress::Progress;
use super::records::Records;
use super::{check_is_log, values};
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
    match arguments.reverse {
        true => print_reversed(arguments, &mut printer, &progress)?,
        false => {
            let reader = Reader::open(&arguments.path)?;
            let mut reader = reader.between(arguments.since, arguments.until);
            while let Some(lines) = reader.next_chunk()? {
                progress.add(lines.len() as u64);
                printer.lines(lines)?;
            }
        }
    }
    drop(progress);
    printer.finish()?;
    Ok(Exit::SUCCESS)
}

fn print_reversed(
    arguments: &Arguments,
    printer: &mut Printer,
    progress: &Progress,
) -> anyhow::Result<()> {
    let reader = ReverseReader::open(&arguments.path)?;
    let mut reader = reader.between(arguments.since, arguments.until);
    printer.ends_lines = true;
    // The lines of one record, the last first.
    let mut record: Vec<Vec<u8>> = Vec::new();
    loop {
        let line = reader.next_line()?;
        let goes_on = line.as_deref().is_some_and(is_continued);
        if !goes_on && !record.is_empty() {
            record.reverse();
            printer.record(&record.concat())?;
            record.clear();
        }
        match line {
            Some(line) => {
                progress.add(line.len() as u64);
                record.push(line);
            }
            None => return Ok(()),
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
        })
    }

    /// Prints whole lines, in order.
    pub(super) fn lines(&mut self, lines: &[u8]) -> anyhow::Result<()> {
        if self.grep.is_some() {
            let mut records = std::mem::take(&mut self.records);
            records.each(lines, |record| self.record(record))?;
            self.records = records;
            return Ok(());
        }
        if self.raw || memchr(MARK, lines).is_none() {
            return self.output.write(lines);
        }
        self.decoded.clear();
        decode(lines, &mut self.decoded);
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
        self.output.write(&self.decoded)
    }

    /// Everything so far becomes visible; fails if nobody looks any more.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        self.output.flush()?;
        self.output.check()
    }

    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        let rest = std::mem::take(&mut self.records).rest();
        if !rest.is_empty() {
            self.record(&rest)?;
        }
        self.output.flush()
    }
}
