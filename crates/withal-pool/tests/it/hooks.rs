//! What users have done at certain moments.

use std::time::Duration;

use withal_core::BoxError;
use withal_pool::{AcquireError, Builder, Cause, Pool};

use crate::dummy::{Dummy, Fault, Step, note};

const SECOND: Duration = Duration::from_secs(1);

fn hooked(dummy: &Dummy) -> Builder<Dummy> {
    Pool::builder(dummy.clone())
        .max_size(1)
        .post_create(|connection, info| note(connection, format!("post_create {}", info.number())))
        .pre_acquire(|connection, info| {
            note(connection, format!("pre_acquire, use {}", info.uses()))
        })
        .pre_recycle(|connection, _, case| {
            note(
                connection,
                format!("pre_recycle, clean {}", case.is_succeeded()),
            )
        })
        .post_recycle(|connection, _| note(connection, "post_recycle".into()))
}

#[tokio::test(start_paused = true)]
async fn hooks_run_in_their_places() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let pool = hooked(&dummy).build()?;
    pool.lease().await?.release().await;
    drop(pool.lease().await?);
    tokio::time::sleep(SECOND).await;
    pool.lease().await?.release().await;
    pool.close(SECOND).await?;
    assert_eq!(
        dummy.events(),
        [
            "create",
            "post_create 1",
            "pre_recycle, clean true",
            "recycle 1 succeeded",
            "post_recycle",
            "pre_acquire, use 1",
            "pre_recycle, clean false",
            "recycle 1 cancelled",
            "post_recycle",
            "validate 1",
            "pre_acquire, use 2",
            "pre_recycle, clean true",
            "recycle 1 succeeded",
            "post_recycle",
            "detach 1 pool closed",
        ]
    );
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_a_hook_rejects_is_ended() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let reject: fn() -> withal_pool::HookFuture<'static> = || Box::pin(async { Err("no".into()) });
    let pool = Pool::builder(dummy.clone())
        .post_create(move |_, _| reject())
        .build()?;
    let error = pool.lease().await.unwrap_err();
    assert!(matches!(&error, AcquireError::Rejected(why) if why.to_string() == "no"));
    assert_eq!(pool.status().size, 0);
    pool.close(SECOND).await?;

    let builder = Pool::builder(dummy.clone()).max_size(1);
    let pool = builder.pre_recycle(move |_, _, _| reject()).build()?;
    pool.lease().await?.release().await;
    assert_eq!(pool.status().size, 0);
    assert_eq!(pool.counters().discarded_for(Cause::Rejected), 1);
    pool.close(SECOND).await?;

    let builder = Pool::builder(dummy.clone()).max_size(1);
    let pool = builder
        .pre_acquire(move |connection, _| match connection.is_broken {
            true => reject(),
            false => Box::pin(async { Ok(()) }),
        })
        .build()?;
    pool.lease().await?.release().await;
    pool.lease().await?.release().await;
    assert_eq!(pool.counters().created, 1);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_hangs_is_given_up_at_the_deadline_of_its_step() -> Result<(), BoxError> {
    let dummy = Dummy::waiting();
    let builder = Pool::builder(dummy.clone()).max_size(1);
    let pool = builder
        .post_recycle(|_, _| Box::pin(std::future::pending()))
        .build()?;
    let began = tokio::time::Instant::now();
    pool.lease().await?.release().await;
    assert_eq!(began.elapsed(), 2 * SECOND);
    assert_eq!(pool.counters().discarded_for(Cause::ResetTimedOut), 1);
    dummy.fails(Step::Recycle, Fault::Error);
    pool.lease().await?.release().await;
    assert_eq!(pool.counters().discarded_for(Cause::ResetFailed), 1);
    pool.close(SECOND).await?;
    dummy.check()?;
    Ok(())
}
