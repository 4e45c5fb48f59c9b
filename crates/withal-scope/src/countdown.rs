//! A count of things still running, and who waits for it to reach zero.

use std::task::{Context, Poll, Waker};

use crate::sync::{AtomicUsize, Mutex, Ordering, lock};

/// Counts running teardowns: those a scope must wait for, and those a reaper has taken over.
///
/// A waiter registers its waker *before* it reads the count for the last time, and the last
/// `finish` lowers the count *before* it takes the wakers. One of the two therefore sees the
/// other: a waiter that read a count above zero is in the list that `finish` takes. The model is
/// checked by `tests/loom_scope.rs`.
#[derive(Debug, Default)]
pub struct Countdown {
    running: AtomicUsize,
    waiters: Mutex<Vec<Waker>>,
}

impl Countdown {
    /// One more is running.
    pub fn start(&self) {
        // Pairs with nothing: a count may rise at any time before it is waited for.
        let _ = self.running.fetch_add(1, Ordering::Relaxed);
    }

    /// One has ended. What it did happens before a waiter sees zero.
    pub fn finish(&self) {
        // Release: publishes the ended teardown's effects to `poll_zero`. Acquire: the last one
        // also orders the others' effects before its wake-up.
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            let waiters = std::mem::take(&mut *lock(&self.waiters));
            waiters.into_iter().for_each(Waker::wake);
        }
    }

    /// How many are running.
    pub fn running(&self) -> usize {
        // Acquire: pairs with the release in `finish`.
        self.running.load(Ordering::Acquire)
    }

    /// Ready once none is running.
    pub fn poll_zero(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.running() == 0 {
            return Poll::Ready(());
        }
        let mut waiters = lock(&self.waiters);
        if !waiters.iter().any(|waker| waker.will_wake(context.waker())) {
            waiters.push(context.waker().clone());
        }
        // Checked again under the lock: a `finish` that lowered the count before we registered
        // may have taken the list already.
        match self.running() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}
