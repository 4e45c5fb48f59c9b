//! What loom replaces when it explores the interleavings of those who append.

use std::fmt;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[cfg(withal_loom)]
pub(crate) use loom::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, Builder, JoinHandle, ThreadId},
};
#[cfg(not(withal_loom))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard},
    thread::{self, Builder, JoinHandle, ThreadId},
};

/// A condition variable that asks the system to wake somebody only if somebody waits.
///
/// Those of the standard library always ask, which costs as much as a small write. Who waits is
/// counted under the lock that waiting gives up, and whoever notifies shows that it has that lock.
pub(crate) struct Signal {
    condvar: Condvar,
    /// Changed and read under the lock only.
    waiting: AtomicUsize,
}

impl Signal {
    pub(crate) fn wait<'l, T>(&self, locked: MutexGuard<'l, T>) -> MutexGuard<'l, T> {
        self.counted(|| {
            let locked = self.condvar.wait(locked);
            locked.unwrap_or_else(PoisonError::into_inner)
        })
    }

    pub(crate) fn wait_timeout<'l, T>(
        &self,
        locked: MutexGuard<'l, T>,
        limit: Duration,
    ) -> MutexGuard<'l, T> {
        self.counted(|| {
            let waited = self.condvar.wait_timeout(locked, limit);
            waited.unwrap_or_else(PoisonError::into_inner).0
        })
    }

    fn counted<G>(&self, wait: impl FnOnce() -> G) -> G {
        let _ = self.waiting.fetch_add(1, Ordering::Relaxed);
        let locked = wait();
        let _ = self.waiting.fetch_sub(1, Ordering::Relaxed);
        locked
    }

    /// How many wait.
    pub(crate) fn waiting<T>(&self, _locked: &MutexGuard<'_, T>) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn notify_one<T>(&self, locked: &mut MutexGuard<'_, T>) {
        if self.waiting(locked) > 0 {
            self.condvar.notify_one();
        }
    }

    pub(crate) fn notify_all<T>(&self, locked: &mut MutexGuard<'_, T>) {
        if self.waiting(locked) > 0 {
            self.condvar.notify_all();
        }
    }
}

impl Default for Signal {
    fn default() -> Signal {
        Signal {
            condvar: Condvar::new(),
            waiting: AtomicUsize::new(0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}
