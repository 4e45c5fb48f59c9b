//! Every step goes wrong in every way, and the scenario is cancelled at every await point in every
//! way: no connection is left over, none is handed out dirty, no slot is lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;
use withal_core::unwind::catch;
use withal_core::{AsyncContextManager, BoxError, Error, ExitCase};
use withal_pool::{Acquire, Lease, Pool};
use withal_scope::{async_with, scope};
use withal_testkit::{Cancel, CancelReport, laws};

use crate::dummy::{Dummy, Fault, Step};

const SECOND: Duration = Duration::from_secs(1);

/// Cancels `scenario`, whose manager is set up by `break_it`, everywhere.
fn cancel_everywhere<F>(break_it: impl Fn(&Dummy), scenario: impl Fn(Dummy) -> F) -> CancelReport
where
    F: Future<Output = ()> + Send + 'static,
{
    let last: Arc<Mutex<Dummy>> = Arc::default();
    let started = Arc::clone(&last);
    Cancel::every_way().everywhere(
        move || {
            let dummy = Dummy::waiting();
            break_it(&dummy);
            *lock(&started) = dummy.clone();
            let scenario = scenario(dummy);
            // A panic of a step goes on to here.
            async move { drop(catch(scenario).await) }
        },
        move || lock(&last).check(),
    )
}

fn lock(last: &Mutex<Dummy>) -> MutexGuard<'_, Dummy> {
    last.lock().unwrap_or_else(PoisonError::into_inner)
}

fn faults() -> impl Iterator<Item = Option<(Step, Fault)>> {
    let steps = [Step::Create, Step::Validate, Step::Recycle, Step::Detach];
    let faults = [Fault::Error, Fault::Panic, Fault::Hang];
    let each = steps
        .into_iter()
        .flat_map(move |step| faults.map(|fault| Some((step, fault))));
    each.chain([None])
}

/// In blocks: two at once, then one that was idle for long.
async fn in_blocks(dummy: Dummy) -> Result<(), Error> {
    scope(async |s| {
        let builder = Pool::builder(dummy).max_size(2).wait_timeout(30 * SECOND);
        let pool = s.enter(Pool::open(builder.min_idle(1))).await?;
        async_with((pool.acquire(), pool.acquire()), async |(first, second)| {
            first.work();
            second.work();
            yield_now().await;
            first.work_on();
            Ok(())
        })
        .await?;
        sleep(SECOND).await;
        let mistaken = async_with(pool.acquire(), async |lease| {
            lease.work();
            yield_now().await;
            lease.work_on();
            Err::<(), BoxError>("a mistake".into())
        });
        drop(mistaken.await);
        s.enter(pool.acquire()).await?.work();
        Ok(())
    })
    .await
}

/// As values: released, dropped, held while another waits.
async fn as_values(dummy: Dummy) -> Result<(), BoxError> {
    let pool = Pool::builder(dummy)
        .max_size(1)
        .wait_timeout(30 * SECOND)
        .build()?;
    let mut lease = pool.lease().await?;
    lease.work();
    lease.release().await;
    sleep(SECOND).await;
    let mut lease = pool.lease().await?;
    lease.work();
    drop(lease);
    let mut lease = pool.lease().await?;
    lease.work();
    let next = async {
        let mut lease = pool.lease().await?;
        lease.work();
        lease.condemn();
        lease.release().await;
        Ok::<(), BoxError>(())
    };
    let this = async {
        yield_now().await;
        lease.work_on();
        lease.release().await;
    };
    tokio::join!(next, this).0?;
    pool.close(30 * SECOND).await?;
    Ok(())
}

#[test]
fn whatever_goes_wrong_in_blocks_and_wherever_they_are_cancelled_nothing_is_left() {
    for fault in faults() {
        let break_it = move |dummy: &Dummy| {
            if let Some((step, fault)) = fault {
                dummy.fails(step, fault);
            }
        };
        let report = cancel_everywhere(break_it, |dummy| async { drop(in_blocks(dummy).await) });
        assert!(report.leaks().is_empty(), "{fault:?}: {report}");
        assert!(report.points() > 5 || fault.is_some(), "{report}");
    }
}

#[test]
fn whatever_goes_wrong_with_values_and_wherever_they_are_cancelled_nothing_is_left() {
    for fault in faults() {
        let break_it = move |dummy: &Dummy| {
            if let Some((step, fault)) = fault {
                dummy.fails(step, fault);
            }
        };
        let report = cancel_everywhere(break_it, |dummy| async { drop(as_values(dummy).await) });
        assert!(report.leaks().is_empty(), "{fault:?}: {report}");
        assert!(report.points() > 5 || fault.is_some(), "{report}");
    }
}

#[test]
fn two_faults_at_once_leave_nothing_either() {
    for (first, second) in faults().flat_map(|first| faults().map(move |second| (first, second))) {
        let break_it = move |dummy: &Dummy| {
            for (step, fault) in [first, second].into_iter().flatten() {
                dummy.fails(step, fault);
            }
        };
        let last: Arc<Mutex<Dummy>> = Arc::default();
        let runs = |scenario: &dyn Fn(Dummy) -> Ending| {
            let started = Arc::clone(&last);
            let report = Cancel::by([]).everywhere(
                || {
                    let dummy = Dummy::waiting();
                    break_it(&dummy);
                    *lock(&started) = dummy.clone();
                    scenario(dummy)
                },
                || lock(&last).check(),
            );
            assert!(report.leaks().is_empty(), "{first:?}, {second:?}: {report}");
        };
        runs(&|dummy| Box::pin(async { drop(catch(in_blocks(dummy)).await) }));
        runs(&|dummy| Box::pin(async { drop(catch(as_values(dummy)).await) }));
    }
}

type Ending = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

#[test]
fn opening_a_pool_keeps_the_laws() {
    let dummy = Dummy::waiting();
    laws::Laws::new()
        .observe(|| dummy.server().alive)
        .check(|| Pool::open(Pool::builder(dummy.clone()).min_idle(2)))
        .assert_held();
    dummy.check().unwrap();
}

/// A lease, and the pool it is of: runtimes come and go under the laws, pools should not see that.
struct OneLease(Dummy);

impl AsyncContextManager for OneLease {
    type Resource = (Pool<Dummy>, Lease<Dummy>);
    type Error = BoxError;

    async fn enter(self) -> Result<Self::Resource, BoxError> {
        let pool = Pool::builder(self.0).build()?;
        match Acquire::enter(pool.acquire()).await {
            Ok(lease) => Ok((pool, lease)),
            Err(error) => {
                pool.close(SECOND).await?;
                Err(error.into())
            }
        }
    }

    async fn exit((pool, lease): Self::Resource, case: ExitCase) -> Result<(), BoxError> {
        Acquire::exit(lease, case).await?;
        Ok(pool.close(SECOND).await?)
    }
}

#[test]
fn acquiring_keeps_the_laws() {
    let dummy = Dummy::waiting();
    laws::Laws::new()
        .observe(|| dummy.server().alive)
        .check(|| OneLease(dummy.clone()))
        .assert_held();
    dummy.check().unwrap();
}
