//! What is open is listed, wherever it was opened.

use std::time::Duration;

use tokio::time::sleep;
use withal_core::BoxError;
use withal_pool::Pool;
use withal_scope::{Kind, Open, OpenState, open, scope};

use crate::dummy::{Dummy, poll_once};

const SECOND: Duration = Duration::from_secs(1);

fn mine(name: &str) -> Vec<Open> {
    let mut open = open();
    open.retain(|open| open.is_of_this_thread() && open.name() == name);
    open
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_listed_with_its_place_until_it_is_back() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = Pool::builder(dummy.clone()).name("listed").build()?;
    let mut coming = Box::pin(pool.lease());
    let line = line!() - 1;
    assert!(poll_once(coming.as_mut()).is_pending());
    assert_eq!(mine("listed")[0].state(), OpenState::Acquiring);
    let lease = coming.await?;
    sleep(3 * SECOND).await;
    let open = mine("listed");
    assert_eq!(open.len(), 1);
    assert_eq!(
        (open[0].kind(), open[0].state()),
        (Kind::Resource, OpenState::Open)
    );
    assert_eq!(open[0].location().line(), line);
    assert!(open[0].age() >= 3 * SECOND);
    let mut release = Box::pin(lease.release());
    assert!(poll_once(release.as_mut()).is_pending());
    assert_eq!(mine("listed")[0].state(), OpenState::Closing);
    release.await;
    assert!(mine("listed").is_empty());
    pool.close(SECOND).await?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_block_is_listed_once_in_its_block() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    scope(async |s| {
        let pool = s
            .enter(Pool::open(Pool::builder(dummy).name("in a block")))
            .await?;
        let _lease = s.enter(pool.acquire()).await?;
        let open = mine("in a block");
        // The pool, and the lease.
        assert_eq!(open.len(), 2);
        assert_eq!(open[0].parent(), open[1].parent());
        assert!(open[0].parent().is_some());
        let value = pool.lease().await?;
        assert_eq!(mine("in a block").len(), 3);
        assert_eq!(mine("in a block")[2].parent(), open[0].parent());
        value.release().await;
        Ok(())
    })
    .await?;
    assert!(mine("in a block").is_empty());
    Ok(())
}
