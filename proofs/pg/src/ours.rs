//! Our own pool.

use std::time::Duration;

use withal_core::{AsyncContextManager as _, BoxError, ExitCase};
use withal_pool::Counters;
use withal_scope::{scope, with_ref};
use withal_sql::{Connection as Lease, Database, OpenDatabase, Session};

use crate::pool::{Connection, GIVE, MANY, NESTED, Pool, SLOW, STATE, TAKE, WAIT, Work};
use crate::stop::stop;
use crate::{Boxed, Result};

pub(crate) struct Ours(pub(crate) Database);

impl Ours {
    pub(crate) async fn open(url: &str, size: usize) -> Result<Ours> {
        let database = Database::open(url).max_connections(size);
        Ok(Ours(database.acquire_timeout(WAIT).enter().await?))
    }
}

async fn execute(session: &Session, sql: &str) -> Result<()> {
    let _ = session.execute(sql, &[]).await?;
    Ok(())
}

pub(crate) async fn run(db: Database, work: Work) -> Result<()> {
    let done = scope(async move |s| {
        let conn = s.enter(db.acquire()).await?;
        match work {
            Work::Guard => {
                s.with(conn.begin(), async |_, tx| {
                    execute(tx, TAKE).await?;
                    execute(tx, GIVE).await
                })
                .await?;
            }
            Work::Borrowed => {
                with_ref(conn.begin(), async |tx| {
                    execute(tx, TAKE).await?;
                    execute(tx, GIVE).await
                })
                .await?;
            }
            Work::Manual => {
                execute(conn, "BEGIN").await?;
                execute(conn, TAKE).await?;
                execute(conn, GIVE).await?;
                execute(conn, "COMMIT").await?;
            }
            Work::Savepoint => {
                s.with(conn.begin(), async |s, tx| {
                    execute(tx, TAKE).await?;
                    s.with(tx.begin(), async |_, inner| execute(inner, GIVE).await)
                        .await?;
                    Ok(())
                })
                .await?;
            }
            Work::NestedAlone(at) => {
                s.with(conn.begin(), async move |_, tx| {
                    execute(tx, TAKE).await?;
                    let inner = with_ref(tx.begin(), async |inner| execute(inner, NESTED).await);
                    let _ = stop(at, inner).await.transpose()?;
                    execute(tx, GIVE).await
                })
                .await?;
            }
            Work::Panic => {
                s.with(conn.begin(), async |_, tx| {
                    execute(tx, TAKE).await?;
                    panic!("the body panics");
                })
                .await?;
            }
            Work::Refused => {
                s.with(conn.begin(), async |_, tx| {
                    execute(tx, TAKE).await?;
                    execute(tx, "SELECT 1/0").await
                })
                .await?;
            }
            Work::Error => {
                s.with(conn.begin(), async |_, tx| {
                    execute(tx, TAKE).await?;
                    Err::<(), BoxError>("no".into())
                })
                .await?;
            }
            Work::ManualError => {
                execute(conn, "BEGIN").await?;
                execute(conn, TAKE).await?;
                return Err("no".into());
            }
            Work::Pauses => {
                s.with(conn.begin(), async |_, tx| {
                    execute(tx, TAKE).await?;
                    execute(tx, "SELECT pg_sleep(0.01)").await?;
                    execute(tx, GIVE).await?;
                    execute(tx, "SELECT pg_sleep(0.01)").await
                })
                .await?;
            }
            Work::Slow {
                is_in_transaction: true,
            } => {
                s.with(conn.begin(), async |_, tx| {
                    execute(tx, TAKE).await?;
                    execute(tx, SLOW).await
                })
                .await?;
            }
            Work::Slow {
                is_in_transaction: false,
            } => execute(conn, SLOW).await?,
            Work::State => conn.batch(STATE).await?,
            Work::Abandon { is_exclusive } => {
                let cursor = match is_exclusive {
                    true => conn.exclusive_cursor(MANY, &[]),
                    false => conn.cursor(MANY, &[]),
                };
                s.with(cursor, async |_, rows| {
                    for _ in 0..10 {
                        let _ = rows.next().await?;
                    }
                    Ok(())
                })
                .await?;
            }
            Work::Twice(at) => {
                let inner = s.with(conn.begin(), async |_, tx| {
                    execute(tx, TAKE).await?;
                    execute(tx, GIVE).await
                });
                let _ = stop(at, inner).await;
                let other = s.enter(db.acquire()).await?;
                execute(other, "SELECT 1").await?;
            }
        }
        Ok(())
    });
    Ok(done.await?)
}

impl Pool for Ours {
    fn run(&self, work: Work) -> Boxed<'static, Result<()>> {
        Box::pin(run(self.0.clone(), work))
    }

    fn take(&self) -> Boxed<'static, Result<Box<dyn Connection>>> {
        let lease = self.0.lease();
        Box::pin(async move { Ok(Box::new(Out(lease.await?)) as Box<dyn Connection>) })
    }

    fn complaint(&self) -> Option<String> {
        let status = self.0.status();
        let counters = self.0.pool().counters();
        let adds_up = counters.created == counters.discarded() + status.size as u64
            && counters.acquired == counters.returned;
        match status.idle == status.size && status.waiting == 0 && adds_up {
            true => None,
            false => Some(complain(&self.0, &counters)),
        }
    }

    fn close(&self) -> Boxed<'static, Result<()>> {
        let database = self.0.clone();
        Box::pin(OpenDatabase::exit(database, ExitCase::Succeeded))
    }
}

pub(crate) fn complain(database: &Database, counters: &Counters) -> String {
    let holders: Vec<String> = database
        .pool()
        .holders()
        .iter()
        .map(ToString::to_string)
        .collect();
    let status = database.status();
    format!("{status:?}, {counters:?}, {holders:?}")
}

struct Out(Lease);

impl Connection for Out {
    fn execute<'a>(&'a mut self, sql: &'a str) -> Boxed<'a, Result<()>> {
        Box::pin(execute(&self.0, sql))
    }

    fn text<'a>(&'a mut self, sql: &'a str) -> Boxed<'a, Result<String>> {
        Box::pin(async move { Ok(self.0.query_one_as(sql, &[]).await?) })
    }

    fn give_back(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(async move { self.0.release().await })
    }
}

/// How long the teardowns of a run may take, all in all.
pub(crate) const TEARDOWN: Duration = Duration::from_secs(10);
