//! `withal log write`: stdin into a log.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use memchr::{memchr_iter, memrchr};
use withal_log::{CommitRing, Durability, Log, LogError, LogErrorKind, LogOptions, OnFull};

use super::ack::Acks;
use super::stamp::Format;
use super::{Appender, check_may_be_log, values};
use crate::cli::time_limit;
use crate::input::{self, Input};
use crate::message::{Level, Messages};
use crate::run::Exit;
use crate::stop::Stop;

/// How much is read at a time: most of what the pipe holds. Its writer and its reader take turns, and
/// one that comes back sooner waits for the other.
pub(crate) const CHUNK: usize = input::PIPE / 4 * 3;
const PAGE: usize = 4096;
/// How much of a batch is kept in memory.
const MOST_GATHERED: usize = 16 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory of the log, made if it is not there
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// What a line is safe from: always, batch=5ms,1MiB, interval=1s or buffered
    #[arg(short, long, value_name = "MODE", default_value = "interval=1s", value_parser = values::durability)]
    durability: Durability,

    /// Whether lines become durable in a ring of 4 MiB beside the text: auto (once there are many),
    /// always or never
    #[arg(long, value_name = "WHEN", default_value = "auto", value_parser = values::commit_ring)]
    commit_ring: CommitRing,

    /// Begin a new file when one has this size
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = values::size)]
    rotate_size: u64,

    /// Begin a new file when one is this old
    #[arg(long, value_name = "DUR", value_parser = time_limit)]
    rotate_every: Option<Duration>,

    /// Remove the oldest files while all together are larger
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    keep_size: Option<u64>,

    /// Remove files all lines of which are older
    #[arg(long, value_name = "DUR", value_parser = time_limit)]
    keep_age: Option<Duration>,

    /// Compress ended files, at a level from 1 to 19
    #[arg(long, value_name = "zstd[:LEVEL]", value_parser = values::compression)]
    compress: Option<i32>,

    /// While the disk is full: wait (at most DUR), remove the oldest files, drop lines, or end
    #[arg(long, value_name = "block[=DUR]|prune|drop|fail", default_value = "block", value_parser = values::on_full)]
    on_full: OnFull,

    /// Where lines were dropped, write one made from this: {count}, {since} and {until} are filled in
    #[arg(long, value_name = "TEMPLATE", value_parser = values::drop_line)]
    drop_line: Option<String>,

    /// Store lines longer than this as several, which are read as one
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = values::line)]
    max_line: usize,

    /// Put the time before each line
    #[arg(long, value_name = "FORMAT", num_args = 0..=1, require_equals = true, default_missing_value = "rfc3339")]
    stamp: Option<Format>,

    /// Print what was read on stdout, too, once it is in the log
    #[arg(long, conflicts_with = "ack")]
    tee: bool,

    /// Print how many lines of this run are durable, each time that more are
    #[arg(long)]
    ack: bool,

    /// Say what was done at the end
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    /// Say nothing but why withal itself failed
    #[arg(short, long)]
    quiet: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let messages = arguments.messages();
    check_may_be_log(&arguments.path)?;
    let stop = Stop::listen(
        "ended at once: the last lines may not be in the log",
        messages,
    )?;
    withal_core::set_notice_hook(move |notice| messages.notice(notice));
    let log = arguments.options().open()?;
    if let Some(recovery) = log.recovery().filter(|recovery| recovery.cut > 0) {
        messages.warn(format_args!(
            "`{}`: {} bytes that a crash has torn are cut off, and kept in quarantine/",
            recovery.segment, recovery.cut
        ));
    }
    if let Some(recovery) = log.recovery().filter(|recovery| recovery.restored > 0) {
        messages.warn(format_args!(
            "`{}`: {} bytes that a crash has torn are put back from the commit ring",
            recovery.segment, recovery.restored
        ));
    }
    let acks = match arguments.ack {
        true => Some(Acks::new(&log, messages).context("cannot start a thread")?),
        false => None,
    };
    let mut input = Input::new(stop);
    let mut sink = Sink::new(log, arguments, acks)?;
    let copied = copy(&mut input, &mut sink, arguments);
    let counted = (sink.records, sink.bytes);
    let closed = sink.close();
    // What stopped it says more than what closing it met after that.
    copied?;
    let dropped = closed?;
    if dropped > 0 {
        messages.warn(format_args!(
            "{dropped} lines were dropped, because the disk was full"
        ));
    }
    let (records, bytes) = counted;
    messages.step(format_args!(
        "`{}`: {records} lines, {bytes} bytes, all durable",
        arguments.path.display()
    ));
    Ok(input.stopped().map_or(Exit::SUCCESS, |stop| stop.exit()))
}

impl Arguments {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        if self.drop_line.is_some() && self.on_full != OnFull::Drop {
            anyhow::bail!("--drop-line: nothing is dropped without `--on-full drop`");
        }
        let is_durable = matches!(
            self.durability,
            Durability::Always | Durability::Batch { .. }
        );
        if self.commit_ring == CommitRing::Always && !is_durable {
            anyhow::bail!(
                "--commit-ring: nothing goes into it without `--durability always` or `batch`"
            );
        }
        Ok(())
    }

    fn options(&self) -> LogOptions {
        let durability = match self.durability {
            // One writer knows what belongs together before it appends: see `gather`.
            Durability::Batch { .. } => Durability::Always,
            other => other,
        };
        let mut options = Log::open(&self.path)
            .durability(durability)
            .commit_ring(self.commit_ring)
            .on_full(self.on_full)
            .max_line(self.max_line)
            .rotate_size(self.rotate_size);
        if let Some(template) = &self.drop_line {
            options = options.drop_line(template);
        }
        if let Some(age) = self.rotate_every {
            options = options.rotate_every(age);
        }
        if let Some(bytes) = self.keep_size {
            options = options.keep_size(bytes);
        }
        if let Some(age) = self.keep_age {
            options = options.keep_age(age);
        }
        if let Some(level) = self.compress {
            options = options.compress(level);
        }
        options
    }

    fn messages(&self) -> Messages {
        Messages::new(match (self.verbose, self.quiet) {
            (true, _) => Level::Verbose,
            (_, true) => Level::Quiet,
            _ => Level::Normal,
        })
    }
}

/// Puts all input into the log. Only the beginning of a line is kept for the next read, and no
/// more of it than fits a line of the log.
fn copy(input: &mut Input, sink: &mut Sink, arguments: &Arguments) -> anyhow::Result<()> {
    let (durability, max_line) = (arguments.durability, arguments.max_line);
    let at_once = match durability {
        Durability::Batch { bytes, .. } => bytes.clamp(CHUNK, MOST_GATHERED),
        // A file ends between two reads.
        _ => usize::try_from(arguments.rotate_size).map_or(CHUNK, |size| size.clamp(PAGE, CHUNK)),
    };
    let most_kept = max_line.max(at_once);
    // The beginning of a line, and what is read behind it.
    let mut buffer = Vec::new();
    loop {
        let kept = buffer.len();
        let read = match durability {
            Durability::Batch { delay, bytes } => {
                buffer.reserve(at_once);
                gather(input, &mut buffer, delay, bytes)
            }
            _ => input.read(&mut buffer, at_once),
        };
        if read.context("cannot read stdin")? == 0 {
            if !buffer.is_empty() {
                sink.unended(&buffer)?;
            }
            return Ok(());
        }
        if let Some(rest) = split_lines(&mut buffer, kept) {
            sink.lines(&mut buffer)?;
            buffer.extend_from_slice(&rest);
        }
        if buffer.len() >= most_kept {
            let part = whole_characters(&buffer, buffer.len() - buffer.len() % max_line);
            sink.part(buffer.split_at(part).0)?;
            drop(buffer.drain(..part));
        }
    }
}

/// Leaves whole lines in `buffer`, if there are any, and gives what is behind them; no line ends
/// before `searched`.
pub(crate) fn split_lines(buffer: &mut Vec<u8>, searched: usize) -> Option<Vec<u8>> {
    let (_, fresh) = buffer.split_at(searched);
    let newline = memrchr(b'\n', fresh)?;
    Some(buffer.split_off(searched + newline + 1))
}

/// Reads until `bytes` have come together, or `delay` has passed since the first of them.
fn gather(
    input: &mut Input,
    buffer: &mut Vec<u8>,
    delay: Duration,
    bytes: usize,
) -> io::Result<usize> {
    let mut read = input.read_before(buffer, None)?.unwrap_or_default();
    let deadline = Some(Instant::now() + delay);
    while read > 0 && read < bytes && buffer.len() < buffer.capacity() {
        match input.read_before(buffer, deadline)? {
            // The end is found again by the next read.
            None | Some(0) => break,
            Some(more) => read += more,
        }
    }
    Ok(read)
}

/// Where to cut, at most at `end`, so that no character is.
pub(crate) fn whole_characters(bytes: &[u8], end: usize) -> usize {
    let is_start = |at: &usize| bytes.get(*at).is_none_or(|byte| byte & 0xC0 != 0x80);
    (end.saturating_sub(3).max(1)..=end)
        .rev()
        .find(is_start)
        .unwrap_or(end)
}

/// Where lines go.
struct Sink {
    log: Log,
    appender: Appender,
    acks: Option<Acks>,
    messages: Messages,
    drops: bool,
    /// Whether stdout gets the lines, too.
    tees: bool,
    /// Whether anybody wants to know how many records there are.
    counts: bool,
    records: u64,
    bytes: u64,
}

impl Sink {
    fn new(log: Log, arguments: &Arguments, acks: Option<Acks>) -> Result<Sink, LogError> {
        Ok(Sink {
            appender: Appender::new(log.clone(), arguments.stamp)?,
            log,
            acks,
            messages: arguments.messages(),
            drops: arguments.on_full == OnFull::Drop,
            tees: arguments.tee,
            counts: arguments.ack || arguments.verbose,
            records: 0,
            bytes: 0,
        })
    }

    /// Appends whole lines, and leaves `lines` empty.
    fn lines(&mut self, lines: &mut Vec<u8>) -> Result<(), LogError> {
        self.bytes += lines.len() as u64;
        if self.counts {
            self.records += memchr_iter(b'\n', lines).count() as u64;
        }
        let passed = self.to_pass_on(lines);
        let appended = self.appender.lines(lines);
        let line = self.unless_dropped(appended)?;
        self.submitted(line);
        self.pass_on(&passed);
        Ok(())
    }

    fn part(&mut self, part: &[u8]) -> Result<(), LogError> {
        self.bytes += part.len() as u64;
        let appended = self.appender.part(part);
        let _line = self.unless_dropped(appended)?;
        self.pass_on(part);
        Ok(())
    }

    fn unended(&mut self, last: &[u8]) -> Result<(), LogError> {
        self.bytes += last.len() as u64;
        let appended = self.appender.unended(last);
        let line = self.unless_dropped(appended)?;
        self.records += 1;
        self.submitted(line);
        self.pass_on(last);
        Ok(())
    }

    /// The last line's number, if it was not dropped as was asked for.
    fn unless_dropped(&self, appended: Result<u64, LogError>) -> Result<Option<u64>, LogError> {
        match appended {
            Ok(line) => Ok(Some(line)),
            Err(error) if self.drops && error.kind() == LogErrorKind::Full => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn submitted(&self, line: Option<u64>) {
        if let (Some(acks), Some(line)) = (&self.acks, line) {
            acks.submitted(line, self.records);
        }
    }

    /// What is passed on once it is in the log.
    fn to_pass_on(&self, bytes: &[u8]) -> Vec<u8> {
        match self.tees {
            true => bytes.to_vec(),
            false => Vec::new(),
        }
    }

    /// `--tee`. The log goes on if stdout does not.
    fn pass_on(&mut self, bytes: &[u8]) {
        if !self.tees {
            return;
        }
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
        if let Err(error) = written {
            self.messages.warn(format_args!(
                "stdout: {error}: nothing is passed on any more, logging goes on"
            ));
            self.tees = false;
        }
    }

    /// Makes all of it durable and tells so; gives how many lines were dropped.
    fn close(self) -> Result<u64, LogError> {
        let closed = self.appender.close();
        if let Some(acks) = self.acks {
            acks.finish();
        }
        closed.map(|()| self.log.dropped())
    }
}
