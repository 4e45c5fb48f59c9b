//! The newest of the things registered on a block, each of which knows the one before it.

use std::ptr;

use crate::sync::{AtomicPtr, Ordering};

/// The head of a list that any number of threads may add to, and one party walks and closes.
///
/// Nothing is taken off it before it is closed, so an address is at its head at most once, and a
/// compare-and-exchange on it cannot be fooled. The model is checked by `tests/loom_scope.rs`.
#[derive(Debug)]
pub struct Chain<T> {
    newest: AtomicPtr<T>,
}

/// The chain has been closed: nothing can be added.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

impl<T> Chain<T> {
    /// No thing's address: things are aligned.
    const CLOSED: *mut T = ptr::without_provenance_mut(1);

    /// Adds `link` as the newest. `set_older` writes into it which one is before it; it may be
    /// called several times.
    ///
    /// # Errors
    ///
    /// If the chain is closed; the link is then the caller's as before.
    #[inline]
    pub fn push(&self, link: *mut T, mut set_older: impl FnMut(*mut T)) -> Result<(), Closed> {
        const { assert!(align_of::<T>() > 1) };
        // Relaxed: only compared and passed on, never looked into.
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            if newest == Self::CLOSED {
                return Err(Closed);
            }
            set_older(newest);
            // Release: publishes the link, and what is known of those before it, to `newest`.
            match self.newest.compare_exchange_weak(
                newest,
                link,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(changed) => newest = changed,
            }
        }
    }

    /// The newest link; null if there is none, or if the chain is closed.
    #[inline]
    pub fn newest(&self) -> *mut T {
        // Acquire: pairs with `push`. Each push is a read-modify-write, so it goes on with the
        // release sequence of those before it: all older links are published, too.
        match self.newest.load(Ordering::Acquire) {
            newest if newest == Self::CLOSED => ptr::null_mut(),
            newest => newest,
        }
    }

    /// Closes the chain, if `seen` is still its newest link; else false, and it stays open.
    #[inline]
    pub fn close(&self, seen: *mut T) -> bool {
        // Acquire for symmetry with `newest`: the caller frees the links now.
        self.newest
            .compare_exchange(seen, Self::CLOSED, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }
}

impl<T> Default for Chain<T> {
    fn default() -> Chain<T> {
        Chain {
            newest: AtomicPtr::new(ptr::null_mut()),
        }
    }
}
