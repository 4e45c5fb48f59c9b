//! Work that is dropped where it waits.

use std::time::Duration;

use withal_scope::scope;
use withal_testkit::proxy::{Direction, Proxy, Split};

use crate::lab::{dropped_at, to_its_end};
use crate::pool::Work;
use crate::stop::Stop;
use crate::{Lab, Result, Tried};

pub(super) async fn guard(lab: &Lab) -> Result<Tried> {
    lab.cancel_everywhere(&lab.url(), Work::Guard, true).await
}

pub(super) async fn borrowed(lab: &Lab) -> Result<Tried> {
    lab.cancel_everywhere(&lab.url(), Work::Borrowed, true)
        .await
}

pub(super) async fn split(lab: &Lab) -> Result<Tried> {
    let tried = scope(async |s| {
        let proxy = s.enter(Proxy::to(lab.addr)).await?;
        proxy.split(Direction::ToClient, Split::Halves);
        let url = lab.url_at(proxy.addr());
        lab.cancel_everywhere(&url, Work::Guard, true).await
    });
    Ok(tried.await?)
}

pub(super) async fn cold(lab: &Lab) -> Result<Tried> {
    lab.cancel_everywhere(&lab.url(), Work::Guard, false).await
}

pub(super) async fn manual(lab: &Lab) -> Result<Tried> {
    lab.cancel_everywhere(&lab.url(), Work::Manual, true).await
}

pub(super) async fn savepoint(lab: &Lab) -> Result<Tried> {
    lab.cancel_everywhere(&lab.url(), Work::Savepoint, true)
        .await
}

pub(super) async fn abandoned(lab: &Lab) -> Result<Tried> {
    let work = Work::Abandon {
        is_exclusive: false,
    };
    lab.cancel_everywhere(&lab.url(), work, true).await
}

pub(super) async fn abandoned_exclusive(lab: &Lab) -> Result<Tried> {
    let work = Work::Abandon { is_exclusive: true };
    lab.cancel_everywhere(&lab.url(), work, true).await
}

/// The outer transaction either commits all of it, or fails and leaves nothing.
pub(super) async fn nested_alone(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for after in lab.limits.delays.iter().copied() {
        // More often than any of them waits in it.
        for at in 0..8 {
            for _ in 0..lab.limits.repeats {
                let pool = lab.warm_pool(&lab.url()).await?;
                let ended = to_its_end(&pool, Work::NestedAlone(Stop { at, after })).await;
                let balances = lab.admin.balances().await?;
                let is_done = matches!(ended, Some(Ok(())));
                let is_whole = match is_done {
                    true => balances == (99_900, 100_100),
                    false => balances == (100_000, 100_000),
                };
                let mut wrong = lab.check(&pool).await?;
                if !is_whole {
                    wrong.push(format!("ended with {ended:?}, and balances {balances:?}"));
                }
                if !is_done && lab.admin.has_probe("nested").await? {
                    wrong.push("the savepoint lasts, what was around it does not".to_owned());
                }
                tried.count(format_args!("at {at}, {after:?} late"), wrong);
            }
        }
    }
    Ok(tried)
}

/// A transaction is dropped in a block that is dropped later: while it waits for the rollback, too.
pub(super) async fn twice(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    let after = Duration::ZERO;
    for first in 0..6 {
        for second in first + 1.. {
            let pool = lab.warm_pool(&lab.url()).await?;
            let work = Work::Twice(Stop { at: first, after });
            let is_stopped = dropped_at(&pool, Stop { at: second, after }, work).await;
            let wrong = lab.check(&pool).await?;
            tried.count(format_args!("at {first}, then at {second}"), wrong);
            if !is_stopped {
                break;
            }
        }
    }
    Ok(tried)
}
