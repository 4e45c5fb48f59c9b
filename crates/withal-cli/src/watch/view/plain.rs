//! Lines for people.

use std::fmt::Write as _;

use jiff::Zoned;

use super::super::kind::Kind;
use super::super::model::{Report, Row, Verdict};
use super::super::session::{Ending, Picture};
use super::super::words;
use super::View;
use super::output::Output;

/// Columns of a sparkline.
pub(super) const COLUMNS: usize = 24;

/// From the lowest to the highest.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

#[derive(Debug)]
pub(in super::super) struct Plain {
    output: Output,
    /// Whether each sample gets a line, or only a new verdict.
    has_samples: bool,
    verdict: Verdict,
}

impl Plain {
    pub(super) fn new(output: Output, has_samples: bool) -> Plain {
        Plain {
            output,
            has_samples,
            verdict: Verdict::Unknown,
        }
    }

    pub(super) fn end(&mut self, picture: &Picture, ending: &Ending) -> anyhow::Result<()> {
        end(&mut self.output, picture, ending)
    }
}

impl View for Plain {
    fn show(&mut self, picture: &Picture) -> anyhow::Result<()> {
        let Some(report) = picture.model.report(picture.at) else {
            return Ok(());
        };
        if self.has_samples {
            let now = Zoned::now().strftime("%H:%M:%S").to_string();
            let line = sample(&report, picture.is_full);
            self.output.lines(format_args!("{now}  {line}"))?;
        }
        if report.verdict != self.verdict {
            self.verdict = report.verdict;
            self.output.lines(words::sentence(&report))?;
        }
        Ok(())
    }
}

/// Says how a watch ended, with its table and its verdict.
pub(super) fn end(output: &mut Output, picture: &Picture, ending: &Ending) -> anyhow::Result<()> {
    let mut text = format!("{} {}\n", output.title(), words::header(picture));
    match picture.model.report(picture.at) {
        Some(report) => text.push_str(&table(&report)),
        None => text.push_str(" no sample was taken\n"),
    }
    if let Some(words) = words::ending(ending, &picture.about) {
        let _ = writeln!(text, "{words}");
    }
    output.lines(text)
}

/// `214/1024 fds  tcp 182  file 27  eventfd 3`.
fn sample(report: &Report<'_>, is_full: bool) -> String {
    let mut line = words::total(report);
    if is_full {
        let present = report.kinds.iter().filter(|row| row.trend.now > 0);
        for row in present {
            let _ = write!(line, "  {} {}", row.name(), row.trend.now);
        }
    }
    line
}

/// Everything that is known, and the verdict.
fn table(report: &Report<'_>) -> String {
    let mut text = heading(report, COLUMNS);
    text.push('\n');
    for row in report.rows() {
        let verdict = words::verdict(row, report.limit);
        let _ = writeln!(text, " {}{verdict}", numbers(row, COLUMNS));
        if row.kind == Some(Kind::Tcp) {
            for group in words::groups(report) {
                let _ = writeln!(text, "   {}", words::group(group));
            }
        }
    }
    let _ = writeln!(text, " verdict: {}", words::sentence(report));
    text
}

/// The heading of the table, whose sparklines have as many columns.
pub(super) fn heading(report: &Report<'_>, columns: usize) -> String {
    let mut last = format!("last {}", words::time(report.all.trend.span));
    last.truncate(columns);
    format!(
        " {:<10}{:>6}{:>7}{:>7}{:>12}{:>7}   {last:<columns$}  verdict",
        "kind", "now", "min", "max", "slope/min", "z"
    )
}

/// What the table says of a kind before its verdict.
pub(super) fn numbers(row: &Row<'_>, columns: usize) -> String {
    let trend = &row.trend;
    format!(
        "{:<10}{:>6}{:>7}{:>7}{:>12}{:>7}   {:<columns$}  ",
        row.name(),
        trend.now,
        trend.min,
        trend.max,
        words::rate(trend.slope),
        words::z(trend.z),
        sparkline(row, columns)
    )
}

/// The course of a number, each column the last sample of its part of the time.
fn sparkline(row: &Row<'_>, columns: usize) -> String {
    let trend = &row.trend;
    let points: Vec<_> = row.series.points().collect();
    let columns = points.len().min(columns);
    let range = trend.max - trend.min;
    let block = |column: usize| {
        let index = (column + 1) * points.len() / columns - 1;
        let now = points.get(index).map_or(0, |point| point.now);
        let height = match range {
            0 => 3,
            range => (now - trend.min) * 7 / range,
        };
        let height = usize::try_from(height).unwrap_or(usize::MAX);
        BLOCKS.get(height).copied().unwrap_or('█')
    };
    (0..columns).map(block).collect()
}
