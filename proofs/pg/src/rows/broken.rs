//! Work that ends badly.

use std::time::Duration;

use tokio::time::timeout;
use withal_sql::Database;

use crate::lab::{SIZE, take_all, to_its_end};
use crate::pool::{WAIT, Work};
use crate::{Lab, Result, Tried};

pub(super) async fn panic(lab: &Lab) -> Result<Tried> {
    ends(lab, &[Work::Panic]).await
}

pub(super) async fn error(lab: &Lab) -> Result<Tried> {
    ends(lab, &[Work::Refused, Work::Error]).await
}

pub(super) async fn manual_error(lab: &Lab) -> Result<Tried> {
    ends(lab, &[Work::ManualError]).await
}

async fn ends(lab: &Lab, works: &[Work]) -> Result<Tried> {
    let mut tried = Tried::default();
    for work in works.iter().copied() {
        for _ in 0..lab.limits.repeats {
            let pool = lab.warm_pool(&lab.url()).await?;
            let ended = to_its_end(&pool, work).await;
            let mut wrong = lab.check(&pool).await?;
            if matches!(ended, Some(Ok(()))) {
                wrong.push("it counts as a success".to_owned());
            }
            tried.count(format_args!("{work:?}"), wrong);
        }
    }
    Ok(tried)
}

pub(super) async fn timeouts(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for _ in 0..12 * lab.limits.repeats {
        let limit = Duration::from_micros(fastrand::u64(200..35_000));
        let pool = lab.warm_pool(&lab.url()).await?;
        let _ = timeout(limit, pool.run(Work::Pauses)).await;
        let wrong = lab.check(&pool).await?;
        tried.count(format_args!("after {limit:?}"), wrong);
    }
    Ok(tried)
}

/// What each kind of state looks like, and how it is without.
const KINDS: [(&str, &str, &str); 6] = [
    (
        "statement_timeout",
        "SELECT current_setting('statement_timeout')",
        "0",
    ),
    (
        "search_path",
        "SELECT current_setting('search_path')",
        "\"$user\", public",
    ),
    (
        "a setting of its own",
        "SELECT coalesce(current_setting('app.tenant', true), '')",
        "",
    ),
    (
        "a temporary table",
        "SELECT coalesce(to_regclass('pg_temp.left_over')::text, '')",
        "",
    ),
    (
        "an advisory lock",
        "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "0",
    ),
    (
        "LISTEN",
        "SELECT count(*)::text FROM pg_listening_channels()",
        "0",
    ),
];

/// Each kind of state that the next user of any connection sees is bad.
pub(super) async fn state(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for _ in 0..lab.limits.repeats {
        let pool = lab.warm_pool(&lab.url()).await?;
        pool.run(Work::State).await?;
        let mut held = take_all(&pool, WAIT).await?;
        for (kind, sql, clean) in KINDS {
            let mut wrong = Vec::new();
            for connection in &mut held {
                match connection.text(sql).await {
                    Ok(found) if found == clean => {}
                    Ok(found) => wrong.push(format!("it is `{found}`")),
                    Err(error) => wrong.push(error.to_string()),
                }
            }
            tried.count(kind, wrong);
        }
        for connection in held {
            connection.give_back().await;
        }
        pool.close().await?;
    }
    Ok(tried)
}

pub(super) async fn off_runtime(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for _ in 0..lab.limits.repeats {
        let pool = lab.warm_pool(&lab.url()).await?;
        let mut connection = pool.take().await?;
        connection.execute("BEGIN").await?;
        connection
            .execute("UPDATE accounts SET balance = 0 WHERE id = 1")
            .await?;
        let dropped = std::thread::spawn(move || drop(connection)).join();
        let mut wrong = lab.check(&pool).await?;
        if dropped.is_err() {
            wrong.push("the drop panicked".to_owned());
        }
        tried.count("dropped", wrong);
    }
    Ok(tried)
}

/// A slot is lost for good, and that is told, with the place it was taken at.
pub(super) async fn forgotten(lab: &Lab) -> Result<Tried> {
    let mut tried = Tried::default();
    for _ in 0..lab.limits.repeats {
        lab.admin.clear().await?;
        let report = Duration::from_millis(10);
        let database = Database::open(lab.url())
            .max_connections(SIZE)
            .pool(move |pool| pool.report_after(report));
        let database = withal_core::AsyncContextManager::enter(database).await?;
        forget(database.lease().await?);
        let mut wrong = Vec::new();
        let limit = crate::lab::PATIENCE;
        let told = async {
            while database.pool().counters().held_long == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if timeout(limit, told).await.is_err() {
            wrong.push("it was not reported".to_owned());
        }
        let holders = database.pool().holders();
        let place = holders.first().and_then(|holder| holder.location());
        if place.is_none_or(|place| place.file() != file!()) {
            wrong.push(format!("the holders are {holders:?}"));
        }
        let other = database.lease().await?;
        let _ = other.execute("SELECT 1", &[]).await?;
        other.release().await;
        match database.close(Duration::from_millis(50)).await {
            Err(error) if error.to_string().contains(file!()) => {}
            ended => wrong.push(format!("the pool closed with {ended:?}")),
        }
        tried.count("forgotten", wrong);
    }
    Ok(tried)
}

#[expect(
    clippy::disallowed_methods,
    clippy::mem_forget,
    reason = "what this is about"
)]
fn forget(lease: withal_sql::Connection) {
    std::mem::forget(lease);
}
