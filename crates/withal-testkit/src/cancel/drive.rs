//! How a scenario is cancelled in each way.

use std::panic::resume_unwind;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};

use super::Way;
use super::stopping::Stopping;

/// Runs it to its end; gives how long that took. What waits for ever is dropped after `patience`.
pub(super) fn whole<F: Future>(
    runtime: &Runtime,
    patience: Duration,
    scenario: Stopping<F>,
) -> Duration {
    runtime.block_on(async {
        let start = Instant::now();
        // The clock first: a scenario that is polled without need seems to wait once more.
        tokio::select! {
            biased;
            () = sleep(patience) => {}
            () = scenario => {}
        }
        start.elapsed()
    })
}

pub(super) fn in_place<F: Future>(runtime: &Runtime, limit: Duration, scenario: Stopping<F>) {
    runtime.block_on(async { drop(stopped(limit, scenario).await) });
}

/// Any way but a shutdown. `limit` is longer than the scenario takes: one that waits less often
/// this time is cancelled then.
pub(super) fn by<F>(way: Way, runtime: &Runtime, limit: Duration, scenario: Stopping<F>)
where
    F: Future + Send + 'static,
{
    match way {
        Way::DropElsewhere => elsewhere(runtime, limit, scenario),
        Way::Abort => runtime.block_on(async { in_task(limit, scenario).await.shutdown().await }),
        Way::Timeout => drop(runtime.block_on(async { timeout(limit, scenario).await })),
        Way::Select => runtime.block_on(select(limit, scenario)),
        Way::Drop | Way::Shutdown => in_place(runtime, limit, scenario),
    }
}

/// Leaves the scenario standing in a task, for the runtime to take along.
pub(super) fn in_runtime<F>(
    runtime: &Runtime,
    limit: Duration,
    scenario: Stopping<F>,
) -> JoinSet<()>
where
    F: Future + Send + 'static,
{
    runtime.block_on(in_task(limit, scenario))
}

fn elsewhere<F: Future + Send>(runtime: &Runtime, limit: Duration, scenario: Stopping<F>) {
    runtime.block_on(async {
        let left = stopped(limit, scenario).await;
        let dropped = std::thread::scope(|threads| threads.spawn(|| drop(left)).join());
        dropped.unwrap_or_else(|payload| resume_unwind(payload));
    });
}

async fn select<F: Future>(limit: Duration, scenario: Stopping<F>) {
    let point = scenario.point();
    let winner = async {
        let _ = timeout(limit, point.wait_stopped()).await;
        yield_now().await;
    };
    tokio::select! {
        () = scenario => {}
        () = winner => {}
    }
}

/// Polls the scenario until it stops or ends, and gives what is left of it.
async fn stopped<F: Future>(limit: Duration, mut scenario: Stopping<F>) -> Stopping<F> {
    let point = scenario.point();
    tokio::select! {
        biased;
        () = &mut scenario => {}
        _ = timeout(limit, point.wait_stopped()) => {}
    }
    scenario
}

/// Polls the scenario in a task until it stops or ends.
async fn in_task<F>(limit: Duration, scenario: Stopping<F>) -> JoinSet<()>
where
    F: Future + Send + 'static,
{
    let point = scenario.point();
    let mut tasks = JoinSet::new();
    let _ = tasks.spawn(scenario);
    let ended = tokio::select! {
        ended = tasks.join_next() => ended,
        _ = timeout(limit, point.wait_stopped()) => None,
    };
    if let Some(Err(error)) = ended {
        resume_unwind(error.into_panic());
    }
    tasks
}
