//! `withal log verify`: is it as it was written?

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use withal_log::{Problem, ProblemKind, Verdict, Verification, stats, verify};

use super::check_is_log;
use super::output::Output;
use crate::run::Exit;

/// From how much text on there is a progress bar.
const LARGE: u64 = 64 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory of the log
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// Print a JSON object instead of lines
    #[arg(long)]
    json: bool,

    /// Print only what is wrong
    #[arg(short, long, conflicts_with = "json")]
    quiet: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    check_is_log(&arguments.path)?;
    let progress = progress(&arguments.path);
    let report = verify(&arguments.path, |bytes| {
        if let Some(progress) = &progress {
            progress.inc(bytes);
        }
    })?;
    if let Some(progress) = progress {
        progress.finish_and_clear();
    }
    let mut output = Output::new()?;
    if arguments.json {
        output.line(as_json(&report))?;
    } else {
        for problem in &report.problems {
            output.line(problem)?;
        }
        if !arguments.quiet {
            output.line(format_args!(
                "{}: {}, {} segments, {} lines, {} bytes checked",
                arguments.path.display(),
                verdict_name(report.verdict()),
                report.segments,
                report.lines,
                report.bytes
            ))?;
        }
    }
    output.flush()?;
    Ok(exit(report.verdict()))
}

pub(super) fn exit(verdict: Verdict) -> Exit {
    Exit::Code(match verdict {
        Verdict::Clean => 0,
        Verdict::TornTail => 1,
        Verdict::Corrupt => 2,
        Verdict::Missing => 3,
    })
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Clean => "clean",
        Verdict::TornTail => "torn",
        Verdict::Corrupt => "corrupt",
        Verdict::Missing => "missing",
    }
}

/// A bar for somebody who waits for a large log.
fn progress(path: &Path) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    // That it cannot be read is told by who checks it.
    let length = stats(path).ok()?.text_bytes;
    if length <= LARGE {
        return None;
    }
    let template = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).ok()?;
    let target = ProgressDrawTarget::stderr();
    Some(ProgressBar::with_draw_target(Some(length), target).with_style(style))
}

fn as_json(report: &Verification) -> Value {
    let problems: Vec<Value> = report.problems.iter().map(problem_as_json).collect();
    json!({
        "verdict": verdict_name(report.verdict()),
        "segments": report.segments,
        "bytes": report.bytes,
        "lines": report.lines,
        "uncovered_bytes": report.uncovered,
        "problems": problems,
    })
}

fn problem_as_json(problem: &Problem) -> Value {
    let kind = match problem.kind {
        ProblemKind::TornTail => "torn_tail",
        ProblemKind::CorruptText => "corrupt_text",
        ProblemKind::CorruptSidecar => "corrupt_sidecar",
        ProblemKind::MissingText => "missing_text",
        ProblemKind::MissingSegment => "missing_segment",
        _ => "other",
    };
    json!({
        "file": problem.file,
        "offset": problem.offset,
        "length": problem.len,
        "first_line": problem.lines.map(|(first, _)| first),
        "last_line": problem.lines.map(|(_, last)| last),
        "kind": kind,
        "message": problem.kind.to_string(),
    })
}
