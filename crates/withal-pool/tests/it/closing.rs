//! A pool is closed once everything has come back, and says what has not.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use withal_core::{BoxError, NoticeKind, TimedOut};
use withal_pool::{AcquireError, Cause, CloseError, Phase, Pool};
use withal_scope::{Options, Reaper, scope};

use crate::dummy::{Dummy, Fault, Step, Waits, poll_once};
use crate::notices::{kinds, listen};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn close_waits_for_what_is_out_and_for_resets() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(3).build()?;
    let (idle, mut dropped, mut held) = (
        pool.lease().await?,
        pool.lease().await?,
        pool.lease().await?,
    );
    idle.release().await;
    dropped.work();
    held.work();
    drop(dropped);
    let mut tasks = JoinSet::new();
    let _ = tasks.spawn(async move {
        sleep(5 * SECOND).await;
        held.release().await;
    });
    let began = Instant::now();
    pool.close(10 * SECOND).await?;
    assert_eq!(began.elapsed(), 5 * SECOND);
    assert_eq!(pool.counters().discarded_for(Cause::PoolClosed), 3);
    assert_eq!(pool.status().size, 0);
    dummy.check()?;
    drop(tasks.join_all().await);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn close_says_what_it_had_to_give_up_and_can_be_called_again() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).name("stock").build()?;
    let held = pool.lease().await?;
    sleep(SECOND).await;
    let error = pool.close(3 * SECOND).await.unwrap_err();
    assert_eq!(error.holders().len(), 1);
    assert_eq!(error.holders()[0].phase(), Phase::InUse);
    assert_eq!(error.holders()[0].age(), 4 * SECOND);
    let text = error.to_string();
    assert!(
        text.starts_with("1 connection of `stock` was still out 3s after"),
        "{text}"
    );
    assert!(text.contains("closing.rs:"), "{text}");
    held.release().await;
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_hear_that_it_is_closed() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    let held = pool.lease().await?;
    let mut waiting = Box::pin(pool.lease());
    assert!(poll_once(waiting.as_mut()).is_pending());
    let mut close = Box::pin(pool.close(10 * SECOND));
    assert!(poll_once(close.as_mut()).is_pending());
    assert!(matches!(waiting.await, Err(AcquireError::Closed)));
    assert!(matches!(pool.lease().await, Err(AcquireError::Closed)));
    assert!(pool.is_closed());
    drop(held);
    close.await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_made_while_the_pool_closes_is_ended() -> Result<(), BoxError> {
    let dummy = Dummy::default().with_waits(Waits {
        create: 5,
        ..Waits::default()
    });
    let pool = Pool::builder(dummy.clone()).build()?;
    let mut abandoned = Box::pin(pool.lease());
    let mut wanted = Box::pin(pool.lease());
    assert!(poll_once(abandoned.as_mut()).is_pending());
    assert!(poll_once(wanted.as_mut()).is_pending());
    drop(abandoned);
    let mut close = Box::pin(pool.close(10 * SECOND));
    assert!(poll_once(close.as_mut()).is_pending());
    // Who was being served is served.
    wanted.await?.release().await;
    close.await?;
    assert_eq!(dummy.server().made, 2);
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_detach_that_hangs_is_given_up_at_its_deadline() -> Result<(), BoxError> {
    listen();
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone())
        .name("hanging detach")
        .build()?;
    let (first, second) = (pool.lease().await?, pool.lease().await?);
    first.release().await;
    second.release().await;
    dummy.fails(Step::Detach, Fault::Hang);
    dummy.fails(Step::Detach, Fault::Error);
    let began = Instant::now();
    pool.close(10 * SECOND).await?;
    assert_eq!(began.elapsed(), 2 * SECOND);
    assert_eq!(pool.counters().detach_failed, 2);
    assert_eq!(
        kinds("hanging detach"),
        [NoticeKind::TeardownFailed, NoticeKind::TeardownTimedOut]
    );
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn closing_twice_at_once_waits_twice() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).build()?;
    let held = pool.lease().await?;
    let (mut first, mut second) = (
        Box::pin(pool.close(10 * SECOND)),
        Box::pin(pool.close(10 * SECOND)),
    );
    assert!(poll_once(first.as_mut()).is_pending());
    assert!(poll_once(second.as_mut()).is_pending());
    drop(held);
    first.await?;
    second.await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_open_pool_that_cannot_be_emptied_is_an_error_of_its_block() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let builder = Pool::builder(dummy.clone()).close_timeout(SECOND);
    let mut kept = None;
    let ended = scope(async |s| {
        let pool = s.enter(Pool::open(builder)).await?;
        kept = Some(pool.lease().await?);
        Ok(())
    })
    .await;
    let error = ended.unwrap_err();
    assert!(error.is::<CloseError>(), "{error}");
    let lease = kept.unwrap();
    // It works until it is given back.
    assert_eq!(lease.number, 1);
    lease.release().await;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_pool_whose_first_connections_cannot_be_made_is_not_opened() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    dummy.fails(Step::Create, Fault::Error);
    let opened = scope(async |s| {
        let builder = Pool::builder(dummy.clone()).min_idle(2);
        s.enter(Pool::open(builder)).await.map(drop)
    });
    let error = opened.await.unwrap_err();
    assert_eq!(
        error.first().error().to_string(),
        "no connection could be made"
    );
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_pool_dropped_unclosed_says_so_and_ends_what_it_has() -> Result<(), BoxError> {
    listen();
    let dummy = Dummy::waiting();
    let reaper = Reaper::new();
    let builder = Pool::builder(dummy.clone()).name("unclosed");
    let pool = builder.reaper(&reaper).build()?;
    let (idle, held) = (pool.lease().await?, pool.lease().await?);
    idle.release().await;
    drop(pool.clone());
    assert!(kinds("unclosed").is_empty());
    drop(pool);
    assert_eq!(kinds("unclosed"), [NoticeKind::NotClosed]);
    held.release().await;
    let drained = reaper.drain(SECOND).await;
    assert_eq!(drained.pending, 0);
    dummy.check()?;
    Ok(())
}

#[test]
fn a_pool_that_was_never_used_is_dropped_in_silence() {
    listen();
    drop(Pool::builder(Dummy::default()).name("unused").build());
    assert!(kinds("unused").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_return_that_its_block_gives_up_frees_the_slot_at_once() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    dummy.fails(Step::Recycle, Fault::Hang);
    let hurried = Options::new().exit_timeout(SECOND);
    let ended = hurried.async_with(pool.acquire(), async |lease| {
        lease.work();
        Ok(())
    });
    assert!(ended.await.unwrap_err().is::<TimedOut>());
    assert_eq!(pool.status().size, 0);
    assert_eq!(pool.counters().discarded_for(Cause::Abandoned), 1);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn first_connections_are_made_at_once_and_those_made_in_vain_are_ended()
-> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    dummy.fails(Step::Create, Fault::Hang);
    let builder = Pool::builder(dummy.clone()).min_idle(5);
    let began = Instant::now();
    let opened = scope(async |s| s.enter(Pool::open(builder)).await.map(drop)).await;
    let error = opened.unwrap_err().to_string();
    assert!(error.contains("no connection was made in time"), "{error}");
    assert_eq!(began.elapsed(), 10 * SECOND);
    assert_eq!(dummy.server().made, 4);
    dummy.check()?;
    Ok(())
}
