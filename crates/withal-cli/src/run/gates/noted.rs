//! What is held right now, and how that is told.

use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;
use withal_core::{AsyncContextManager, ExitCase};

use super::{Equip as _, Kind, Listed, Resource};
use crate::message::Messages;
use crate::run::account::{Chronicle, Entry};
use crate::run::check_room;
use crate::run::journal::{Journal, Record};

/// How many descriptors a gate may need, and somewhat more. That there is room for them is known
/// before, for in want of some of them it could not undo what it has begun; and when it is undone
/// there is at least as much room as there was.
const OF_A_GATE: usize = 16;

/// The names of what is held right now, and how that is told.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    names: Arc<Mutex<Vec<String>>>,
    chronicle: Chronicle,
    messages: Messages,
}

impl Held {
    pub(crate) fn new(chronicle: Chronicle, messages: Messages) -> Held {
        Held {
            names: Arc::default(),
            chronicle,
            messages,
        }
    }

    pub(super) fn chronicle(&self) -> &Chronicle {
        &self.chronicle
    }

    /// In the order they are undone.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().iter().rev().cloned().collect()
    }

    pub(crate) fn acquired(&self, name: &str) {
        self.messages.step(format_args!("acquired {name}"));
        self.lock().push(name.to_owned());
    }

    /// Exits run in reverse order, so it is the newest.
    fn undone(&self, name: &str, outcome: &anyhow::Result<()>) {
        let _ = self.lock().pop();
        if outcome.is_ok() {
            self.messages.step(format_args!("released {name}"));
        }
    }

    /// Warns of what the journal could not be told: all goes on without it.
    fn tell(&self, written: anyhow::Result<()>) {
        if let Err(error) = written {
            self.messages.warn(format_args!("{error:#}"));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a gate warns of: told at once, and in the report.
#[derive(Clone, Debug)]
pub(crate) struct Warnings {
    /// Where in the chronicle the gate is.
    place: Option<(Chronicle, Entry)>,
    messages: Messages,
}

impl Warnings {
    /// Those of no gate: they are told, and that is all.
    pub(crate) fn new(messages: Messages) -> Warnings {
        Warnings {
            place: None,
            messages,
        }
    }

    pub(super) fn of_gate(chronicle: Chronicle, entry: Entry, messages: Messages) -> Warnings {
        Warnings {
            place: Some((chronicle, entry)),
            messages,
        }
    }

    pub(super) fn warn(&self, warning: impl fmt::Display) {
        let warning = warning.to_string();
        self.messages.warn(&warning);
        if let Some((chronicle, entry)) = &self.place {
            chronicle.warned(*entry, warning);
        }
    }
}

/// A gate that is noted in [`Held`] while it is held, and that names itself in its errors.
pub(super) struct Noted<K: Kind> {
    pub(super) gate: K::Gate,
    /// What its errors begin with.
    pub(super) label: String,
    pub(super) limits: Limits,
    /// That of acquiring it.
    pub(super) deadline: Deadline,
    pub(super) held: Held,
    /// Where in the chronicle it is.
    pub(super) entry: Entry,
    pub(super) journal: Journal,
}

/// How long acquiring a gate may take, and whether that is over.
#[derive(Clone, Debug)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    is_over: Arc<AtomicBool>,
}

impl Deadline {
    pub(super) fn new(limits: Limits) -> Deadline {
        Deadline {
            limit: limits.acquire,
            is_over: Arc::default(),
        }
    }

    /// What `entering` a gate on a stack gives, if it gives it soon enough.
    ///
    /// If not, nobody waits for it any more: when the stack is left, what can be given up of it is,
    /// and it undoes what it has begun.
    pub(super) async fn keep<T>(
        &self,
        entering: impl Future<Output = anyhow::Result<T>>,
        label: &str,
    ) -> anyhow::Result<T> {
        let mut entering = pin!(entering);
        let Some(limit) = self.limit else {
            return entering.await;
        };
        if let Ok(entered) = timeout(limit, &mut entering).await {
            return entered;
        }
        // Before it is dropped: what it says from then on is no news.
        self.is_over.store(true, Ordering::Relaxed);
        Err(not_acquired(limit)).with_context(|| label.to_owned())
    }

    /// Why a gate was not acquired that failed with `error`.
    fn why(&self, error: anyhow::Error) -> anyhow::Error {
        let over = self.limit.filter(|_| self.is_over.load(Ordering::Relaxed));
        over.map_or(error, |limit| not_acquired(limit).into())
    }
}

fn not_acquired(limit: Duration) -> OverLimit {
    let what = "acquired";
    OverLimit { what, limit }
}

/// How long a gate may take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) acquire: Option<Duration>,
    pub(super) release: Option<Duration>,
}

pub(super) struct NotedResource<K: Kind> {
    pub(super) resource: Resource<K>,
    label: String,
    name: String,
    release_limit: Option<Duration>,
    held: Held,
    journal: Journal,
    /// Its number there.
    number: usize,
    entry: Entry,
}

impl<K: Listed> AsyncContextManager for Noted<K> {
    type Resource = NotedResource<K>;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Self::Resource> {
        let name = self.gate.to_string();
        self.held.messages.step(format_args!("acquiring {name}"));
        let undo = K::intent(&self.gate).map(K::any);
        let entry = self.entry;
        let chronicle = self.held.chronicle.clone();
        chronicle.named(entry, &name);
        let gate = match self.journal.intend(name.clone(), undo) {
            Ok(gate) => gate,
            Err(error) => {
                chronicle.acquired(entry, Err(format!("{error:#}")));
                return Err(error.context(self.label));
            }
        };
        let entered = match check_room(OF_A_GATE).context("there is no room for it") {
            Ok(()) => self.gate.enter().await,
            Err(error) => Err(error),
        };
        let resource = match entered {
            Ok(resource) => resource,
            Err(error) => {
                let error = self.deadline.why(error);
                chronicle.acquired(entry, Err(format!("{error:#}")));
                // What fails to be acquired leaves nothing.
                self.held.tell(self.journal.released(gate));
                return Err(error.context(self.label));
            }
        };
        let undo = K::acquired(&resource).map(K::any);
        self.held
            .tell(self.journal.write(&Record::Acquired { gate, undo }));
        let name = match resource.detail() {
            Some(detail) => format!("{name} ({detail})"),
            None => name,
        };
        self.held.acquired(&name);
        chronicle.acquired(entry, Ok(&name));
        Ok(NotedResource {
            resource,
            label: self.label,
            name,
            release_limit: self.limits.release,
            held: self.held,
            journal: self.journal,
            number: gate,
            entry,
        })
    }

    async fn exit(noted: Self::Resource, case: ExitCase) -> anyhow::Result<()> {
        let gate = noted.number;
        noted
            .held
            .tell(noted.journal.write(&Record::Releasing { gate }));
        let chronicle = &noted.held.chronicle;
        chronicle.releasing(noted.entry);
        let release = K::Gate::exit(noted.resource, case);
        let outcome = within(noted.release_limit, "undone", release).await;
        let error = outcome.as_ref().err().map(|error| format!("{error:#}"));
        chronicle.released(noted.entry, error);
        if outcome.is_ok() {
            noted.held.tell(noted.journal.released(gate));
        }
        noted.held.undone(&noted.name, &outcome);
        outcome.context(noted.label)
    }
}

/// What `work` gives, if it gives it soon enough.
async fn within<T>(
    limit: Option<Duration>,
    what: &'static str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    let done = timeout(limit, work).await;
    done.map_err(|_| OverLimit { what, limit })?
}

/// A gate took longer than it may.
#[derive(Debug)]
struct OverLimit {
    what: &'static str,
    limit: Duration,
}

impl fmt::Display for OverLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = humantime::format_duration(self.limit);
        write!(f, "not {} within {limit}", self.what)
    }
}

impl std::error::Error for OverLimit {}
