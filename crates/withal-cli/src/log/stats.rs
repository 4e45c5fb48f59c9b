//! `withal log stats`: what a log holds.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::json;
use withal_log::{Stats, stats};

use super::check_is_log;
use crate::output::Output;
use crate::run::Exit;

/// How many parts the time is shown in.
const PARTS: usize = 60;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The directory of the log
    #[arg(value_name = "DIR")]
    path: PathBuf,

    /// Print a JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    check_is_log(&arguments.path)?;
    let stats = stats(&arguments.path)?;
    let mut output = Output::new()?;
    match arguments.json {
        true => output.line(as_json(&stats))?,
        false => print(&stats, &mut output)?,
    }
    output.flush()?;
    Ok(Exit::SUCCESS)
}

fn as_json(stats: &Stats) -> serde_json::Value {
    json!({
        "segments": stats.segments,
        "compressed_segments": stats.compressed,
        "lines": stats.lines,
        "dropped_lines": stats.dropped,
        "text_bytes": stats.text_bytes,
        "uncovered_bytes": stats.uncovered,
        "disk_bytes": stats.disk_bytes,
        "sidecar_bytes": stats.sidecar_bytes,
        "first": stats.first.map(time),
        "last": stats.last.map(time),
        "tail_rule": stats.tail_rule.to_string(),
        "file_system": stats.file_system,
        "file_system_tail_rule": stats.file_system_rule.to_string(),
    })
}

fn print(stats: &Stats, output: &mut Output) -> anyhow::Result<()> {
    let known = |when: Option<u64>| when.map_or_else(|| "-".to_owned(), time);
    output.line(format_args!(
        "segments   {} ({} compressed)",
        stats.segments, stats.compressed
    ))?;
    output.line(format_args!("lines      {}", stats.lines))?;
    output.line(format_args!("dropped    {}", stats.dropped))?;
    output.line(format_args!(
        "text       {} bytes, {} more without a checksum yet",
        stats.text_bytes, stats.uncovered
    ))?;
    output.line(format_args!(
        "disk       {} bytes, {} of sidecars",
        stats.disk_bytes, stats.sidecar_bytes
    ))?;
    output.line(format_args!("first      {}", known(stats.first)))?;
    output.line(format_args!("last       {}", known(stats.last)))?;
    output.line(format_args!("tail rule  {}", tail_rule(stats)))?;
    if stats.lines > 0 {
        output.line(format_args!("over time  {}", bars(&stats.histogram(PARTS))))?;
    }
    Ok(())
}

/// Where its text ends after a crash, and why there.
fn tail_rule(stats: &Stats) -> String {
    let Stats {
        tail_rule,
        file_system,
        file_system_rule,
        ..
    } = stats;
    match tail_rule == file_system_rule {
        true => format!("{tail_rule}: it is on {file_system}"),
        false => format!("{tail_rule}: it was written so, though it is on {file_system}"),
    }
}

fn time(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds)
        .ok()
        .and_then(|time| Timestamp::from_millisecond(time).ok());
    time.map_or_else(|| milliseconds.to_string(), |time| format!("{time:.3}"))
}

/// One bar for each number, the largest one full.
fn bars(numbers: &[u64]) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = u128::from(numbers.iter().copied().max().unwrap_or(0).max(1));
    let height = |number: u64| (u128::from(number) * 8).div_ceil(most);
    let bar = |number: &u64| {
        let height = usize::try_from(height(*number)).unwrap_or(0);
        BARS.get(height).copied().unwrap_or(' ')
    };
    numbers.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn bars_show_everything_that_is_not_nothing() {
        assert_eq!(super::bars(&[0, 1, 500, 1000]), " ▁▄█");
        assert_eq!(super::bars(&[0, 0]), "  ");
    }
}
