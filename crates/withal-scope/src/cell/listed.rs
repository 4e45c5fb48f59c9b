//! The blocks that are open, so that others can see what each of them holds.
//!
//! Sixteen locked slabs, each filled by some of the threads. Only whole blocks are listed: their
//! entries are found by their chains, so an entry costs the registry no lock.
#![allow(unsafe_code, reason = "granted to this module; see `cell`")]

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use slab::Slab;

use super::frame::AnyFrame;
use super::header::Header;
use crate::registry::thread_number;

const SHARDS: usize = 16;

/// A shard on cache lines of its own, so that threads do not slow each other down.
#[repr(align(128))]
struct Shard(Mutex<Slab<Listed>>);

static OPEN: [Shard; SHARDS] = [const { Shard(Mutex::new(Slab::new())) }; SHARDS];

/// A block that is open.
struct Listed(NonNull<AnyFrame>);

// SAFETY: stands for a shared reference, and frames are `Sync`.
unsafe impl Send for Listed {}

/// Where a block is listed.
#[derive(Debug)]
pub(super) struct Listing(AtomicUsize);

const NOWHERE: usize = usize::MAX;

impl Default for Listing {
    fn default() -> Listing {
        Listing(AtomicUsize::new(NOWHERE))
    }
}

impl Listing {
    /// Lists `frame`, which this is the listing of.
    ///
    /// # Safety
    ///
    /// It is taken off the list again before the frame's last owner lets go of it, and before
    /// anything in its chain is freed. The pointer comes from an `Arc`.
    #[inline]
    pub(super) unsafe fn add(&self, frame: NonNull<AnyFrame>) {
        let number = thread_number() % SHARDS;
        let index = shard(number).insert(Listed(frame));
        // Relaxed: read by whoever ends the block, which is ordered after this.
        self.0.store(index * SHARDS + number, Ordering::Relaxed);
    }

    /// Takes it off the list, if it is there. Nobody looks at the block through the list any more.
    #[inline]
    pub(super) fn remove(&self) {
        // Relaxed: only one party ends a block.
        let place = self.0.load(Ordering::Relaxed);
        if place != NOWHERE {
            self.0.store(NOWHERE, Ordering::Relaxed);
            let _ = shard(place % SHARDS).try_remove(place / SHARDS);
        }
    }
}

#[inline]
fn shard(number: usize) -> MutexGuard<'static, Slab<Listed>> {
    #[expect(clippy::indexing_slicing, reason = "taken modulo the length")]
    let shard = &OPEN[number % SHARDS];
    shard.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows `look` everything that is open. It must not open or close a block.
pub(crate) fn each_open(mut look: impl FnMut(&Header)) {
    for number in 0..SHARDS {
        for (_, listed) in shard(number).iter() {
            // SAFETY: its owner takes it off this list, which we have locked, before it goes.
            let frame = unsafe { listed.0.as_ref() };
            look(frame.own_header());
            // SAFETY: it is listed, so nothing in its chain is freed meanwhile.
            unsafe { frame.each_entered(&mut look) };
        }
    }
}
