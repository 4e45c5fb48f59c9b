//! What can be seen of a pool.

use std::fmt;
use std::panic::Location;
use std::time::Duration;

use crate::Cause;

/// A pool as it is at one moment.
///
/// `size` is the sum of `idle`, `in_use`, `connecting`, `validating`, `resetting` and `closing`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// How many connections there may be.
    pub max_size: usize,
    /// How many slots are taken.
    pub size: usize,
    /// Clean connections that wait for somebody.
    pub idle: usize,
    /// Connections somebody has.
    pub in_use: usize,
    /// Connections being made.
    pub connecting: usize,
    /// Connections being asked whether they are alive.
    pub validating: usize,
    /// Connections being made clean.
    pub resetting: usize,
    /// Connections being ended.
    pub closing: usize,
    /// Callers waiting for a free slot.
    pub waiting: usize,
    /// Whether the pool is closed, or being closed.
    pub is_closed: bool,
}

/// What a slot is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Its connection is being made.
    Connecting,
    /// Its connection waits for somebody.
    Idle,
    /// Its connection is being asked whether it is alive.
    Validating,
    /// Somebody has its connection.
    InUse,
    /// Its connection is being made clean.
    Resetting,
    /// Its connection is being ended.
    Closing,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Phase::Connecting => "connecting",
            Phase::Idle => "idle",
            Phase::Validating => "validating",
            Phase::InUse => "in use",
            Phase::Resetting => "resetting",
            Phase::Closing => "closing",
        })
    }
}

/// Who keeps a slot busy, and since when.
#[derive(Clone, Debug)]
pub struct Holder {
    pub(crate) phase: Phase,
    pub(crate) location: Option<&'static Location<'static>>,
    pub(crate) age: Duration,
    pub(crate) task: Option<tokio::task::Id>,
}

impl Holder {
    /// What the slot is busy with.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Where the connection was asked for; `None` if the pool itself is at work.
    #[must_use]
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.location
    }

    /// How long it has been in this phase.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }

    /// The task that asked for it; `None` outside of any.
    #[must_use]
    pub fn task(&self) -> Option<tokio::task::Id> {
        self.task
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {:.1?}", self.phase, self.age)?;
        match self.location {
            Some(location) => write!(f, ", taken at {location}")?,
            None => f.write_str(", by the pool itself")?,
        }
        match self.task {
            Some(task) => write!(f, " by task {task}"),
            None => Ok(()),
        }
    }
}

/// What a pool has done since it was built.
///
/// The numbers add up at every moment: `created` is [`discarded`](Counters::discarded) plus what
/// the pool has; `acquired` is `returned` plus what is in use or on its way back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections handed out.
    pub acquired: u64,
    /// Connections that were handed out and have come to rest again: idle, or discarded.
    pub returned: u64,
    /// Acquires that gave up waiting for a slot.
    pub wait_timed_out: u64,
    /// Connections made.
    pub created: u64,
    /// Connections that could not be made.
    pub create_failed: u64,
    /// Connections that were not made in time.
    pub create_timed_out: u64,
    /// Connections that could not be ended in order, or not in time.
    pub detach_failed: u64,
    /// Connections reported as held for long.
    pub held_long: u64,
    /// Of these, those that came back.
    pub came_back: u64,
    /// Connections that were made clean after a use. Those that could not be are
    /// [`discarded_for`](Counters::discarded_for) that, and those that were clean as they were are
    /// in neither.
    pub reset: u64,
    pub(crate) causes: [u64; Cause::ALL.len()],
}

impl Counters {
    /// Connections that left the pool.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.causes.iter().sum()
    }

    /// Connections that left the pool because of `cause`.
    #[must_use]
    pub fn discarded_for(&self, cause: Cause) -> u64 {
        self.causes.get(cause as usize).copied().unwrap_or(0)
    }

    pub(crate) fn count(&mut self, cause: Cause) {
        if let Some(count) = self.causes.get_mut(cause as usize) {
            *count += 1;
        }
    }
}
