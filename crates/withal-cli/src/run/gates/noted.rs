//! What is held right now, and how that is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::timeout;
use withal_core::{AsyncContextManager, ExitCase};

use super::{Equip as _, Kind, Listed, Resource};
use crate::message::Messages;

/// The names of what is held right now, and how that is told.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    names: Arc<Mutex<Vec<String>>>,
    messages: Messages,
}

impl Held {
    pub(crate) fn new(messages: Messages) -> Held {
        Held {
            names: Arc::default(),
            messages,
        }
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

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A gate that is noted in [`Held`] while it is held, and that names itself in its errors.
pub(super) struct Noted<K: Kind> {
    pub(super) gate: K::Gate,
    /// What its errors begin with.
    pub(super) label: String,
    pub(super) limits: Limits,
    pub(super) held: Held,
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
}

impl<K: Listed> AsyncContextManager for Noted<K> {
    type Resource = NotedResource<K>;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Self::Resource> {
        let name = self.gate.to_string();
        self.held.messages.step(format_args!("acquiring {name}"));
        let acquired = within(self.limits.acquire, "acquired", self.gate.enter()).await;
        let resource = acquired.with_context(|| self.label.clone())?;
        let name = match resource.detail() {
            Some(detail) => format!("{name} ({detail})"),
            None => name,
        };
        self.held.acquired(&name);
        Ok(NotedResource {
            resource,
            label: self.label,
            name,
            release_limit: self.limits.release,
            held: self.held,
        })
    }

    async fn exit(noted: Self::Resource, case: ExitCase) -> anyhow::Result<()> {
        let release = K::Gate::exit(noted.resource, case);
        let outcome = within(noted.release_limit, "undone", release).await;
        noted.held.undone(&noted.name, &outcome);
        outcome.context(noted.label)
    }
}

/// What `work` gives, if it gives it soon enough.
async fn within<T>(
    limit: Option<Duration>,
    what: &str,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    let shown = humantime::format_duration(limit);
    let done = timeout(limit, work).await;
    done.map_err(|_| anyhow::anyhow!("not {what} within {shown}"))?
}
