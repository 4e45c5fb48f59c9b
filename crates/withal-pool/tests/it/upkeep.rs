//! What the pool does by itself while time passes.

use std::time::Duration;

use tokio::time::sleep;
use withal_core::{BoxError, NoticeKind};
use withal_pool::{BuildError, Cause, Pool};
use withal_scope::{Reaper, scope};

use crate::dummy::{Dummy, Fault, Step, poll_once};
use crate::notices::{kinds, listen, said_of};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_idle_for_too_long_is_ended_down_to_the_minimum() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone())
        .min_idle(1)
        .idle_timeout(10 * SECOND)
        .build()?;
    let (first, second, third) = (
        pool.lease().await?,
        pool.lease().await?,
        pool.lease().await?,
    );
    for lease in [first, second, third] {
        lease.release().await;
    }
    sleep(9 * SECOND).await;
    assert_eq!(pool.status().idle, 3);
    sleep(4 * SECOND).await;
    assert_eq!(pool.status().size, 1);
    assert_eq!(pool.counters().discarded_for(Cause::IdleTimeout), 2);
    // The warmest is kept.
    assert_eq!(pool.lease().await?.number, 3);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn connections_made_together_do_not_end_together() -> Result<(), BoxError> {
    let dummy = Dummy::default();
    let pool = Pool::builder(dummy.clone())
        .max_size(100)
        .max_lifetime(1000 * SECOND)
        .idle_timeout(None)
        .build()?;
    let mut all = Vec::new();
    for _ in 0..100 {
        all.push(pool.lease().await?);
    }
    drop(all);
    sleep(900 * SECOND).await;
    assert_eq!(pool.status().idle, 100);
    sleep(50 * SECOND).await;
    let half = pool.status().idle;
    assert!((10..=90).contains(&half), "{half} of 100");
    sleep(90 * SECOND).await;
    assert_eq!(pool.counters().discarded_for(Cause::MaxLifetime), 100);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_use_ends_its_life_when_it_comes_back() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone())
        .max_lifetime(10 * SECOND)
        .build()?;
    let mut lease = pool.lease().await?;
    lease.work();
    sleep(60 * SECOND).await;
    lease.work_on();
    lease.release().await;
    assert_eq!(pool.status().size, 0);
    assert_eq!(
        dummy.events(),
        ["create", "recycle 1 succeeded", "detach 1 end of its life"]
    );
    pool.close(SECOND).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn idle_connections_are_kept_alive_and_dead_ones_found() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone())
        .keepalive(8 * SECOND)
        .max_size(1)
        .min_idle(1)
        .build()?;
    pool.lease().await?.release().await;
    drop(dummy.events());
    sleep(11 * SECOND).await;
    assert_eq!(dummy.events(), ["validate 1"]);
    dummy.fails(Step::Validate, Fault::Error);
    sleep(9 * SECOND).await;
    // Replaced, as one is to be there always.
    assert_eq!(
        dummy.events(),
        ["validate 1", "detach 1 validation failed", "create"]
    );
    assert_eq!(pool.status().idle, 1);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn missing_idle_connections_are_made_again_and_again() -> Result<(), BoxError> {
    listen();
    let (dummy, reaper) = (Dummy::waiting(), Reaper::new());
    scope(async |s| {
        let builder = Pool::builder(dummy.clone()).name("minimum").max_size(4);
        let builder = builder.min_idle(3).reaper(&reaper);
        let pool = s.enter(Pool::open(builder)).await?;
        assert_eq!(pool.status().idle, 3);
        dummy.fails(Step::Create, Fault::Error);
        dummy.fails(Step::Create, Fault::Panic);
        pool.expire();
        sleep(10 * SECOND).await;
        assert_eq!((pool.status().idle, pool.status().size), (3, 3));
        assert_eq!(pool.counters().discarded_for(Cause::Expired), 3);
        assert_eq!(pool.counters().create_failed, 2);
        assert_eq!(kinds("minimum"), [NoticeKind::WorkedAround]);
        let failures = reaper.failures();
        let panic = failures[0].to_string();
        assert!(panic.starts_with("`minimum` at"), "{panic}");
        assert!(panic.ends_with("panicked: Create panics"), "{panic}");
        Ok(())
    })
    .await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_out_when_the_pool_expires_is_ended_when_it_comes_back() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    let held = pool.lease().await?;
    pool.expire();
    held.release().await;
    assert_eq!(pool.lease().await?.number, 2);
    pool.close(SECOND).await?;
    // One that is being made then is of before, too.
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    let mut coming = Box::pin(pool.lease());
    assert!(poll_once(coming.as_mut()).is_pending());
    pool.expire();
    coming.await?.release().await;
    assert_eq!(pool.counters().discarded_for(Cause::Expired), 1);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lease_held_for_long_is_reported_once_and_again_when_it_comes_back()
-> Result<(), BoxError> {
    listen();
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone())
        .name("leaky")
        .report_after(60 * SECOND)
        .build()?;
    let line = line!() + 1;
    let held = pool.lease().await?;
    sleep(59 * SECOND).await;
    assert!(said_of("leaky").is_empty());
    sleep(600 * SECOND).await;
    let said = said_of("leaky");
    let [(NoticeKind::HeldLong, text)] = &said[..] else {
        panic!("{said:?}");
    };
    assert!(
        text.contains(&format!("leaky` at {}:{line}:", file!())),
        "{text}"
    );
    assert!(text.contains("held for 60.0s"), "{text}");
    held.release().await;
    let said = said_of("leaky");
    let [(NoticeKind::CameBack, text)] = &said[..] else {
        panic!("{said:?}");
    };
    assert!(text.contains("held for 659.0s"), "{text}");
    let counters = pool.counters();
    assert_eq!((counters.held_long, counters.came_back), (1, 1));
    pool.close(SECOND).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_lease_is_named() -> Result<(), BoxError> {
    listen();
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone())
        .name("forgetful")
        .max_size(1)
        .build()?;
    let line = line!() + 1;
    let lease = pool.lease().await?;
    #[expect(
        clippy::disallowed_methods,
        clippy::mem_forget,
        reason = "what it tests"
    )]
    std::mem::forget(lease);
    sleep(700 * SECOND).await;
    let said = said_of("forgetful");
    let [(NoticeKind::HeldLong, text)] = &said[..] else {
        panic!("{said:?}");
    };
    assert!(text.contains(&format!("{}:{line}:", file!())), "{text}");
    let error = pool.lease().await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("taken at {}:{line}:", file!())),
        "{error}"
    );
    let error = pool.close(SECOND).await.unwrap_err();
    assert_eq!(
        error.holders()[0].location().map(|at| at.line()),
        Some(line)
    );
    Ok(())
}

#[test]
fn settings_that_make_no_pool_are_refused() {
    let check = |builder: withal_pool::Builder<Dummy>, want| {
        assert_eq!(builder.build().map(drop), Err(want));
    };
    let builder = || Pool::builder(Dummy::default());
    check(builder().max_size(0), BuildError::NoSlots);
    check(builder().min_idle(11), BuildError::MinIdleAboveMaxSize);
    check(
        builder().keepalive(Duration::ZERO),
        BuildError::ZeroDuration,
    );
    check(
        builder().report_after(Duration::ZERO),
        BuildError::ZeroDuration,
    );
}
