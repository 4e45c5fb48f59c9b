//! Every interleaving of the count that scopes and the reaper wait for.
//!
//! Run with `RUSTFLAGS="--cfg withal_loom" cargo test --release -p withal-scope --test loom_countdown`.
#![cfg(withal_loom)]
#![allow(missing_docs, unused_results, clippy::unwrap_used, reason = "a test")]

use std::future::poll_fn;

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering::Relaxed};
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
