//! Acquiring, using, giving back.

use std::time::Duration;

use tokio::time::sleep;
use withal_core::{BoxError, ExitCase};
use withal_pool::{Acquire, AcquireError, Cause, Lease, Pool};
use withal_scope::scope;

use crate::dummy::{Dummy, Fault, Refused, Step, poll_once};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_scope_resets_and_puts_back_in_reverse_order_then_closes() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    scope(async |s| {
        let pool = s.enter(Pool::open(Pool::builder(dummy.clone()))).await?;
        let first = s.enter(pool.acquire()).await?;
        let second = s.enter(pool.acquire()).await?;
        first.work();
        second.work();
        assert_eq!(pool.status().in_use, 2);
        Ok(())
    })
    .await?;
    assert_eq!(
        dummy.events(),
        [
            "create",
            "create",
            "recycle 2 succeeded",
            "recycle 1 succeeded",
            "detach 2 pool closed",
            "detach 1 pool closed",
        ]
    );
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_clean_and_idle_before_release_returns() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    let mut lease = pool.lease().await?;
    lease.work();
    lease.release().await;
    assert_eq!((pool.status().idle, pool.status().size), (1, 1));
    let mut lease = pool.lease().await?;
    lease.work();
    assert_eq!(lease.number, 1);
    drop(lease);
    let lease = pool.lease().await?;
    drop(lease);
    pool.close(SECOND).await?;
    assert_eq!(
        dummy.events(),
        [
            "create",
            "recycle 1 succeeded",
            "recycle 1 cancelled",
            "recycle 1 cancelled",
            "detach 1 pool closed",
        ]
    );
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_made_clean_is_ended_and_replaced() -> Result<(), BoxError> {
    for fault in [Fault::Error, Fault::Hang] {
        let dummy = Dummy::waiting();
        let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
        dummy.fails(Step::Recycle, fault);
        let mut lease = pool.lease().await?;
        lease.work();
        lease.release().await;
        assert_eq!(pool.status().size, 0);
        let mut lease = pool.lease().await?;
        lease.work();
        assert_eq!(lease.number, 2);
        lease.release().await;
        let cause = match fault {
            Fault::Hang => Cause::ResetTimedOut,
            _ => Cause::ResetFailed,
        };
        assert_eq!(pool.counters().discarded_for(cause), 1);
        pool.close(SECOND).await?;
        dummy.check()?;
    }
    Ok(())
}

#[test]
fn a_lease_dropped_on_a_thread_without_a_runtime_comes_back_clean() {
    let dummy = Dummy::waiting();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let pool = Pool::builder(dummy.clone()).build().unwrap();
    let mut lease = runtime.block_on(pool.lease()).unwrap();
    lease.work();
    std::thread::spawn(move || drop(lease)).join().unwrap();
    // It was begun there, and is finished where the pool lives.
    assert_eq!(dummy.events(), ["create", "recycle 1 cancelled"]);
    let lease = runtime.block_on(pool.lease()).unwrap();
    assert!(!lease.is_dirty);
    drop(lease);
    runtime.block_on(pool.close(SECOND)).unwrap();
    dummy.check().unwrap();
}

#[test]
fn a_lease_that_outlives_its_runtime_frees_its_slot() {
    let dummy = Dummy::waiting();
    let runtime = || {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap()
    };
    let pool = Pool::builder(dummy.clone()).max_size(1).build().unwrap();
    let lease = runtime().block_on(pool.lease()).unwrap();
    drop(lease);
    assert_eq!(pool.status().size, 0);
    assert_eq!(pool.counters().discarded_for(Cause::Abandoned), 1);
    let runtime = runtime();
    let lease = runtime.block_on(pool.lease()).unwrap();
    assert_eq!(lease.number, 2);
    runtime.block_on(lease.release());
    runtime.block_on(pool.close(SECOND)).unwrap();
    dummy.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_condemned_connection_is_ended_without_a_reset() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).build()?;
    let mut lease = pool.lease().await?;
    lease.work();
    lease.condemn();
    lease.release().await;
    assert_eq!(dummy.events(), ["create", "detach 1 condemned by its user"]);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_known_to_be_clean_is_not_reset() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    drop(pool.lease().await?);
    let mut lease = pool.lease().await?;
    lease.is_known_clean = true;
    drop(lease);
    assert_eq!(pool.status().idle, 1);
    let lease = pool.lease().await?;
    assert_eq!(lease.info().uses(), 3);
    assert_eq!(lease.info().number(), 1);
    lease.release().await;
    assert_eq!(
        dummy.events(),
        ["create", "recycle 1 cancelled", "recycle 1 succeeded"]
    );
    pool.close(SECOND).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_unusable_connection_is_never_handed_out() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(2).build()?;
    let (mut first, second) = (pool.lease().await?, pool.lease().await?);
    first.is_broken = true;
    second.release().await;
    first.release().await;
    let lease = pool.lease().await?;
    assert_eq!(lease.number, 2);
    let counters = pool.counters();
    assert_eq!(counters.discarded_for(Cause::Unusable), 1);
    assert_eq!((counters.acquired, counters.returned), (3, 2));
    drop(lease);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_made_clean_is_counted_however_its_use_ended() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    pool.lease().await?.release().await;
    pool.lease().await?.release_after(ExitCase::Cancelled).await;
    drop(pool.lease().await?);
    // Clean as it is.
    let mut lease = pool.lease().await?;
    lease.is_known_clean = true;
    lease.release().await;
    assert_eq!(pool.counters().reset, 3);
    dummy.fails(Step::Recycle, Fault::Error);
    let mut lease = pool.lease().await?;
    lease.is_known_clean = false;
    lease.release().await;
    let counters = pool.counters();
    assert_eq!(counters.discarded_for(Cause::ResetFailed), 1);
    assert_eq!((counters.reset, counters.returned), (3, 5));
    // Made clean, and ended for another reason.
    let lease = pool.lease().await?;
    pool.expire();
    lease.release().await;
    let counters = pool.counters();
    assert_eq!(counters.discarded_for(Cause::Expired), 1);
    assert_eq!((counters.reset, counters.returned), (4, 6));
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn release_dropped_half_way_goes_on_where_it_was() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    let mut lease = pool.lease().await?;
    lease.work();
    let mut release = Box::pin(lease.release());
    assert!(poll_once(release.as_mut()).is_pending());
    assert_eq!(pool.status().resetting, 1);
    drop(release);
    let mut lease = pool.lease().await?;
    lease.work();
    assert_eq!(dummy.events(), ["create", "recycle 1 succeeded"]);
    lease.release().await;
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_recycle_frees_the_slot_and_goes_on() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    dummy.fails(Step::Recycle, Fault::Panic);
    let lease = pool.lease().await?;
    let ended = withal_core::unwind::catch(lease.release()).await;
    let panic = withal_core::Panicked::new(&*ended.unwrap_err());
    assert_eq!(panic.message(), "Recycle panics");
    assert_eq!(pool.status().size, 0);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_waiter_has_left_lands_idle() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    let mut lease = Box::pin(pool.lease());
    assert!(poll_once(lease.as_mut()).is_pending());
    assert_eq!(pool.status().connecting, 1);
    drop(lease);
    let lease = pool.lease().await?;
    assert_eq!(lease.number, 1);
    assert_eq!(dummy.events(), ["create"]);
    lease.release().await;
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_cannot_be_made_is_the_error_of_who_wants_it() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
    dummy.fails(Step::Create, Fault::Error);
    let error = pool.lease().await.unwrap_err();
    assert!(matches!(error, AcquireError::Create(Refused(Step::Create))));
    assert_eq!(error.to_string(), "no connection could be made");
    dummy.fails(Step::Create, Fault::Hang);
    let error = pool.lease().await.unwrap_err();
    assert!(matches!(error, AcquireError::CreateTimedOut(limit) if limit.limit() == 10 * SECOND));
    let counters = pool.counters();
    assert_eq!((counters.create_failed, counters.create_timed_out), (1, 1));
    assert_eq!(pool.status().size, 0);
    pool.lease().await?.release().await;
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_validation_that_is_cancelled_discards() -> Result<(), BoxError> {
    for fault in [None, Some(Fault::Hang)] {
        let dummy = Dummy::waiting();
        let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
        pool.lease().await?.release().await;
        sleep(SECOND).await;
        if let Some(fault) = fault {
            dummy.fails(Step::Validate, fault);
        }
        let mut lease = Box::pin(pool.lease());
        assert!(poll_once(lease.as_mut()).is_pending());
        assert_eq!(pool.status().validating, 1);
        drop(lease);
        let lease = pool.lease().await?;
        assert_eq!(lease.number, 2);
        assert_eq!(pool.counters().discarded_for(Cause::ValidationCancelled), 1);
        lease.release().await;
        pool.close(SECOND).await?;
        dummy.check()?;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fails_its_validation_is_replaced() -> Result<(), BoxError> {
    let causes = [
        (Fault::Error, Cause::ValidationFailed),
        (Fault::Hang, Cause::ValidationTimedOut),
    ];
    for (fault, cause) in causes {
        let dummy = Dummy::waiting();
        let pool = Pool::builder(dummy.clone()).max_size(1).build()?;
        pool.lease().await?.release().await;
        sleep(SECOND).await;
        dummy.fails(Step::Validate, fault);
        let lease = pool.lease().await?;
        assert_eq!(lease.number, 2);
        assert_eq!(pool.counters().discarded_for(cause), 1);
        assert_eq!(pool.counters().acquired, 2);
        lease.release().await;
        pool.close(SECOND).await?;
        dummy.check()?;
    }
    Ok(())
}

#[test]
fn pools_and_leases_move_between_threads() {
    fn is_send<T: Send + 'static>() {}
    fn is_sync<T: Sync>() {}
    fn is_send_value<T: Send + 'static>(_: &T) {}
    is_send::<Pool<Dummy>>();
    is_sync::<Pool<Dummy>>();
    is_send::<Lease<Dummy>>();
    is_send::<Acquire<Dummy>>();
    is_send::<AcquireError<Refused>>();
    is_sync::<AcquireError<Refused>>();
    let pool = Pool::builder(Dummy::default()).build().unwrap();
    is_send_value(&pool.lease());
    is_send_value(&async move { pool.lease().await.unwrap().release().await });
}
