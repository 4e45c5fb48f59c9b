//! Statements that take long, and lines that say nothing.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::hole::Hole;
use crate::lab::{PATIENCE, SIZE};
use crate::pool::Work;
use crate::{Lab, Result, Tried};

const WORKS: [Work; 2] = [
    Work::Slow {
        is_in_transaction: true,
    },
    Work::Slow {
        is_in_transaction: false,
    },
];

/// It is gone from the server in time, and then all slots are usable at once.
pub(super) async fn dropped(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for work in WORKS {
        for _ in 0..lab.limits.repeats {
            let pool = lab.warm_pool(&lab.url()).await?;
            given_up(lab, &*pool, work).await?;
            let mut wrong = gone(lab, lab.limits.slow).await?;
            let asked = Instant::now();
            let usable = timeout(lab.limits.slow, lab.check_slots(&pool)).await;
            match usable {
                Ok(slots) => wrong.extend(slots?),
                Err(_) => wrong.push(format!("no slots after {:?}", asked.elapsed())),
            }
            wrong.extend(lab.check_money().await?);
            tried.count(format_args!("{work:?}"), wrong);
            if timeout(PATIENCE, pool.close()).await.is_err() {
                lab.admin.clear().await?;
            }
        }
    }
    Ok(tried)
}

pub(super) async fn pool_dropped(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for work in WORKS {
        for _ in 0..lab.limits.repeats {
            let pool = lab.warm_pool(&lab.url()).await?;
            given_up(lab, &*pool, work).await?;
            drop(pool);
            let mut wrong = gone(lab, lab.limits.settle).await?;
            wrong.extend(lab.check_money().await?);
            tried.count(format_args!("{work:?}"), wrong);
        }
    }
    Ok(tried)
}

/// Drops the work once it runs on the server.
async fn given_up(lab: &Lab, pool: &dyn crate::pool::Pool, work: Work) -> Result<()> {
    let mut task = JoinSet::new();
    let _ = task.spawn(pool.run(work));
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND wait_event = 'PgSleep'";
    while lab.admin.number(sleeps).await? == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    task.shutdown().await;
    Ok(())
}

async fn gone(lab: &Lab, limit: Duration) -> Result<Vec<String>> {
    let begun = Instant::now();
    let seen = lab
        .admin
        .look_until(limit, |seen| seen.active == 0 && !seen.is_locked)
        .await?;
    Ok(match seen.active == 0 && !seen.is_locked {
        true => Vec::new(),
        false => vec![format!("{:?} later there is {seen:?}", begun.elapsed())],
    })
}

pub(super) async fn silent_in_use(lab: &Lab) -> Result<Tried> {
    silent(lab, true).await
}

pub(super) async fn silent_idle(lab: &Lab) -> Result<Tried> {
    silent(lab, false).await
}

/// All slots work again in time.
async fn silent(lab: &Lab, is_in_use: bool) -> Result<Tried> {
    let mut tried = Tried::default();
    for _ in 0..lab.limits.repeats {
        let hole = Hole::to(lab.addr).await?;
        let pool = lab.warm_pool(&lab.url_at(hole.addr)).await?;
        if is_in_use {
            let mut tasks = JoinSet::new();
            for _ in 0..SIZE {
                let work = Work::Slow {
                    is_in_transaction: false,
                };
                let _ = tasks.spawn(timeout(Duration::from_millis(300), pool.run(work)));
            }
            let all = |seen: &crate::admin::Seen| seen.active == SIZE as i64;
            let _ = lab.admin.look_until(PATIENCE, all).await?;
            hole.silence();
            let _ = tasks.join_all().await;
        } else {
            hole.silence();
        }
        let begun = Instant::now();
        let mut usable = 0;
        while usable < SIZE && begun.elapsed() < lab.limits.silent {
            let mut uses = JoinSet::new();
            for _ in 0..SIZE {
                let taken = pool.take();
                let _ = uses.spawn(timeout(Duration::from_secs(1), async move {
                    let mut connection = taken.await?;
                    let _ = connection.text("SELECT 'here'").await?;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Result::<()>::Ok(())
                }));
            }
            let uses = uses.join_all().await;
            usable = uses
                .iter()
                .filter(|used| matches!(used, Ok(Ok(()))))
                .count();
        }
        let mut wrong = Vec::new();
        if usable < SIZE {
            wrong.push(format!(
                "{usable} of {SIZE} slots after {:?}",
                begun.elapsed()
            ));
        }
        tried.count("silent", wrong);
        // What is left of the old lines would be in the way of the next run.
        drop(hole);
        let _ = timeout(PATIENCE, pool.close()).await;
    }
    Ok(tried)
}
