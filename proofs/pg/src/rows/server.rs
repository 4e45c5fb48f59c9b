//! Pools that are closed, and servers that go away or are full.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use withal_core::{AsyncContextManager as _, Error};
use withal_pool::AcquireError;
use withal_scope::async_with;
use withal_sql::{Database, ErrorKind};
use withal_testkit::servers::postgres;

use crate::admin::Admin;
use crate::lab::PATIENCE;
use crate::ours;
use crate::pool::{Pool, Work};
use crate::{Lab, Result, Tried};

/// The close says who still has something; once that has come back, nothing is left anywhere.
pub(super) async fn closed(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for _ in 0..lab.limits.repeats {
        lab.admin.clear().await?;
        let ours = ours::Ours::open(&lab.url(), 2).await?;
        let database = ours.0.clone();
        let mut task = JoinSet::new();
        let is_in_transaction = true;
        let _ = task.spawn(ours.run(Work::Slow { is_in_transaction }));
        let held = database.lease().await?;
        while lab.admin.look().await?.active == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut waiting = JoinSet::new();
        let _ = waiting.spawn(database.lease());
        while database.status().waiting == 0 {
            tokio::task::yield_now().await;
        }
        let mut wrong = Vec::new();
        match database.close(Duration::from_millis(20)).await {
            Err(error) if error.holders().len() == 2 => {}
            ended => wrong.push(format!("with both out it closed with {ended:?}")),
        }
        if !matches!(
            waiting.join_next().await,
            Some(Ok(Err(AcquireError::Closed)))
        ) {
            wrong.push("who waited was not told".to_owned());
        }
        task.shutdown().await;
        drop(held);
        if let Err(error) = database.close(PATIENCE).await {
            wrong.push(format!("after both came back: {error}"));
        }
        let limit = lab.limits.settle;
        let seen = lab
            .admin
            .look_until(limit, |seen| seen.sessions == 0)
            .await?;
        if seen.sessions > 0 || seen.is_locked {
            wrong.push(format!("left on the server: {seen:?}"));
        }
        wrong.extend(lab.check_money().await?);
        tried.count("closed", wrong);
    }
    Ok(tried)
}

/// What was committed is there, what failed is not, and the pool works with the new server.
pub(super) async fn restarted(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for run in 0..lab.limits.repeats {
        for is_crash in [false, true] {
            let wrong = async_with(postgres().durable(), async |server| {
                let lab = Lab::new(server, lab.who, lab.limits.clone()).await?;
                let ours = Arc::new(ours::Ours::open(&lab.url(), 4).await?);
                let load = Load::start(&ours, 16);
                load.wait_done(50 + 10 * run as i64).await;
                match is_crash {
                    false => server.restart().await?,
                    true => {
                        server.crash().await?;
                        server.start().await?;
                    }
                }
                load.wait_done(50).await;
                let (done, unknown) = load.stop().await;
                let admin = Admin::connect(&lab.admin_url()).await?;
                let pool: Arc<dyn Pool> = ours;
                let mut wrong = lab.check_slots_seen_by(&admin, &pool).await?;
                let (taken, given) = admin.balances().await?;
                let moved = (given - 100_000) / 100;
                if taken + given != 200_000 || !(done..=done + unknown).contains(&moved) {
                    wrong.push(format!(
                        "{done} done, {unknown} unknown, {moved} found; {taken} + {given}"
                    ));
                }
                wrong.extend(lab.check_numbers(&pool).await);
                pool.close().await?;
                Ok(wrong)
            })
            .await?;
            let how = if is_crash { "crashed" } else { "restarted" };
            tried.count(how, wrong);
        }
    }
    Ok(tried)
}

/// Transfers, over and over.
struct Load {
    tasks: JoinSet<()>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    done: AtomicI64,
    unknown: AtomicI64,
    is_over: AtomicBool,
}

impl Load {
    fn start(ours: &Arc<ours::Ours>, tasks: usize) -> Load {
        let counts = Arc::<Counts>::default();
        let mut load = Load {
            tasks: JoinSet::new(),
            counts: Arc::clone(&counts),
        };
        for _ in 0..tasks {
            let (ours, counts) = (Arc::clone(ours), Arc::clone(&counts));
            let _ = load.tasks.spawn(async move {
                while !counts.is_over.load(Ordering::Relaxed) {
                    match ours.run(Work::Guard).await {
                        Ok(()) => {
                            let _ = counts.done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) if is_unknown(&*error) => {
                            let _ = counts.unknown.fetch_add(1, Ordering::Relaxed);
                        }
                        // There is nobody for a while.
                        Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                }
            });
        }
        load
    }

    /// Waits until so many more are done.
    async fn wait_done(&self, more: i64) {
        let enough = self.counts.done.load(Ordering::Relaxed) + more;
        while self.counts.done.load(Ordering::Relaxed) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn stop(self) -> (i64, i64) {
        self.counts.is_over.store(true, Ordering::Relaxed);
        let _ = self.tasks.join_all().await;
        let Counts { done, unknown, .. } = &*self.counts;
        (
            done.load(Ordering::Relaxed),
            unknown.load(Ordering::Relaxed),
        )
    }
}

fn is_unknown(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_it = |error: &withal_sql::Error| error.kind() == ErrorKind::CommitUnknown;
    let Some(all) = error.downcast_ref::<Error>() else {
        return error.downcast_ref().is_some_and(is_it);
    };
    all.iter().any(|failure| is_unknown(failure.error()))
}

/// Who gets no connection is told why; the others work, and no slot is lost.
pub(super) async fn full(lab: &Lab) -> Result<Tried> {
    const MOST: u32 = 6;
    let mut tried = Tried::default();
    for _ in 0..lab.limits.repeats {
        let wrong = async_with(postgres().max_connections(MOST), async |server| {
            let lab = Lab::new(server, lab.who, lab.limits.clone()).await?;
            let database = Database::open(lab.url()).max_connections(12);
            let database = database.enter().await?;
            let mut wrong = Vec::new();
            for _ in 0..3 {
                let mut leases = JoinSet::new();
                for _ in 0..12 {
                    let _ = leases.spawn(database.lease());
                }
                let mut held = Vec::new();
                for leased in leases.join_all().await {
                    match leased {
                        Ok(lease) => held.push(lease),
                        Err(AcquireError::Create(error)) if error.code() == Some("53300") => {}
                        Err(error) => wrong.push(format!("told {error:?}")),
                    }
                }
                if held.is_empty() || held.len() >= MOST as usize {
                    wrong.push(format!("{} connections", held.len()));
                }
                // While it is full, what is given up is cancelled all the same.
                for lease in &held {
                    let slow = lease.execute("SELECT pg_sleep(30)", &[]);
                    let _ = timeout(Duration::from_millis(5), slow).await;
                }
                drop(held);
                let is_right = |seen: &crate::admin::Seen| seen.active == 0;
                let seen = lab.admin.look_until(lab.limits.settle, is_right).await?;
                if seen.active > 0 {
                    wrong.push(format!("left on the server: {seen:?}"));
                }
            }
            let pool: Arc<dyn Pool> = Arc::new(ours::Ours(database));
            wrong.extend(lab.check_numbers(&pool).await);
            wrong.extend(lab.check_slots(&pool).await?);
            pool.close().await?;
            Ok(wrong)
        })
        .await?;
        tried.count("full", wrong);
    }
    Ok(tried)
}
