//! One task, and always a connection for it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use withal_benches::{Bench, US};
use withal_pool::Pool;
use withal_scope::async_with;

use crate::managers::{Floor, Numbers, Ours, bb8, deadpool, deadpool_with_limits, mobc};

pub(crate) fn add<'a>(bench: &mut Bench<'a>, runtime: &'a Runtime, ours: &mut Ours) {
    let inside = runtime.enter();
    let work = "alone: a lease, released";
    add_released(bench, runtime, work, ours.pool());
    add_peers(bench, runtime, work);

    let work = "alone: a lease, known clean, released";
    add_released(bench, runtime, work, ours.clean_pool());
    add_peers(bench, runtime, work);

    let work = "alone: a lease, dropped";
    let pool = ours.pool();
    bench.case(work, US, move |n| {
        timed(runtime, n, async || pool.lease().await.expect(FREE).0)
    });
    add_peers(bench, runtime, work);

    let work = "alone: in an `async_with`";
    let pool = ours.pool();
    bench.case(work, US, move |n| {
        timed(runtime, n, async || {
            let block = async_with(pool.acquire(), async |lease| Ok(lease.0));
            block.await.expect(FREE)
        })
    });
    add_peers(bench, runtime, work);
    drop(inside);
}

const FREE: &str = "there is always one";

fn add_released<'a>(bench: &mut Bench<'a>, runtime: &'a Runtime, work: &str, pool: Pool<Numbers>) {
    bench.case(work, US, move |n| {
        timed(runtime, n, async || {
            let lease = pool.lease().await.expect(FREE);
            let value = lease.0;
            lease.release().await;
            value
        })
    });
}

fn add_peers<'a>(bench: &mut Bench<'a>, runtime: &'a Runtime, work: &str) {
    let floor = Floor::new();
    bench.case(work, "tokio's `Semaphore`, `Mutex<Vec>`", move |n| {
        timed(runtime, n, async || floor.get().await.0)
    });
    let pool = deadpool();
    bench.case(work, "deadpool", move |n| {
        timed(runtime, n, async || pool.get().await.expect(FREE).0)
    });
    let pool = deadpool_with_limits();
    bench.case(work, "deadpool, with limits", move |n| {
        timed(runtime, n, async || pool.get().await.expect(FREE).0)
    });
    let pool = bb8();
    bench.case(work, "bb8", move |n| {
        timed(runtime, n, async || pool.get().await.expect(FREE).0)
    });
    let pool = mobc();
    bench.case(work, "mobc", move |n| {
        timed(runtime, n, async || pool.get().await.expect(FREE).0)
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
