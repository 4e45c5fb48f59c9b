//! What happened to a log, for people: `events.jsonl` in its directory.

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
    note(storage, now, what, facts);
}

/// Says at WARN what went wrong.
pub(crate) fn tell(error: &LogError) {
    emit_error(NoticeKind::WorkedAround, None, error.clone());
}

/// Notes an event. It is no part of the log, so a failure is only said.
pub(crate) fn note(storage: &Arc<dyn Storage>, now: u64, what: &str, facts: &Value) {
    let line = json!({ "at": timestamp(now).to_string(), "event": what, "facts": facts });
    let file = storage.open(FILE, true).or_else(|_| storage.create(FILE));
    let noted = file.and_then(|file| {
        file.append_all(format!("{line}\n").as_bytes())
            .map_err(|(_, error)| error)
    });
    if let Err(source) = noted {
        let error = LogError::io(
            format!("cannot note {line} in `{}`", storage.display(FILE)),
            source,
        );
        tell(&error);
    }
}
