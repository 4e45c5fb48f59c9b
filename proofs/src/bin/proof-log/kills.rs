//! A log that is opened, written by many threads and killed, again and again.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use withal_log::Reader;
use withal_proofs::check;
use withal_proofs::dice::Dice;
use withal_proofs::submitted;
use withal_proofs::tally::Tally;

use crate::evidence::{self, Evidence};

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// A folder to work in; bad states stay there
    #[arg(long)]
    scratch: PathBuf,

    /// How often to kill
    #[arg(long, default_value_t = 1_000)]
    kills: u64,

    /// Begin no more after this many seconds
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,

    /// Of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

const THREADS: u64 = 16;
/// How often every byte is read again.
const ALL_EVERY: u64 = 100;

pub(crate) fn run(arguments: &Arguments) -> Result<Tally> {
    let began = Instant::now();
    let folder = arguments.scratch.join("log");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&arguments.scratch)?;
    let mut evidence = Evidence::new(arguments.scratch.clone());
    let mut dice = Dice::new(arguments.seed);
    let mut tally = Tally::default();
    let mut follower = Follower::default();
    let mut acknowledged = 0;
    for number in 1..=arguments.kills {
        let is_over = |limit| began.elapsed() >= Duration::from_secs(limit);
        if arguments.within.is_some_and(is_over) {
            break;
        }
        let from: Vec<u64> = (0..THREADS)
            .map(|thread| follower.next_of(thread))
            .collect();
        let round = write_and_kill(&folder, &from, &mut dice)?;
        acknowledged += round.len() as u64;
        // Only what is not read yet can be bad, so a copy would be large for nothing.
        let reads_all = number % ALL_EVERY == 0 || number == arguments.kills;
        let checked = follower.check(&folder, &round, reads_all);
        tally.count(checked.is_ok());
        if let Err(how) = checked {
            let how = format!("kill {number} of seed {}: {how}", arguments.seed);
            evidence.keep(&folder, 0, &how)?;
            // What follows would be bad for the same reason.
            fs::remove_dir_all(&folder)?;
            follower = Follower::default();
        }
    }
    println!("{acknowledged} records acknowledged, in several logs if any was bad");
    evidence::remove(&folder)?;
    Ok(tally)
}

/// An acknowledgement: the thread, the number, and the line it became.
type Said = (u64, u64, u64);

/// Lets the writer run for a while.
fn write_and_kill(folder: &Path, from: &[u64], dice: &mut Dice) -> Result<Vec<Said>> {
    let from: Vec<String> = from.iter().map(u64::to_string).collect();
    let mut command = Command::new(check::writer()?);
    let _ = command
        .arg("threads")
        .arg(folder)
        .arg(format!("--from={}", from.join(",")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let _ = match dice.roll(3) {
        0 => command.arg("--always"),
        1 => command.args(["--always", "--ring"]),
        _ => &mut command,
    };
    let mut writer = command.spawn().context("the writer does not start")?;
    let mut pipe = writer.stdout.take().context("it has a pipe")?;
    // Some are killed while they open the log.
    let micros = match dice.roll(5) {
        0 => dice.roll(4_000),
        _ => 3_000 + dice.roll(30_000),
    };
    let kill = Instant::now() + Duration::from_micros(micros);
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        pipe.read_to_end(&mut said).map(|_| said)
    });
    while let Some(left) = kill.checked_duration_since(Instant::now()) {
        park_timeout(left);
    }
    writer.kill()?;
    let status = writer.wait()?;
    if status.code().is_some() {
        bail!("the writer ended before it was killed: {status}");
    }
    let said = match reader.join() {
        Ok(said) => said?,
        Err(payload) => std::panic::resume_unwind(payload),
    };
    parse(&String::from_utf8(said)?)
}

fn parse(text: &str) -> Result<Vec<Said>> {
    let said = |line: &str| -> Option<Said> {
        let mut words = line.split(' ').map(str::parse);
        let mut next = || words.next()?.ok();
        Some((next()?, next()?, next()?))
    };
    text.lines()
        .map(|line| said(line).with_context(|| format!("not an acknowledgement: {line}")))
        .collect()
}

/// What of the log has been read, through all kills: whatever a reader has seen must stay.
#[derive(Debug, Default)]
struct Follower {
    reader: Option<Reader>,
    seen: Seen,
}

impl Follower {
    fn next_of(&self, thread: u64) -> u64 {
        self.seen.next.get(&thread).copied().unwrap_or(0)
    }

    fn check(&mut self, folder: &Path, round: &[Said], reads_all: bool) -> Result<(), String> {
        // Killed early, it has not even made the folder.
        if !folder.exists() && round.is_empty() {
            return Ok(());
        }
        check::recover_and_die(folder)?;
        let options = withal_log::Log::open(folder);
        let log = options
            .open()
            .map_err(|error| format!("recovered once, it does not open: {error:?}"))?;
        let recovery = log.recovery().cloned();
        let lines = log.progress().written;
        log.close()
            .map_err(|error| format!("it does not close: {error:?}"))?;
        if let Some(recovery) = recovery {
            return Err(format!("a second recovery found work: {recovery:?}"));
        }

        let begun = self.seen.lines;
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => Reader::open(folder).map_err(|error| format!("{error:?}"))?,
        };
        let read = self.seen.read(&mut reader, begun)?;
        self.reader = Some(reader);
        if self.seen.lines != lines {
            return Err(format!(
                "it counts {lines} lines, a reader has seen {}",
                self.seen.lines
            ));
        }
        for said in round {
            let (thread, number, line) = *said;
            let place = usize::try_from(line - 1 - begun).ok();
            if place.and_then(|place| read.get(place)) != Some(&(thread, number)) {
                return Err(format!(
                    "record {number} of thread {thread} was acknowledged as line {line}"
                ));
            }
        }
        if reads_all {
            check::clean(folder)?;
            let mut again = Seen::default();
            let mut reader = Reader::open(folder).map_err(|error| format!("{error:?}"))?;
            let _ = again.read(&mut reader, 0)?;
            if again != self.seen {
                return Err("read from its start it is another log".to_owned());
            }
        }
        Ok(())
    }
}

/// How many lines there are, and the number that comes next for each thread.
#[derive(Debug, Default, Eq, PartialEq)]
struct Seen {
    lines: u64,
    next: BTreeMap<u64, u64>,
}

impl Seen {
    /// Reads what there is, and gives it.
    fn read(&mut self, reader: &mut Reader, begun: u64) -> Result<Vec<(u64, u64)>, String> {
        let mut read = Vec::new();
        loop {
            let chunk = match reader.next_chunk() {
                Ok(Some(chunk)) => chunk,
                Ok(None) => break,
                Err(error) => return Err(format!("it cannot be read: {error:?}")),
            };
            for line in chunk.split_inclusive(|byte| *byte == b'\n') {
                let record = line
                    .strip_suffix(b"\n")
                    .and_then(submitted::parse_record_of);
                let shown = || String::from_utf8_lossy(line);
                let at = begun + read.len() as u64 + 1;
                let (thread, number) =
                    record.ok_or_else(|| format!("line {at} is no record: {:?}", shown()))?;
                let next = self.next.entry(thread).or_default();
                if *next != number {
                    return Err(format!(
                        "line {at} is record {number} of thread {thread}, after {next} of them"
                    ));
                }
                *next += 1;
                read.push((thread, number));
            }
        }
        self.lines += read.len() as u64;
        Ok(read)
    }
}
