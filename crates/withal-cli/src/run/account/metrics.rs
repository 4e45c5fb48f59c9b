//! `--metrics`: how the last run went, as a text file of Prometheus.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;

use super::Account;
use super::chronicle::Span;
use super::sink;
use crate::run::Exit;

const LAST_SUCCESS: &str = "withal_run_last_success_timestamp_seconds";

/// Replaces the file whole. When the job has succeeded last is kept from the one before.
pub(super) fn write(account: &Account, path: &Path) -> anyhow::Result<()> {
    let before = match fs::read_to_string(path) {
        Ok(before) => before,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context(crate::message::shown(path)),
    };
    sink::replace(path, &text(account, &before))
}

fn text(account: &Account, before: &str) -> String {
    let now = account.length;
    let job = format!("job=\"{}\"", escaped(&account.job));
    let ended = (account.events.started + now).duration_since(UNIX_EPOCH);
    let ended = ended.unwrap_or_default().as_secs_f64();
    let success = match account.exit {
        Exit::SUCCESS => Some(ended.to_string()),
        _ => last(before, &format!("{LAST_SUCCESS}{{{job}}} ")),
    };
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: Vec<(String, String)>| {
        if samples.is_empty() {
            return;
        }
        let _infallible = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _infallible = writeln!(text, "{name}{{{labels}}} {value}");
        }
    };
    let one = |value: String| vec![(job.clone(), value)];
    gauge(
        "withal_run_last_exit_code",
        "Exit status of the last run; 128+n if signal n ended it.",
        one(account.exit.code().to_string()),
    );
    gauge(
        "withal_run_last_end_timestamp_seconds",
        "When the last run ended.",
        one(ended.to_string()),
    );
    gauge(
        LAST_SUCCESS,
        "When a run ended with 0 last.",
        success.map(one).unwrap_or_default(),
    );
    gauge(
        "withal_run_duration_seconds",
        "How long the last run took, its gates included.",
        one(now.as_secs_f64().to_string()),
    );
    let command = account.events.command;
    gauge(
        "withal_run_command_duration_seconds",
        "How long the command of the last run took.",
        command.map_or_else(Vec::new, |command| one(length(command, now))),
    );
    for (stage, help) in [
        ("acquire", "How long it took to acquire a gate."),
        ("hold", "How long a gate was held."),
        ("release", "How long it took to undo a gate."),
    ] {
        let gates = account.events.gates.iter();
        let samples = gates.filter_map(|gate| {
            let span = match stage {
                "acquire" => Some(gate.acquire),
                "hold" => gate.held(),
                _ => gate.release,
            };
            let (label, kind) = (escaped(&gate.label), gate.kind);
            let labels = format!("{job},gate=\"{label}\",kind=\"{kind}\"");
            Some((labels, length(span?, now)))
        });
        let samples = unique(samples.collect());
        gauge(
            &format!("withal_run_gate_{stage}_duration_seconds"),
            help,
            samples,
        );
    }
    text
}

fn length(span: Span, now: Duration) -> String {
    span.length(now).as_secs_f64().to_string()
}

/// Gates without an id may have the same labels; a series is written once, with their sum.
fn unique(samples: Vec<(String, String)>) -> Vec<(String, String)> {
    let mut unique: Vec<(String, f64)> = Vec::new();
    for (labels, value) in samples {
        let value: f64 = value.parse().unwrap_or_default();
        match unique.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, sum)) => *sum += value,
            None => unique.push((labels, value)),
        }
    }
    let unique = unique.into_iter();
    unique
        .map(|(labels, value)| (labels, value.to_string()))
        .collect()
}

/// The value of a series in an older file.
fn last(before: &str, series: &str) -> Option<String> {
    let mut lines = before.lines();
    let value = lines.find_map(|line| line.strip_prefix(series))?.trim();
    value.parse::<f64>().ok().map(|_| value.to_owned())
}

fn escaped(label: &str) -> String {
    let label = label.replace('\\', r"\\").replace('"', "\\\"");
    label.replace('\n', r"\n")
}
