//! Cancelled at every await point, in every way: nothing is left, least of all a lease.
//!
//! A program of its own, with one test: descriptors are counted for the whole process.
#![allow(
    missing_docs,
    unused_results,
    clippy::panic,
    clippy::unit_arg,
    clippy::unwrap_used,
    reason = "tests"
)]

#[path = "../it/support.rs"]
#[allow(dead_code, reason = "the other tests need more of it")]
mod support;

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::task::{block_in_place, yield_now};
use withal_core::{AsyncContextManager, BoxError, ExitCase};
use withal_lock::PgLease;
use withal_scope::async_with;
use withal_testkit::Cancel;

use support::{Place, each};

#[test]
fn cancelled_anywhere_in_any_way_nobody_has_the_lease() {
    each(async |_, server| {
        let place = server.place();
        // The table is made once.
        async_with(place.lease("first"), async |_| Ok(())).await?;
        a_lease_is_free_afterwards(&place);
        a_wait_leaves_it_to_its_holder(&place).await
    });
}

fn a_lease_is_free_afterwards(place: &Place) {
    // A runtime that is shut down leaves a lease until its time is over: each run has its own.
    let run = AtomicUsize::new(0);
    let key = |run: usize| format!("report {run}");
    let scenario = || {
        let lease = place.lease(&key(run.fetch_add(1, SeqCst)));
        async_with(lease, async |_| Ok(yield_now().await))
    };
    let check = || check_free(place, &key(run.load(SeqCst) - 1));
    let cancel = Cancel::every_way().real_time();
    let report = block_in_place(|| cancel.everywhere(scenario, check));
    report.assert_clean();
    assert!(report.points() >= 3, "{report}");
}

async fn a_wait_leaves_it_to_its_holder(place: &Place) -> Result<(), BoxError> {
    let held = place.lease("report").enter().await?;
    let scenario = || {
        let waits = place.lease("report").wait(Duration::from_millis(30));
        async_with(waits, async |_| Ok(()))
    };
    let check = || held.check().map(drop).map_err(|lost| lost.to_string());
    let cancel = Cancel::every_way().real_time();
    let report = block_in_place(|| cancel.everywhere(scenario, check));
    report.assert_clean();
    assert!(report.points() >= 3, "{report}");
    PgLease::exit(held, ExitCase::Succeeded).await?;
    Ok(check_free(place, "report")?)
}

/// Whether nobody has it.
fn check_free(place: &Place, key: &str) -> Result<(), String> {
    let next = place.lease(key).wait(Duration::ZERO);
    std::thread::scope(|scope| {
        let looked = scope.spawn(|| {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async_with(next, async |_| Ok(())))
        });
        let looked = looked.join().map_err(|_| "it panicked")?;
        looked.map_err(|error| format!("{error:?}"))
    })
}
