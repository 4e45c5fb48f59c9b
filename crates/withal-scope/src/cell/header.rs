//! What others may read of a cell while it is in use.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use withal_core::Entry as EntryName;

#[cfg(feature = "registry")]
use crate::registry::OpenState;
use crate::registry::{Id, Kind, Record};

/// What errors, deadlines and the registry need to know of a cell. It lies beside the cell, so that
/// it can be read while the cell is borrowed.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) entry: EntryName,
    pub(crate) exit_timeout: Option<Duration>,
    pub(crate) record: Record,
    /// Written by whoever uses the cell, at most one party at a time.
    state: AtomicU8,
}

/// How far a cell has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    Entering,
    Live,
    Exiting,
    /// Its exit has ended, or its enter failed.
    Over,
    /// It was dropped without its exit having run to the end.
    Abandoned,
}

impl Header {
    /// Of a cell that is being entered.
    #[inline]
    pub(crate) fn new(
        kind: Kind,
        entry: EntryName,
        exit_timeout: Option<Duration>,
        parent: Id,
    ) -> Header {
        Header {
            entry,
            exit_timeout,
            record: Record::new(kind, parent),
            state: AtomicU8::new(State::Entering as u8),
        }
    }

    #[inline]
    pub(crate) fn set(&self, state: State) {
        // Relaxed: tells how far it has come, and publishes nothing.
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Whether there is nothing left to run.
    #[inline]
    pub(crate) fn is_over(&self) -> bool {
        // Relaxed: as in `set`.
        self.state.load(Ordering::Relaxed) >= State::Over as u8
    }

    /// What the registry shows, if anything.
    #[cfg(feature = "registry")]
    pub(crate) fn shown(&self) -> Option<OpenState> {
        // Relaxed: as in `set`.
        let state = self.state.load(Ordering::Relaxed);
        let shown = [OpenState::Acquiring, OpenState::Open, OpenState::Closing];
        shown.get(usize::from(state)).copied()
    }

    /// It was dropped without its exit having run to the end: it stays, as a leak with a name.
    #[cold]
    pub(crate) fn abandon(&self) {
        self.set(State::Abandoned);
        self.record.bury(&self.entry);
    }
}
