//! Every interleaving of the count that scopes and the reaper wait for, and of registering on a
//! block that is being left.
//!
//! Run with `RUSTFLAGS="--cfg withal_loom" cargo test --release -p withal-scope --test loom_scope`.
#![cfg(withal_loom)]
#![allow(
    missing_docs,
    unsafe_code,
    unused_results,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::future::poll_fn;
use std::ptr;

use loom::cell::UnsafeCell;
use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use withal_scope::chain::Chain;
use withal_scope::countdown::Countdown;

/// Up to three preemptions: more find nothing new in models this small, and take hours.
fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

#[test]
fn a_waiter_is_woken_and_sees_what_the_ended_ones_did() {
    model(|| {
        let countdown = Arc::new(Countdown::default());
        let done = Arc::new(AtomicUsize::new(0));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                countdown.start();
                let (countdown, done) = (countdown.clone(), done.clone());
                loom::thread::spawn(move || {
                    done.fetch_add(1, Relaxed);
                    countdown.finish();
                })
            })
            .collect();
        block_on(poll_fn(|context| countdown.poll_zero(context)));
        // Relaxed: the order comes from the countdown alone.
        assert_eq!(done.load(Relaxed), 2);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn two_waiters_are_both_woken() {
    model(|| {
        let countdown = Arc::new(Countdown::default());
        countdown.start();
        let other = {
            let countdown = countdown.clone();
            loom::thread::spawn(move || block_on(poll_fn(|context| countdown.poll_zero(context))))
        };
        let ending = {
            let countdown = countdown.clone();
            loom::thread::spawn(move || countdown.finish())
        };
        block_on(poll_fn(|context| countdown.poll_zero(context)));
        other.join().unwrap();
        ending.join().unwrap();
    });
}

/// A link whose contents are published by nothing but the chain.
struct Link {
    older: UnsafeCell<*mut Link>,
    number: UnsafeCell<usize>,
}

fn link(number: usize) -> *mut Link {
    Box::into_raw(Box::new(Link {
        older: UnsafeCell::new(ptr::null_mut()),
        number: UnsafeCell::new(number),
    }))
}

/// Adds it, or frees it if the chain is closed; whether it was added.
fn push(chain: &Chain<Link>, number: usize) -> bool {
    let link = link(number);
    let added = chain.push(link, |older| unsafe {
        (*link).older.with_mut(|place| *place = older);
    });
    if added.is_err() {
        drop(unsafe { Box::from_raw(link) });
    }
    added.is_ok()
}

/// The numbers from `newest` on.
fn walk(newest: *mut Link) -> Vec<usize> {
    let mut numbers = Vec::new();
    let mut next = newest;
    while !next.is_null() {
        let link = unsafe { &*next };
        numbers.push(link.number.with(|number| unsafe { *number }));
        next = link.older.with(|older| unsafe { *older });
    }
    numbers
}

fn free(newest: *mut Link) {
    let mut next = newest;
    while !next.is_null() {
        let link = unsafe { Box::from_raw(next) };
        next = link.older.with(|older| unsafe { *older });
    }
}

#[test]
fn what_is_registered_while_a_block_is_left_is_exited_or_refused() {
    model(|| {
        let chain = Arc::new(Chain::default());
        let pushers: Vec<_> = [1, 2]
            .map(|number| {
                let chain = chain.clone();
                loom::thread::spawn(move || push(&chain, number))
            })
            .into();
        let mut seen = chain.newest();
        while !chain.close(seen) {
            seen = chain.newest();
        }
        let mut numbers = walk(seen);
        let added: Vec<_> = pushers
            .into_iter()
            .map(|pusher| pusher.join().unwrap())
            .collect();
        assert!(!push(&chain, 3));
        numbers.sort_unstable();
        let expected: Vec<_> = [1, 2]
            .into_iter()
            .zip(added)
            .filter_map(|(number, added)| added.then_some(number))
            .collect();
        assert_eq!(numbers, expected);
        free(seen);
    });
}

#[test]
fn others_may_walk_the_chain_while_it_grows() {
    model(|| {
        let chain = Arc::new(Chain::default());
        assert!(push(&chain, 1));
        let walker = {
            let chain = chain.clone();
            loom::thread::spawn(move || walk(chain.newest()))
        };
        let pusher = {
            let chain = chain.clone();
            loom::thread::spawn(move || push(&chain, 3))
        };
        assert!(push(&chain, 2));
        assert!(pusher.join().unwrap());
        let seen = walker.join().unwrap();
        assert!(seen.ends_with(&[1]));
        assert_eq!(walk(chain.newest()).len(), 3);
        free(chain.newest());
    });
}
