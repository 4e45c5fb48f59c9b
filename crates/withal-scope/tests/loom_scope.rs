//! Every interleaving of the count that scopes and the reaper wait for, and of registering on a
//! block that is being left.
//!
//! Run with `RUSTFLAGS="--cfg withal_loom" cargo test --release -p withal-scope --test loom_scope`.
#![cfg(withal_loom)]
#![allow(
    missing_docs,
    unused_results,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::future::poll_fn;
use std::ptr;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
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

/// A link whose contents are published by nothing but the chain: they are only ever written and
/// read relaxed.
#[derive(Default)]
struct Link {
    older: AtomicPtr<Link>,
    number: AtomicUsize,
}

/// Three links, numbered when they are pushed.
struct Links([Link; 3]);

impl Links {
    fn push(&self, chain: &Chain<Link>, number: usize) -> bool {
        let link = &self.0[number - 1];
        link.number.store(number, Relaxed);
        let pointer = ptr::from_ref(link).cast_mut();
        let pushed = chain.push(pointer, |older| link.older.store(older, Relaxed));
        pushed.is_ok()
    }

    /// The numbers from `newest` on.
    fn walk(&self, newest: *mut Link) -> Vec<usize> {
        let mut numbers = Vec::new();
        let mut next = newest;
        while !next.is_null() {
            let link = self.0.iter().find(|link| ptr::eq(*link, next)).unwrap();
            numbers.push(link.number.load(Relaxed));
            next = link.older.load(Relaxed);
        }
        numbers
    }
}

fn chain() -> Arc<(Chain<Link>, Links)> {
    Arc::new((Chain::default(), Links(Default::default())))
}

#[test]
fn what_is_registered_while_a_block_is_left_is_exited_or_refused() {
    model(|| {
        let shared = chain();
        let pushers: Vec<_> = [1, 2]
            .map(|number| {
                let shared = shared.clone();
                loom::thread::spawn(move || shared.1.push(&shared.0, number))
            })
            .into();
        let (chain, links) = &*shared;
        let mut seen = chain.newest();
        while !chain.close(seen) {
            seen = chain.newest();
        }
        let mut exited = links.walk(seen);
        exited.sort_unstable();
        let accepted: Vec<_> = [1, 2]
            .into_iter()
            .zip(pushers)
            .filter_map(|(number, pusher)| pusher.join().unwrap().then_some(number))
            .collect();
        assert_eq!(exited, accepted);
        assert!(!links.push(chain, 3));
    });
}

#[test]
fn others_may_walk_the_chain_while_it_grows() {
    model(|| {
        let shared = chain();
        let (chain, links) = &*shared;
        assert!(links.push(chain, 1));
        let walker = {
            let shared = shared.clone();
            loom::thread::spawn(move || shared.1.walk(shared.0.newest()))
        };
        let pusher = {
            let shared = shared.clone();
            loom::thread::spawn(move || shared.1.push(&shared.0, 3))
        };
        assert!(links.push(chain, 2));
        assert!(pusher.join().unwrap());
        assert!(walker.join().unwrap().ends_with(&[1]));
        assert_eq!(links.walk(chain.newest()).len(), 3);
    });
}
