//! What happens in a run, and when.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Where what happens is written down; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Chronicle(Arc<Mutex<Events>>);

/// What has happened. Times are since the start.
#[derive(Clone, Debug)]
pub(super) struct Events {
    pub(super) started: SystemTime,
    start: Instant,
    pub(super) gates: Vec<GateEvents>,
    pub(super) command: Option<Span>,
    pub(super) marks: Vec<Mark>,
    pub(super) was_killed: bool,
    /// What the command left running.
    pub(super) orphans: Vec<String>,
}

/// What has happened to a gate.
#[derive(Clone, Debug)]
pub(super) struct GateEvents {
    pub(super) label: String,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) acquire: Span,
    /// Until nothing more was done to undo it; nothing if that has not begun.
    pub(super) release: Option<Span>,
    /// What it has warned of.
    pub(super) warnings: Vec<String>,
    /// Why it could not be acquired or undone.
    pub(super) error: Option<String>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: Duration,
    /// Nothing if it has not ended.
    pub(super) to: Option<Duration>,
}

/// Something that has come from outside, or was done by force.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) at: Duration,
    pub(super) what: String,
}

/// A gate in the chronicle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry(usize);

impl Chronicle {
    pub(crate) fn new() -> Chronicle {
        Chronicle(Arc::new(Mutex::new(Events::since(SystemTime::now()))))
    }

    /// What has happened so far, and how long it has taken.
    pub(super) fn so_far(&self) -> (Events, Duration) {
        let events = self.lock();
        (events.clone(), events.now())
    }

    /// A gate is being acquired; what it is called is said by [`Chronicle::named`].
    pub(crate) fn acquiring(&self, label: &str, kind: &'static str) -> Entry {
        let mut events = self.lock();
        let acquire = events.begin();
        events.gates.push(GateEvents {
            label: label.to_owned(),
            kind,
            name: label.to_owned(),
            acquire,
            release: None,
            warnings: Vec::new(),
            error: None,
        });
        Entry(events.gates.len() - 1)
    }

    pub(crate) fn named(&self, entry: Entry, name: &str) {
        self.with(entry, |gate, _now| gate.name = name.to_owned());
    }

    pub(crate) fn warned(&self, entry: Entry, warning: String) {
        self.with(entry, |gate, _now| gate.warnings.push(warning));
    }

    /// The gate `entry` is acquired, as `name`, or it is not.
    pub(crate) fn acquired(&self, entry: Entry, outcome: Result<&str, String>) {
        self.with(entry, |gate, now| {
            gate.acquire.to = Some(now);
            match outcome {
                Ok(name) => gate.name = name.to_owned(),
                Err(error) => gate.error = Some(error),
            }
        });
    }

    pub(crate) fn releasing(&self, entry: Entry) {
        self.with(entry, |gate, now| {
            gate.release = Some(Span {
                from: now,
                to: None,
            });
        });
    }

    pub(crate) fn released(&self, entry: Entry, error: Option<String>) {
        self.with(entry, |gate, now| {
            if let Some(release) = &mut gate.release {
                release.to = Some(now);
            }
            gate.error = error;
        });
    }

    pub(crate) fn command_started(&self) {
        let mut events = self.lock();
        events.command = Some(events.begin());
    }

    pub(crate) fn command_ended(&self) {
        let mut events = self.lock();
        let now = events.now();
        if let Some(command) = &mut events.command
            && command.to.is_none()
        {
            command.to = Some(now);
        }
    }

    /// Something came from outside.
    pub(crate) fn mark(&self, what: impl Into<String>) {
        let mut events = self.lock();
        let at = events.now();
        let what = what.into();
        events.marks.push(Mark { at, what });
    }

    pub(crate) fn killed(&self) {
        self.lock().was_killed = true;
        self.mark("KILL");
    }

    pub(crate) fn orphans(&self, names: Vec<String>) {
        self.lock().orphans = names;
    }

    fn with(&self, Entry(index): Entry, change: impl FnOnce(&mut GateEvents, Duration)) {
        let mut events = self.lock();
        let now = events.now();
        if let Some(gate) = events.gates.get_mut(index) {
            change(gate, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Events {
    /// Nothing yet.
    pub(super) fn since(started: SystemTime) -> Events {
        Events {
            started,
            start: Instant::now(),
            gates: Vec::new(),
            command: None,
            marks: Vec::new(),
            was_killed: false,
            orphans: Vec::new(),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn begin(&self) -> Span {
        Span {
            from: self.now(),
            to: None,
        }
    }
}

impl Span {
    /// How long it took, or has taken until `now`.
    pub(super) fn length(self, now: Duration) -> Duration {
        self.to.unwrap_or(now).saturating_sub(self.from)
    }
}

impl GateEvents {
    pub(super) fn is_acquired(&self) -> bool {
        self.acquire.to.is_some() && (self.error.is_none() || self.release.is_some())
    }

    /// When it was held: acquired, and not yet being undone.
    pub(super) fn held(&self) -> Option<Span> {
        self.is_acquired().then(|| Span {
            from: self.acquire.to.unwrap_or_default(),
            to: self.release.map(|release| release.from),
        })
    }

    /// What became of it, in a word or two.
    pub(super) fn outcome(&self) -> &'static str {
        let has_failed = self.error.is_some();
        match self.release {
            Some(_) if has_failed => "release_failed",
            Some(Span { to: Some(_), .. }) => "released",
            Some(Span { to: None, .. }) => "release_unfinished",
            None if has_failed => "acquire_failed",
            None if self.acquire.to.is_some() => "not_released",
            None => "acquire_unfinished",
        }
    }
}
