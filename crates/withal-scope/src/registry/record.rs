//! What the registry notes of each open thing, and those that were never closed.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use withal_core::Entry;

use super::Id;
use super::clock::Since;
use super::open::{Kind, Open, OpenState};
use crate::cell::each_open;

/// How many abandoned entries are remembered.
const BURIED: usize = 1_000;

static ABANDONED: Mutex<VecDeque<Open>> = Mutex::new(VecDeque::new());

/// What is known of an open thing beside its name, its place and its state.
#[derive(Debug)]
pub(crate) struct Record {
    id: Id,
    parent: Id,
    kind: Kind,
    opened: Since,
    task: Option<tokio::task::Id>,
}

impl Record {
    #[inline]
    pub(crate) fn new(kind: Kind, parent: Id) -> Record {
        Record {
            id: next_id(),
            parent,
            kind,
            opened: Since::now(),
            task: tokio::task::try_id(),
        }
    }

    #[inline]
    pub(crate) fn id(&self) -> Id {
        self.id
    }

    fn show(&self, entry: &Entry, state: OpenState) -> Open {
        Open {
            id: self.id.0,
            parent: self.parent.0,
            kind: self.kind,
            entry: entry.clone(),
            opened: self.opened,
            task: self.task,
            state,
        }
    }

    /// Remembers it among those that will never be closed.
    #[cold]
    pub(crate) fn bury(&self, entry: &Entry) {
        let open = self.show(entry, OpenState::Abandoned);
        let mut abandoned = ABANDONED.lock().unwrap_or_else(PoisonError::into_inner);
        if abandoned.len() == BURIED {
            drop(abandoned.pop_front());
        }
        abandoned.push_back(open);
    }
}

thread_local! {
    /// This thread's number, and the number of the next thing it opens.
    static NEXT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// A number no other thing has: the thread's number above, a count below.
#[inline]
pub(super) fn next_id() -> Id {
    let (thread, count) = NEXT.get();
    if thread == 0 {
        return first_id();
    }
    NEXT.set((thread, count + 1));
    Id(thread << 40 | count)
}

#[cold]
fn first_id() -> Id {
    static THREADS: AtomicU64 = AtomicU64::new(0);
    // Relaxed: a number of its own is all that is asked.
    let thread = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
    NEXT.set((thread, 1));
    Id(thread << 40)
}

/// The number of this thread, once it has opened anything.
#[inline]
pub(crate) fn thread_number() -> usize {
    NEXT.get().0 as usize
}

/// Whether the calling thread made this number.
pub(super) fn is_of_this_thread(id: u64) -> bool {
    id >> 40 == NEXT.get().0
}

pub(super) fn snapshot() -> Vec<Open> {
    let mut all: Vec<Open> = Vec::new();
    each_open(|header| {
        if let Some(state) = header.shown() {
            all.push(header.record.show(&header.entry, state));
        }
    });
    super::inventory::each_listed(|open| all.push(open));
    let abandoned = ABANDONED.lock().unwrap_or_else(PoisonError::into_inner);
    all.extend(abandoned.iter().cloned());
    drop(abandoned);
    all.sort_by_key(|open| open.id);
    all
}
