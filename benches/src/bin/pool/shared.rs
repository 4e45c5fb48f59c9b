//! Sixty-four tasks want eight connections.

use std::hint::black_box;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::task::{JoinSet, yield_now};
use withal_benches::{Bench, US};

use crate::managers::{Floor, Ours, SIZE, bb8, deadpool, deadpool_with_limits, mobc};

const TASKS: u64 = 64;

/// Each task takes a connection, lets others run, gives it back, and begins again.
macro_rules! contended {
    ($bench:ident, $runtime:ident, $work:expr, $who:expr, $pool:ident = $make:expr;
     $take:expr; $taken:ident => $give:expr) => {{
        let $pool = $make;
        $bench.case($work, $who, move |repeats| {
            $runtime.block_on(async {
                let rounds = repeats.div_ceil(TASKS);
                let began = Instant::now();
                let mut tasks = JoinSet::new();
                for _ in 0..TASKS {
                    let $pool = $pool.clone();
                    let _ = tasks.spawn(async move {
                        for _ in 0..rounds {
                            let $taken = $take.await;
                            yield_now().await;
                            let $taken = black_box($taken);
                            $give;
                        }
                    });
                }
                drop(tasks.join_all().await);
                let done = (rounds * TASKS) as f64;
                began.elapsed().mul_f64(repeats as f64 / done)
            })
        });
    }};
}

pub(crate) fn add<'a>(bench: &mut Bench<'a>, runtime: &'a Runtime, ours: &mut Ours) {
    let inside = runtime.enter();
    let work = &format!("{TASKS} tasks on {SIZE} connections");
    contended!(bench, runtime, work, US, pool = ours.pool();
        pool.lease(); taken => taken.expect(WAITED).release().await);
    contended!(bench, runtime, work, "tokio's `Semaphore`, `Mutex<Vec>`", pool = Floor::new();
        pool.get(); taken => drop(taken));
    contended!(bench, runtime, work, "deadpool", pool = deadpool();
        pool.get(); taken => drop(taken.expect(WAITED)));
    contended!(bench, runtime, work, "deadpool, with limits", pool = deadpool_with_limits();
        pool.get(); taken => drop(taken.expect(WAITED)));
    contended!(bench, runtime, work, "bb8", pool = bb8();
        pool.get(); taken => drop(taken.expect(WAITED)));
    contended!(bench, runtime, work, "mobc", pool = mobc();
        pool.get(); taken => drop(taken.expect(WAITED)));
    drop(inside);
}

const WAITED: &str = "whoever waits gets one";
