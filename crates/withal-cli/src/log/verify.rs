//! `withal log verify`: is it as it was written?

use std::path::PathBuf;

use serde_json::{Value, json};
use withal_log::{Problem, ProblemKind, Verdict, Verification, verify};

use super::check_is_log;
use super::progress::Progress;
use crate::output::Output;
use crate::run::Exit;

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
    let progress = Progress::of(&arguments.path);
    let report = verify(&arguments.path, |bytes| progress.add(bytes))?;
    drop(progress);
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
        ProblemKind::CorruptCompressed => "corrupt_compressed",
        ProblemKind::Unreadable => "unreadable",
        ProblemKind::InCommitRing => "in_commit_ring",
        ProblemKind::MissingText => "missing_text",
        ProblemKind::MissingSegment => "missing_segment",
        ProblemKind::CorruptIdentity => "corrupt_identity",
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
