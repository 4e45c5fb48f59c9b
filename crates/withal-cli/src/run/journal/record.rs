//! What stands in a journal, and how: a line of JSON for each record, with a checksum.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::run::gates::AnyUndo;
use crate::run::identity::{Host, Process};
use crate::run::{Exit, RunId};

/// The version of this format.
pub(crate) const VERSION: u32 = 1;

/// One line of a journal.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// The first one.
    Open(Opened),
    /// The process that holds the gates, if it is not the one that opened the journal.
    Keeper {
        process: Process,
    },
    /// A gate is going to be acquired.
    Intent {
        gate: usize,
        name: String,
        undo: Option<AnyUndo>,
    },
    /// It is acquired; what undoes it may be known better now.
    Acquired {
        gate: usize,
        undo: Option<AnyUndo>,
    },
    /// A process of a gate.
    Service {
        process: Process,
    },
    /// The command runs.
    Command {
        process: Process,
        has_group: bool,
    },
    /// The command has ended.
    Exited {
        exit: Exit,
    },
    Releasing {
        gate: usize,
    },
    Released {
        gate: usize,
    },
    /// An attempt to undo what is left has failed.
    Attempt {
        at: u64,
        errors: Vec<String>,
    },
    /// Nothing is left.
    Closed {
        exit: Option<Exit>,
    },
}

/// What a run is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) version: u32,
    pub(crate) id: RunId,
    pub(crate) job: String,
    /// The command; passwords in it are masked.
    pub(crate) argv: Vec<String>,
    pub(crate) cwd: String,
    #[serde(flatten)]
    pub(crate) host: Host,
    pub(crate) uid: u32,
    /// In seconds since 1970.
    pub(crate) at: u64,
    pub(crate) front: Option<Process>,
}

#[derive(Deserialize)]
struct Line {
    n: u64,
    /// When it was written, in microseconds since 1970.
    us: u64,
    #[serde(flatten)]
    record: Record,
}

/// Between the record and its checksum.
const CHECKSUM: &str = ",\"crc\":\"";

/// Closes the line.
const END: &str = "\"}";

/// How many digits the checksum has.
const DIGITS: usize = 8;

/// The record as the line number `n`, counted from 0.
pub(super) fn encode(n: u64, record: &Record) -> anyhow::Result<String> {
    let mut line = serde_json::to_string(record)?;
    let brace = line.pop();
    debug_assert_eq!(brace, Some('}'), "a record is an object");
    let us = SystemTime::now().duration_since(UNIX_EPOCH);
    let us = us.map_or(0, |since| since.as_micros());
    line.push_str(&format!(",\"us\":{us},\"n\":{n}"));
    let checksum = crc_fast::crc32_iscsi(line.as_bytes());
    line.push_str(&format!("{CHECKSUM}{checksum:08x}{END}\n"));
    Ok(line)
}

/// Why a line is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Its checksum is missing or another one's.
    Checksum,
    /// It is whole, and yet nothing this version writes.
    Meaning,
    /// It is whole, and stands in another's place.
    Number,
}

/// The record that the line number `n` holds, and when it was written; the line without its end.
pub(super) fn decode(n: u64, line: &[u8]) -> Result<(Record, SystemTime), Wrong> {
    let covered = check(line).ok_or(Wrong::Checksum)?;
    let text = [covered, b"}"].concat();
    let line: Line = serde_json::from_slice(&text).map_err(|_| Wrong::Meaning)?;
    match line.n == n {
        true => Ok((line.record, UNIX_EPOCH + Duration::from_micros(line.us))),
        false => Err(Wrong::Number),
    }
}

/// What the checksum covers, if it is right.
fn check(line: &[u8]) -> Option<&[u8]> {
    let line = line.strip_suffix(END.as_bytes())?;
    let (rest, digits) = line.split_at_checked(line.len().checked_sub(DIGITS)?)?;
    let covered = rest.strip_suffix(CHECKSUM.as_bytes())?;
    let digits = std::str::from_utf8(digits).ok()?;
    let checksum = u32::from_str_radix(digits, 16).ok()?;
    (crc_fast::crc32_iscsi(covered) == checksum).then_some(covered)
}
