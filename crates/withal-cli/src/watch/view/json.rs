//! Lines for programs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::super::model::{Group, Report, Row};
use super::super::pace;
use super::super::session::{Ending, Picture};
use super::super::words;
use super::View;
use super::output::Output;

#[derive(Debug)]
pub(in super::super) struct Json {
    output: Output,
    samples: u64,
}

/// A line for a sample.
#[derive(Debug, Serialize)]
struct Sample<'a> {
    event: &'static str,
    at: String,
    pid: i32,
    name: &'a str,
    fds: u64,
    limit: Option<u64>,
    processes: usize,
    hidden: usize,
    /// Whether each descriptor was looked at; else there are no kinds.
    full: bool,
    all: Numbers,
    #[serde(skip_serializing_if = "Option::is_none")]
    kinds: Option<BTreeMap<&'static str, Numbers>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<Vec<Sockets>>,
    verdict: &'static str,
    /// Processor time of a full sample.
    cost_ms: f64,
    /// One sample in so many is a full one.
    full_every: u32,
}

#[derive(Debug, Serialize)]
struct Numbers {
    now: u64,
    min: u64,
    max: u64,
    slope_per_minute: f64,
    z: f64,
    verdict: &'static str,
    seconds_to_limit: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Sockets {
    state: &'static str,
    peer: Option<String>,
    /// Whether the peer came to a port of the process.
    incoming: bool,
    count: u64,
    oldest_seconds: f64,
    left_in_window: u64,
}

/// The last line.
#[derive(Debug, Serialize)]
struct End<'a> {
    event: &'static str,
    at: String,
    pid: i32,
    name: &'a str,
    samples: u64,
    ended: &'static str,
    verdict: &'static str,
    kind: Option<&'static str>,
    sentence: String,
    cpu_ms: f64,
    seconds: f64,
}

impl Json {
    pub(super) fn new(output: Output) -> Json {
        Json { output, samples: 0 }
    }

    pub(super) fn end(&mut self, picture: &Picture, ending: &Ending) -> anyhow::Result<()> {
        let report = picture.model.report(picture.at);
        let end = End {
            event: "end",
            at: now(),
            pid: picture.about.pid.as_raw(),
            name: &picture.about.name,
            samples: self.samples,
            ended: words::ending_key(ending),
            verdict: report
                .as_ref()
                .map_or("unknown", |report| report.verdict.key()),
            kind: report.as_ref().map(|report| report.worst().name()),
            sentence: report.as_ref().map_or_else(String::new, words::sentence),
            cpu_ms: milliseconds(pace::used()),
            seconds: rounded(picture.at.as_secs_f64()),
        };
        self.output.line(serde_json::to_string(&end)?)
    }
}

impl View for Json {
    fn show(&mut self, picture: &Picture) -> anyhow::Result<()> {
        let Some(report) = picture.model.report(picture.at) else {
            return Ok(());
        };
        self.samples += 1;
        let line = serde_json::to_string(&sample(picture, &report))?;
        self.output.line(line)
    }
}

fn sample<'a>(picture: &'a Picture, report: &Report<'_>) -> Sample<'a> {
    let about = &picture.about;
    let kinds = report.kinds.iter().map(|row| (row.name(), numbers(row)));
    Sample {
        event: "sample",
        at: now(),
        pid: about.pid.as_raw(),
        name: &about.name,
        fds: report.all.trend.now,
        limit: about.limit,
        processes: about.processes,
        hidden: about.hidden,
        full: picture.is_full,
        all: numbers(&report.all),
        kinds: picture.is_full.then(|| kinds.collect()),
        tcp: picture
            .is_full
            .then(|| report.groups.iter().map(sockets).collect()),
        verdict: report.verdict.key(),
        cost_ms: milliseconds(picture.pace.cost()),
        full_every: picture.pace.every(),
    }
}

fn numbers(row: &Row<'_>) -> Numbers {
    let trend = &row.trend;
    Numbers {
        now: trend.now,
        min: trend.min,
        max: trend.max,
        slope_per_minute: rounded(trend.slope),
        z: rounded(trend.z),
        verdict: row.verdict.key(),
        seconds_to_limit: row.to_limit.map(|left| left.as_secs()),
    }
}

fn sockets(group: &Group) -> Sockets {
    use super::super::kind::Peer;
    let (peer, incoming) = match group.peer {
        Some(Peer::Server(address)) => (Some(address.to_string()), false),
        Some(Peer::Client { address, .. }) => (Some(address.to_string()), true),
        None => (None, false),
    };
    Sockets {
        state: group.state.name(),
        peer,
        incoming,
        count: group.count,
        oldest_seconds: rounded(group.oldest.as_secs_f64()),
        left_in_window: group.left,
    }
}

fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

fn milliseconds(time: std::time::Duration) -> f64 {
    rounded(time.as_secs_f64() * 1_000.0)
}

fn rounded(number: f64) -> f64 {
    (number * 1_000.0).round() / 1_000.0
}
