//! A job, told before anything of it is done.

use std::path::{Path, PathBuf};

use humantime::format_duration;

use super::{Job, Orphans, TeardownErrors};
use crate::message::{nearby, shown};
use crate::output::{Closed, Output};
use crate::run::Exit;
use crate::run::gates::{Preview, Previews};
use crate::run::release::{HURRIED_LIMIT, LIMIT};
use crate::run::status::BUSY;

/// Prints it. The answer is how this process should end.
pub(crate) fn print(job: &Job) -> Exit {
    let printed = Output::new().and_then(|mut output| {
        for line in lines(job)? {
            output.line(line)?;
        }
        output.flush()
    });
    match printed {
        Err(error) if !error.is::<Closed>() => {
            job.messages.error(format_args!("{error:#}"));
            Exit::FAILED
        }
        _ => Exit::SUCCESS,
    }
}

fn lines(job: &Job) -> anyhow::Result<Vec<String>> {
    let mut lines = vec![title(job), String::new()];
    let previews = Previews::of(&job.gates)?;
    section(&mut lines, "acquire", gates(&previews.previews));
    section(&mut lines, "run", command(job));
    section(&mut lines, "undo", vec![undo(job)]);
    section(&mut lines, "exit", statuses(job));
    Ok(lines.iter().map(|line| nearby(line)).collect())
}

/// Adds lines below each other, with their heading before the first one.
fn section(lines: &mut Vec<String>, heading: &str, texts: Vec<String>) {
    for (number, text) in texts.into_iter().enumerate() {
        let heading = if number == 0 { heading } else { "" };
        lines.push(format!("{heading:8} {text}"));
    }
}

fn title(job: &Job) -> String {
    match &job.file {
        Some(file) => format!("{} ({})", job.name(), shown(file)),
        None => job.name(),
    }
}

fn gates(previews: &[Preview]) -> Vec<String> {
    let ids = previews.iter().filter_map(|gate| gate.id.as_deref());
    let widest = ids.map(|id| id.chars().count()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for (number, gate) in (1..).zip(previews) {
        let id = gate.id.as_deref().unwrap_or_default();
        let space = if widest == 0 { "" } else { "  " };
        let notes = match gate.notes.is_empty() {
            true => String::new(),
            false => format!(" ({})", gate.notes.join(", ")),
        };
        let what = &gate.what;
        lines.push(format!("{number:2}  {id:widest$}{space}{what}{notes}"));
    }
    match lines.is_empty() {
        true => vec!["nothing".to_owned()],
        false => lines,
    }
}

fn command(job: &Job) -> Vec<String> {
    let words: Vec<String> = job.words().iter().map(|word| quoted(word)).collect();
    let mut lines = vec![words.join(" ")];
    if let Some(cwd) = &job.cwd {
        let path = cwd.base.join(cwd.path.to_string());
        let path = normalized(&path);
        if std::env::current_dir().is_ok_and(|here| here != path) {
            lines.push(format!("in {}", shown(&path)));
        }
    }
    let settings = &job.settings;
    if settings.clear_env == Some(true) {
        lines.push("with no variables but those above".to_owned());
    }
    let (signal, grace) = (
        settings.signal().as_str(),
        format_duration(settings.grace()),
    );
    lines.push(match settings.timeout {
        Some(limit) => format!(
            "for at most {}, then it gets {signal}, and {grace} later KILL",
            format_duration(limit)
        ),
        None => "for as long as it takes".to_owned(),
    });
    lines.push(match settings.orphans.unwrap_or_default() {
        Orphans::Kill => format!("what it leaves running gets {signal}, and {grace} later KILL"),
        Orphans::Wait => "what it leaves running is waited for".to_owned(),
        Orphans::Detach => "what it leaves running is left alone".to_owned(),
    });
    lines
}

/// Without `.` and a slash at the end.
fn normalized(path: &Path) -> PathBuf {
    path.components().collect()
}

/// As it could be typed, where that is not plain.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%^‹›".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn undo(job: &Job) -> String {
    match job.settings.teardown_timeout {
        Some(limit) => format!("in reverse order, within {}", format_duration(limit)),
        None => format!(
            "in reverse order, within {}, or {} when asked to stop",
            format_duration(LIMIT),
            format_duration(HURRIED_LIMIT)
        ),
    }
}

fn statuses(job: &Job) -> Vec<String> {
    let settings = &job.settings;
    let busy = settings.busy_code.unwrap_or(BUSY);
    let mut lines = vec![
        "the command's own, or:".to_owned(),
        format!("{busy:<4} a lock is busy, unless its gate says otherwise"),
    ];
    if settings.teardown_errors != Some(TeardownErrors::Warn) {
        lines.push("123  it succeeded, but a gate could not be undone, or was lost".to_owned());
    }
    if settings.timeout.is_some() && settings.preserve_status != Some(true) {
        lines.push("124  it ran too long".to_owned());
    }
    lines.push("125  a gate could not be acquired, or withal failed".to_owned());
    lines.push("126  it cannot be executed; 127: it was not found".to_owned());
    lines
}
