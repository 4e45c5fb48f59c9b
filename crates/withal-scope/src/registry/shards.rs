//! The records: sixteen locked slabs, each filled by some of the threads.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use slab::Slab;
use withal_core::Entry;

use super::Id;
use super::open::{Kind, Open, OpenState};

const SHARDS: usize = 16;
/// How many abandoned entries are remembered.
const BURIED: usize = 1_000;

/// A shard on cache lines of its own, so that threads do not slow each other down.
#[repr(align(128))]
struct Shard(Mutex<Slab<Open>>);

static RECORDS: [Shard; SHARDS] = [const { Shard(Mutex::new(Slab::new())) }; SHARDS];
static ABANDONED: Mutex<VecDeque<Open>> = Mutex::new(VecDeque::new());

/// Where a record is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    shard: usize,
    index: usize,
}

thread_local! {
    /// This thread's number, and the number of the next thing it opens.
    static NEXT: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// A number no other thing has: the thread's number above, a count below.
pub(super) fn next_id() -> Id {
    let (mut thread, count) = NEXT.get();
    if thread == 0 {
        static THREADS: AtomicU64 = AtomicU64::new(0);
        thread = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
    }
    NEXT.set((thread, count + 1));
    Id(thread << 40 | count)
}

/// Whether the calling thread made this number.
pub(super) fn is_of_this_thread(id: Id) -> bool {
    id.0 >> 40 == NEXT.get().0
}

fn shard(number: usize) -> MutexGuard<'static, Slab<Open>> {
    // A shard number is a remainder of `SHARDS`.
    #[expect(clippy::indexing_slicing, reason = "taken modulo the length")]
    let shard = &RECORDS[number % SHARDS];
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn insert(id: Id, parent: Id, kind: Kind, entry: &Entry, state: OpenState) -> Key {
    let number = (id.0 >> 40) as usize % SHARDS;
    let record = Open {
        id: id.0,
        parent: parent.0,
        kind,
        entry: entry.clone(),
        opened: Instant::now(),
        task: tokio::task::try_id(),
        state,
    };
    Key {
        shard: number,
        index: shard(number).insert(record),
    }
}

pub(super) fn update(key: Key, state: OpenState) {
    if let Some(record) = shard(key.shard).get_mut(key.index) {
        record.state = state;
    }
}

pub(super) fn remove(key: Key) -> Option<Open> {
    shard(key.shard).try_remove(key.index)
}

/// Moves a record to those that will never be closed.
pub(super) fn bury(key: Key) {
    let Some(record) = remove(key) else { return };
    let mut abandoned = ABANDONED.lock().unwrap_or_else(PoisonError::into_inner);
    if abandoned.len() == BURIED {
        drop(abandoned.pop_front());
    }
    abandoned.push_back(record);
}

pub(super) fn snapshot() -> Vec<Open> {
    let mut all: Vec<Open> = Vec::new();
    for number in 0..SHARDS {
        all.extend(shard(number).iter().map(|(_, open)| open.clone()));
    }
    let abandoned = ABANDONED.lock().unwrap_or_else(PoisonError::into_inner);
    all.extend(abandoned.iter().cloned());
    drop(abandoned);
    all.sort_by_key(|open| open.id);
    all
}
