//! What happened to a log, for people: `events.jsonl` in its directory.

use std::io;
use std::sync::Arc;

use serde_json::{Value, json};
use withal_core::{NoticeKind, emit_error};

use crate::error::LogError;
use crate::segment::timestamp;
use crate::storage::Storage;

const FILE: &str = "events.jsonl";

/// Something that happened, to be told of later.
#[derive(Debug)]
pub(crate) struct Event {
    what: &'static str,
    facts: Value,
    error: Option<LogError>,
}

impl Event {
    pub(crate) fn new(what: &'static str, facts: Value) -> Event {
        Event {
            what,
            facts,
            error: None,
        }
    }

    pub(crate) fn failed(what: &'static str, facts: Value, error: LogError) -> Event {
        Event {
            what,
            facts,
            error: Some(error),
        }
    }

    pub(crate) fn note(&self, storage: &Arc<dyn Storage>, now: u64) {
        match &self.error {
            Some(error) => warn(storage, now, self.what, &self.facts, error),
            None => note(storage, now, self.what, &self.facts),
        }
    }
}

/// Notes an event and, because somebody should look at it, says so at WARN.
pub(crate) fn warn(
    storage: &Arc<dyn Storage>,
    now: u64,
    what: &str,
    facts: &Value,
    error: &LogError,
) {
    tell(error);
    let error = error.in_full().to_string();
    add_or_tell(storage, &line(now, what, facts, Some(error)));
}

/// Says at WARN what went wrong, and why.
pub(crate) fn tell(error: &LogError) {
    emit_error(NoticeKind::WorkedAround, None, error.in_full());
}

/// Notes an event. It is no part of the log, so a failure is only said.
pub(crate) fn note(storage: &Arc<dyn Storage>, now: u64, what: &str, facts: &Value) {
    add_or_tell(storage, &line(now, what, facts, None));
}

fn line(now: u64, what: &str, facts: &Value, error: Option<String>) -> Value {
    let mut line = json!({ "at": timestamp(now).to_string(), "event": what, "facts": facts });
    if let (Some(line), Some(error)) = (line.as_object_mut(), error) {
        let _new = line.insert("error".to_owned(), error.into());
    }
    line
}

fn add_or_tell(storage: &Arc<dyn Storage>, line: &Value) {
    if let Err(source) = add(storage, line) {
        let doing = format!("cannot note {line} in `{}`", storage.display(FILE));
        tell(&LogError::io(doing, source));
    }
}

fn add(storage: &Arc<dyn Storage>, line: &Value) -> io::Result<()> {
    let file = storage.open(FILE, true).or_else(|_| storage.create(FILE))?;
    file.append_all(format!("{line}\n").as_bytes())
        .map_err(|(_, error)| error)
}

/// What can happen for each block, such as on a full disk: it is noted the first time, and then
/// what has come together.
#[derive(Debug)]
pub(crate) struct Tally {
    what: &'static str,
    units: [&'static str; 2],
    counts: [u64; 2],
    /// When it was noted last, or could not be.
    noted: Option<u64>,
}

/// How often it is noted, in milliseconds.
const NOTE_EVERY: u64 = 10_000;

impl Tally {
    pub(crate) fn new(what: &'static str, units: [&'static str; 2]) -> Tally {
        Tally {
            what,
            units,
            counts: [0; 2],
            noted: None,
        }
    }

    pub(crate) fn add(&mut self, counts: [u64; 2]) {
        for (sum, count) in self.counts.iter_mut().zip(counts) {
            *sum = sum.saturating_add(count);
        }
    }

    /// Notes it if that is due, and anyway at the end of the log; whether it did.
    ///
    /// On a full disk it may not be possible: it is tried again.
    pub(crate) fn note(&mut self, storage: &Arc<dyn Storage>, now: u64, at_end: bool) -> bool {
        let is_due = |noted| now.abs_diff(noted) >= NOTE_EVERY;
        if self.counts == [0; 2] || !(at_end || self.noted.is_none_or(is_due)) {
            return false;
        }
        self.noted = Some(now);
        let facts = self.units.iter().map(|unit| (*unit).to_owned());
        let facts = facts.zip(self.counts.map(Value::from)).collect();
        let line = line(now, self.what, &Value::Object(facts), None);
        match at_end {
            true => add_or_tell(storage, &line),
            false if add(storage, &line).is_err() => return false,
            false => {}
        }
        self.counts = [0; 2];
        true
    }
}
