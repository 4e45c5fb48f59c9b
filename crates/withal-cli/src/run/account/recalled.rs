//! What happened in a run whose keeper was killed, as its journal tells.

use std::time::{Duration, SystemTime};

use super::chronicle::{Events, GateEvents, Mark, Span};
use super::{Account, End};
use crate::run::job::Job;
use crate::run::journal::{Gate, Story};
use crate::run::{Exit, RunId};

const KILLED: &str = "the process that holds the gates was killed";

impl Account {
    /// That of a run that was taken over at a time, and is over now.
    pub(in crate::run) fn recalled(
        job: &Job,
        run: RunId,
        story: Option<&Story>,
        taken_over: SystemTime,
        exit: Exit,
    ) -> Account {
        let started = story.map_or(taken_over, |story| story.at);
        let since = |at: SystemTime| at.duration_since(started).unwrap_or_default();
        let mut events = Events::since(started);
        let gates = story.map_or(&[][..], |story| &story.gates);
        let planned = job.gates.iter().filter(|gate| gate.is_acquired());
        events.gates = gates
            .iter()
            .zip(planned)
            .map(|(gate, planned)| GateEvents {
                label: planned.label().to_owned(),
                kind: planned.kind(),
                name: gate.name.clone(),
                ..of_gate(gate, since(taken_over), since)
            })
            .collect();
        let commanded = story.and_then(|story| story.commanded);
        events.command = commanded.map(|from| Span {
            from: since(from),
            to: story.and_then(|story| story.exited).map(since),
        });
        events.marks.push(Mark {
            at: since(taken_over),
            what: "keeper killed".to_owned(),
        });
        let end = End {
            outcome: "keeper_killed",
            error: Some(KILLED.to_owned()),
            signal: None,
            timed_out: false,
            exit,
        };
        Account::of(job, run, events, since(SystemTime::now()), end)
    }
}

/// What became of a gate; one that no record undoes went with the keeper.
fn of_gate(
    gate: &Gate,
    taken_over: Duration,
    since: impl Fn(SystemTime) -> Duration,
) -> GateEvents {
    let times = gate.times;
    let released = match (&gate.undo, times.released) {
        (_, Some(released)) => Some(since(released)),
        (None, None) => Some(taken_over),
        (Some(_), None) => None,
    };
    let is_acquired = times.acquired.is_some();
    let release = Span {
        from: times.releasing.map_or(taken_over, &since),
        to: released,
    };
    GateEvents {
        label: String::new(),
        kind: "",
        name: String::new(),
        acquire: Span {
            from: since(times.intended),
            to: Some(times.acquired.map_or(taken_over, &since)),
        },
        release: (is_acquired || released.is_none()).then_some(release),
        warnings: Vec::new(),
        error: match (is_acquired, released) {
            (_, None) => Some("not undone".to_owned()),
            (false, Some(_)) => Some(KILLED.to_owned()),
            (true, Some(_)) => None,
        },
    }
}
