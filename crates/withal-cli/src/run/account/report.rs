//! `--report`: what happened, as one JSON object.

use std::time::Duration;

use jiff::Timestamp;
use nix::sys::signal::Signal;
use serde::Serialize;

use super::Account;
use super::chronicle::{GateEvents, Span};

/// The version of the object.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Report<'a> {
    version: u32,
    run: String,
    job: &'a str,
    file: Option<&'a str>,
    command: &'a [String],
    started: Option<String>,
    ended: Option<String>,
    duration_seconds: f64,
    command_seconds: Option<f64>,
    outcome: &'a str,
    exit: i32,
    signal: Option<String>,
    timed_out: bool,
    killed: bool,
    error: Option<&'a str>,
    gates: Vec<Gate<'a>>,
    orphans: &'a [String],
    marks: Vec<Mark<'a>>,
    teardown_errors: Vec<&'a str>,
}

#[derive(Serialize)]
struct Gate<'a> {
    label: &'a str,
    kind: &'a str,
    what: &'a str,
    outcome: &'a str,
    acquire_seconds: f64,
    hold_seconds: Option<f64>,
    release_seconds: Option<f64>,
    warnings: &'a [String],
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Mark<'a> {
    at_seconds: f64,
    what: &'a str,
}

pub(super) fn json(account: &Account) -> anyhow::Result<String> {
    let events = &account.events;
    let now = account.length;
    let at = |time| Timestamp::try_from(time).ok().map(|time| time.to_string());
    let undone = events.gates.iter().filter(|gate| gate.release.is_some());
    let report = Report {
        version: VERSION,
        run: account.run.to_string(),
        job: &account.job,
        file: account.file.as_deref(),
        command: &account.command,
        started: at(events.started),
        ended: at(events.started + now),
        duration_seconds: seconds(now),
        command_seconds: events.command.map(|command| seconds(command.length(now))),
        outcome: account.outcome,
        exit: account.exit.code(),
        signal: account.signal.map(name),
        timed_out: account.timed_out,
        killed: events.was_killed,
        error: account.error.as_deref(),
        gates: events.gates.iter().map(|gate| of_gate(gate, now)).collect(),
        orphans: &events.orphans,
        marks: events.marks.iter().map(of_mark).collect(),
        teardown_errors: undone.filter_map(|gate| gate.error.as_deref()).collect(),
    };
    let text = serde_json::to_string_pretty(&report)?;
    Ok(text + "\n")
}

fn of_gate(gate: &GateEvents, now: Duration) -> Gate<'_> {
    let length = |span: Span| seconds(span.length(now));
    Gate {
        label: &gate.label,
        kind: gate.kind,
        what: &gate.name,
        outcome: gate.outcome(),
        acquire_seconds: length(gate.acquire),
        hold_seconds: gate.held().map(length),
        release_seconds: gate.release.map(length),
        warnings: &gate.warnings,
        error: gate.error.as_deref(),
    }
}

fn of_mark(mark: &super::chronicle::Mark) -> Mark<'_> {
    Mark {
        at_seconds: seconds(mark.at),
        what: &mark.what,
    }
}

/// To the microsecond: the rest is noise.
fn seconds(duration: Duration) -> f64 {
    Duration::from_micros(duration.as_micros().try_into().unwrap_or(u64::MAX)).as_secs_f64()
}

/// `SIGTERM`, or its number.
fn name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string())
}
