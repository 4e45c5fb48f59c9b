//! One task, and always a connection for it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use withal_benches::{Bench, US};
use withal_scope::async_with;

use crate::managers::{Floor, bb8, deadpool, deadpool_with_limits, mobc, ours};

pub(crate) fn add<'a>(bench: &mut Bench<'a>, runtime: &'a Runtime) {
    let inside = runtime.enter();
    let pool = ours();
    let work = "alone: a lease, released";
    bench.case(work, US, move |n| {
        let pool = pool.clone();
        timed(runtime, n, async move || {
            let lease = pool.lease().await.expect("it has connections");
            let value = lease.0;
            lease.release().await;
            value
        })
    });
    add_peers(bench, runtime, work);

    let work = "alone: a lease, dropped";
    let pool = ours();
    bench.case(work, US, move |n| {
        let pool = pool.clone();
        timed(runtime, n, async move || {
            pool.lease().await.expect("it has connections").0
        })
    });
    add_peers(bench, runtime, work);

    let work = "alone: in an `async_with`";
    let pool = ours();
    bench.case(work, US, move |n| {
        let pool = pool.clone();
        timed(runtime, n, async move || {
            async_with(pool.acquire(), async |lease| Ok(lease.0))
                .await
                .expect("it has connections")
        })
    });
    add_peers(bench, runtime, work);
    drop(inside);
}

fn add_peers<'a>(bench: &mut Bench<'a>, runtime: &'a Runtime, work: &str) {
    let floor = Floor::new();
    bench.case(work, "tokio's `Semaphore`, `Mutex<Vec>`", move |n| {
        let floor = floor.clone();
        timed(runtime, n, async move || floor.get().await.0)
    });
    let pool = deadpool();
    bench.case(work, "deadpool", move |n| {
        let pool = pool.clone();
        timed(runtime, n, async move || {
            pool.get().await.expect("it has connections").0
        })
    });
    let pool = deadpool_with_limits();
    bench.case(work, "deadpool, with limits", move |n| {
        let pool = pool.clone();
        timed(runtime, n, async move || {
            pool.get().await.expect("it has connections").0
        })
    });
    let pool = bb8();
    bench.case(work, "bb8", move |n| {
        let pool = pool.clone();
        timed(runtime, n, async move || {
            pool.get().await.expect("it has connections").0
        })
    });
    let pool = mobc();
    bench.case(work, "mobc", move |n| {
        let pool = pool.clone();
        timed(runtime, n, async move || {
            pool.get().await.expect("it has connections").0
        })
    });
}

/// Times `repeats` awaits in one task; starting the task is not counted.
fn timed<O>(runtime: &Runtime, repeats: u64, operation: O) -> Duration
where
    O: AsyncFn() -> u64,
{
    runtime.block_on(async {
        let began = Instant::now();
        for _ in 0..repeats {
            let _ = black_box(operation().await);
        }
        began.elapsed()
    })
}
