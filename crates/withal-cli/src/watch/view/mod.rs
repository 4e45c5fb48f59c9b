//! What a watch looks like: lines, JSON, or a chart on a terminal.

mod chart;
mod json;
mod live;
mod output;
mod plain;
mod screen;

use std::io::{self, IsTerminal as _};

use super::arguments::{Format, Job, Subject};
use super::session::{Ending, Picture, Turn};
use output::Output;

pub(super) use live::{Keys, Live, typed};
pub(super) use screen::screen;

/// Shows samples as they come.
pub(super) trait View {
    /// There is a new sample.
    fn show(&mut self, picture: &Picture) -> anyhow::Result<()>;

    /// Keys were pressed.
    fn keys(&mut self, _keys: &[u8], _picture: &Picture) -> anyhow::Result<Turn> {
        Ok(Turn::GoOn)
    }

    /// The terminal has another size.
    fn resize(&mut self, _picture: &Picture) -> anyhow::Result<()> {
        Ok(())
    }
}

/// How this watch is shown.
pub(super) enum Form {
    Lines(Lines),
    /// The chart, and where the table goes at the end.
    Live(Live, Output),
}

/// Lines for people or for programs.
pub(super) enum Lines {
    Plain(plain::Plain),
    Json(json::Json),
}

impl Form {
    pub(super) fn of(job: &Job) -> anyhow::Result<Form> {
        let is_command = matches!(job.subject, Subject::Command { .. });
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let output = Output::open(job.output.as_deref(), is_command)?;
        Ok(match job.format {
            Format::Json => Form::Lines(Lines::Json(json::Json::new(output))),
            Format::Fitting if is_terminal && !is_command && job.output.is_none() => {
                Form::Live(Live::new(), output)
            }
            format => {
                let has_samples = format == Format::Plain || !is_command || job.output.is_some();
                Form::Lines(Lines::Plain(plain::Plain::new(output, has_samples)))
            }
        })
    }

    /// Says how it ended, and the verdict.
    pub(super) fn end(&mut self, picture: &Picture, ending: &Ending) -> anyhow::Result<()> {
        match self {
            Form::Lines(Lines::Json(json)) => json.end(picture, ending),
            Form::Lines(Lines::Plain(plain)) => plain.end(picture, ending),
            Form::Live(_, output) => plain::end(output, picture, ending),
        }
    }
}

impl View for Lines {
    fn show(&mut self, picture: &Picture) -> anyhow::Result<()> {
        match self {
            Lines::Plain(plain) => plain.show(picture),
            Lines::Json(json) => json.show(picture),
        }
    }
}
