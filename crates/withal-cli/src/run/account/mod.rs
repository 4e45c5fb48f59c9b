//! What a run leaves to be read: a report, metrics, a picture.

mod chronicle;
mod metrics;
mod recalled;
mod report;
mod sink;
mod timeline;

use std::borrow::Cow;
use std::time::Duration;

use super::gates::Secrets;
use super::job::Job;
use super::{Exit, RunId};

use chronicle::Events;

pub(crate) use chronicle::{Chronicle, Entry};
pub(crate) use sink::Destination;

/// All there is to tell of a run that has ended.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) run: RunId,
    pub(super) job: String,
    pub(super) file: Option<String>,
    /// Its references are not filled in: there may be secrets among them.
    pub(super) command: Vec<String>,
    pub(super) outcome: &'static str,
    /// Why the command was not run, or a gate has stopped it.
    pub(super) error: Option<String>,
    /// The signal that killed the command, or withal.
    pub(super) signal: Option<i32>,
    pub(super) timed_out: bool,
    pub(super) exit: Exit,
    events: Events,
    length: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) outcome: &'static str,
    pub(super) error: Option<String>,
    pub(super) signal: Option<i32>,
    pub(super) timed_out: bool,
    pub(super) exit: Exit,
}

impl End {
    /// The same of a run whose front was killed: whoever waited for it has seen no success, however
    /// the command has taken the request to stop.
    pub(super) fn without_front(self) -> End {
        const KILLED: &str = "the process that was started first was killed";
        End {
            outcome: "front_killed",
            error: Some(
                self.error
                    .map_or_else(|| KILLED.to_owned(), |error| format!("{KILLED}; {error}")),
            ),
            exit: Exit::FAILED,
            ..self
        }
    }
}

impl Account {
    pub(super) fn new(job: &Job, run: RunId, chronicle: &Chronicle, end: End) -> Account {
        let (events, length) = chronicle.so_far();
        Account::of(job, run, events, length, end)
    }

    /// That of a run which was not begun.
    pub(super) fn refused(job: &Job, error: &anyhow::Error) -> anyhow::Result<Account> {
        let end = End {
            outcome: "not_acquired",
            error: Some(format!("{error:#}")),
            signal: None,
            timed_out: false,
            exit: Exit::FAILED,
        };
        Ok(Account::new(job, RunId::random()?, &Chronicle::new(), end))
    }

    fn of(job: &Job, run: RunId, events: Events, length: Duration, end: End) -> Account {
        Account {
            run,
            job: job.name(),
            file: job.file.as_ref().map(crate::message::shown),
            command: job.words(),
            outcome: end.outcome,
            error: end.error,
            signal: end.signal,
            timed_out: end.timed_out,
            exit: end.exit,
            events,
            length,
        }
    }

    /// The same, with what is secret masked, wherever it stands.
    pub(super) fn without(mut self, secrets: &Secrets) -> Account {
        let events = &mut self.events;
        let of_gates = events.gates.iter_mut();
        let of_gates = of_gates.flat_map(|gate| {
            let texts = std::iter::once(&mut gate.name).chain(&mut gate.error);
            texts.chain(&mut gate.warnings)
        });
        let texts = [self.file.as_mut(), self.error.as_mut()]
            .into_iter()
            .flatten()
            .chain(of_gates)
            .chain(&mut self.command)
            .chain(&mut events.orphans)
            .chain(events.marks.iter_mut().map(|mark| &mut mark.what));
        for text in texts {
            if let Cow::Owned(masked) = secrets.mask(text.as_bytes()) {
                *text = String::from_utf8_lossy(&masked).into_owned();
            }
        }
        self
    }

    /// Writes what was asked for. What cannot be written is told, and changes nothing: the command
    /// has ended as it has.
    pub(super) fn write(&self, job: &Job, report: Option<Destination>) {
        let settings = &job.settings;
        let tell = |option: &str, written: anyhow::Result<()>| {
            if let Err(error) = written {
                job.messages.error(format_args!("--{option}: {error:#}"));
            }
        };
        if let Some(report) = report {
            tell(
                "report",
                report::json(self).and_then(|text| report.write(&text)),
            );
        }
        if let Some(path) = &settings.metrics {
            tell("metrics", metrics::write(self, path));
        }
        if let Some(path) = &settings.timeline {
            tell("timeline", sink::replace(path, &timeline::svg(self)));
        }
    }
}
