//! Acquiring, using, giving back.

use std::time::Duration;

use withal_core::BoxError;
use withal_pool::{Cause, Pool};
use withal_scope::scope;

use crate::dummy::{Dummy, Fault, Step};

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
