//! Who waits gets a connection in turn, hears why not, and leaves no trace.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout};
use withal_core::BoxError;
use withal_pool::{AcquireError, Phase, Pool};
use withal_scope::{Reaper, async_with};

use crate::dummy::{Dummy, Fault, Random, Step, poll_once};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn slots_are_given_in_the_order_of_asking() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    let first = pool.lease().await?;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = JoinSet::new();
    for number in 0..10 {
        let (own, order) = (pool.clone(), Arc::clone(&order));
        let _ = tasks.spawn(async move {
            let lease = own.lease().await.unwrap();
            order.lock().unwrap().push(number);
            yield_now().await;
            lease.release().await;
        });
        while pool.status().waiting <= number {
            yield_now().await;
        }
    }
    first.release().await;
    // Whoever has just given it back comes last.
    let again = pool.lease().await?;
    assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    again.release().await;
    drop(tasks.join_all().await);
    assert_eq!(pool.status().waiting, 0);
    pool.close(SECOND).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn with_sixty_four_tasks_on_eight_the_longest_wait_is_near_the_mean() -> Result<(), BoxError>
{
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(8).build()?;
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let pool = pool.clone();
        let _ = tasks.spawn(async move {
            let mut waits = Vec::new();
            for _ in 0..50 {
                let began = Instant::now();
                let lease = pool.lease().await.unwrap();
                waits.push(began.elapsed());
                sleep(Duration::from_millis(10)).await;
                lease.release().await;
            }
            waits
        });
    }
    let waits = tasks.join_all().await.concat();
    let mean = waits.iter().sum::<Duration>() / waits.len() as u32;
    let longest = waits.iter().max().copied().unwrap_or_default();
    assert!(mean >= Duration::from_millis(60), "{mean:?}");
    assert!(longest <= mean.mul_f64(1.3), "{longest:?} beside {mean:?}");
    assert_eq!(dummy.server().most, 8);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_acquire_that_times_out_names_the_holders() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone())
        .name("orders")
        .max_size(2)
        .wait_timeout(3 * SECOND)
        .build()?;
    let line = line!() + 1;
    let first = pool.lease().await?;
    sleep(2 * SECOND).await;
    let second = pool.lease().await?;
    let began = Instant::now();
    let error = timeout(60 * SECOND, pool.lease()).await?.unwrap_err();
    assert_eq!(began.elapsed(), 3 * SECOND);
    let AcquireError::TimedOut(timed_out) = &error else {
        panic!("{error}");
    };
    assert_eq!(timed_out.status().in_use, 2);
    let holders = timed_out.holders();
    assert_eq!(holders.len(), 2);
    assert_eq!(holders[0].phase(), Phase::InUse);
    assert_eq!(holders[0].location().map(|at| at.line()), Some(line));
    assert_eq!(
        (holders[0].age(), holders[1].age()),
        (5 * SECOND, 3 * SECOND)
    );
    assert_eq!(
        error.to_string(),
        format!(
            "no connection of `orders` was free after 3s: 2 of 2 there, 0 waiting; \
             in use for 5.0s, taken at {0}:{line}:22; in use for 3.0s, taken at {0}:{1}:23",
            file!(),
            line + 2
        )
    );
    assert_eq!(pool.counters().wait_timed_out, 1);
    drop((first, second));
    pool.close(SECOND).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn each_waiter_has_its_own_deadline_and_those_served_are_not_late() -> Result<(), BoxError> {
    let dummy = Dummy::default();
    let pool = Pool::builder(dummy.clone())
        .max_size(1)
        .wait_timeout(3 * SECOND)
        .report_after(None)
        .idle_timeout(None)
        .max_lifetime(None)
        .build()?;
    let held = pool.lease().await?;
    let mut tasks = JoinSet::new();
    let began = Instant::now();
    for number in 0..3 {
        let pool = pool.clone();
        let _ = tasks.spawn(async move {
            sleep(number * SECOND).await;
            let lease = timeout(60 * SECOND, pool.lease()).await.unwrap();
            (number, lease.map(drop).is_ok(), began.elapsed())
        });
    }
    sleep(Duration::from_millis(4500)).await;
    held.release().await;
    let mut ended = tasks.join_all().await;
    ended.sort();
    let at = Duration::from_millis;
    assert_eq!(
        ended,
        [
            (0, false, at(3000)),
            (1, false, at(4000)),
            (2, true, at(4500))
        ]
    );
    pool.close(SECOND).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_after_it_was_called_passes_its_turn_on() -> Result<(), BoxError> {
    let dummy = Dummy::default();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    let held = pool.lease().await?;
    let (mut first, mut second) = (Box::pin(pool.lease()), Box::pin(pool.lease()));
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    held.release().await;
    drop(first);
    let lease = second.await?;
    drop(lease);
    assert_eq!((pool.status().idle, pool.status().waiting), (1, 0));
    // And if nobody is left, the slot is free.
    let held = pool.lease().await?;
    let mut last = Box::pin(pool.lease());
    assert!(poll_once(last.as_mut()).is_pending());
    drop(held);
    drop(last);
    drop(timeout(SECOND, pool.lease()).await??);
    pool.close(SECOND).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_tasks_cancelled_at_random_leave_no_trace() -> Result<(), BoxError> {
    let (dummy, reaper) = (Dummy::waiting(), Reaper::new());
    let pool = Pool::builder(dummy.clone())
        .max_size(8)
        .validate_after(Duration::ZERO)
        .wait_timeout(2 * SECOND)
        .reaper(&reaper)
        .build()?;
    let mut random = Random::new(7);
    let mut tasks = JoinSet::new();
    let (mut released, mut dropped) = (0_u64, 0_u64);
    for number in 0..10_000_u64 {
        if number.is_multiple_of(97) {
            let step = random.pick([Step::Create, Step::Validate, Step::Recycle, Step::Detach]);
            dummy.fails(step, random.pick([Fault::Error, Fault::Hang]));
        }
        let patience = Duration::from_micros(random.below(60_000));
        let work = Duration::from_micros(random.below(2_000));
        let is_released = random.below(2) == 0;
        let pool = pool.clone();
        let _ = tasks.spawn(timeout(patience, async move {
            let mut lease = pool.lease().await.ok()?;
            lease.work();
            sleep(work).await;
            lease.work_on();
            if is_released {
                lease.release().await;
            }
            Some(is_released)
        }));
        if number.is_multiple_of(8) {
            sleep(Duration::from_micros(random.below(8_000))).await;
        }
    }
    while let Some(ended) = tasks.join_next().await {
        match ended? {
            Ok(Some(true)) => released += 1,
            Ok(Some(false)) => dropped += 1,
            Ok(None) | Err(_) => {}
        }
    }
    // Both happened, and so did cancellation.
    assert!(released > 500 && dropped > 500, "{released} {dropped}");
    assert!(released + dropped < 9_500, "{released} {dropped}");
    let left = reaper.drain(60 * SECOND).await;
    assert_eq!(left.pending, 0);
    let (status, counters) = (pool.status(), pool.counters());
    assert_eq!(status.idle, status.size, "{status:?}");
    assert_eq!((status.waiting, status.in_use), (0, 0), "{status:?}");
    assert_eq!(counters.acquired, counters.returned, "{counters:?}");
    assert_eq!(
        counters.created,
        counters.discarded() + status.size as u64,
        "{counters:?}"
    );
    {
        let server = dummy.server();
        assert_eq!((server.alive, server.dirty), (status.size, 0));
        assert_eq!(server.made, counters.created);
        assert!(server.most <= 8, "{} at once", server.most);
    }
    // Every slot is usable.
    dummy.heals();
    let mut all = Vec::new();
    for _ in 0..8 {
        all.push(timeout(SECOND, pool.lease()).await??);
    }
    drop(all);
    pool.close(10 * SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_that_take_and_leave_at_random_lose_no_slot_and_no_wake_up() -> Result<(), BoxError>
{
    let (dummy, reaper) = (Dummy::default(), Reaper::new());
    let builder = Pool::builder(dummy.clone()).max_size(3).reaper(&reaper);
    let pool = builder.build()?;
    let mut tasks = JoinSet::new();
    for seed in 0..64 {
        let pool = pool.clone();
        let _ = tasks.spawn(async move {
            let mut random = Random::new(seed);
            for _ in 0..200 {
                let is_patient = random.below(3) > 0;
                let turns = random.below(6);
                let work = async {
                    let mut lease = pool.lease().await.unwrap();
                    lease.work();
                    yield_now().await;
                    lease.work_on();
                    lease.release().await;
                };
                tokio::select! {
                    () = work => {}
                    () = yield_often(turns), if !is_patient => {}
                }
            }
        });
    }
    drop(tasks.join_all().await);
    assert_eq!(reaper.drain(60 * SECOND).await.pending, 0);
    let (status, counters) = (pool.status(), pool.counters());
    assert_eq!(
        (status.idle, status.waiting),
        (status.size, 0),
        "{status:?}"
    );
    assert_eq!(counters.acquired, counters.returned, "{counters:?}");
    assert!(counters.acquired > 64 * 100, "{counters:?}");
    assert!(dummy.server().most <= 3);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

async fn yield_often(times: u64) {
    for _ in 0..times {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_block_that_is_dropped_while_it_waits_leaves_the_queue() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let builder = Pool::builder(dummy.clone()).max_size(1);
    let pool = builder.wait_timeout(None).build()?;
    let held = pool.lease().await?;
    let block = async_with(pool.acquire(), async |lease| {
        lease.work();
        Ok(())
    });
    assert!(timeout(SECOND, block).await.is_err());
    yield_often(3).await;
    assert_eq!(pool.status().waiting, 0);
    held.release().await;
    assert_eq!((pool.status().idle, pool.counters().acquired), (1, 1));
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}
