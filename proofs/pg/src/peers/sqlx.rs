//! sqlx.

use std::future::poll_fn;

use ::sqlx::postgres::PgPoolOptions;
use ::sqlx::{Connection as _, Executor, PgPool, Postgres, pool::PoolConnection};

use crate::pool::{Connection, GIVE, MANY, NESTED, Pool, SLOW, STATE, TAKE, WAIT, Work};
use crate::stop::stop;
use crate::{Boxed, Result};

struct Sqlx(PgPool);

pub(crate) fn sqlx(url: &str, size: usize) -> Result<impl Pool + use<>> {
    let options = PgPoolOptions::new().max_connections(u32::try_from(size)?);
    Ok(Sqlx(options.acquire_timeout(WAIT).connect_lazy(url)?))
}

async fn run(pool: PgPool, work: Work) -> Result<()> {
    match work {
        Work::Guard | Work::Borrowed => {
            let mut tx = pool.begin().await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
            let _ = ::sqlx::query(GIVE).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        Work::Manual => {
            let mut conn = pool.acquire().await?;
            let _ = conn.execute("BEGIN").await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *conn).await?;
            let _ = ::sqlx::query(GIVE).execute(&mut *conn).await?;
            let _ = conn.execute("COMMIT").await?;
        }
        Work::Savepoint => {
            let mut tx = pool.begin().await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
            let mut inner = tx.begin().await?;
            let _ = ::sqlx::query(GIVE).execute(&mut *inner).await?;
            inner.commit().await?;
            tx.commit().await?;
        }
        Work::NestedAlone(at) => {
            let mut tx = pool.begin().await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
            let inner = async {
                let mut inner = tx.begin().await?;
                let _ = ::sqlx::query(NESTED).execute(&mut *inner).await?;
                inner.commit().await
            };
            let _ = stop(at, inner).await.transpose()?;
            let _ = ::sqlx::query(GIVE).execute(&mut *tx).await?;
            tx.commit().await?;
        }
        Work::Panic => {
            let mut tx = pool.begin().await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
            panic!("the body panics");
        }
        Work::Refused => {
            let mut tx = pool.begin().await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
            let _ = ::sqlx::query("SELECT 1/0").execute(&mut *tx).await?;
            tx.commit().await?;
        }
        Work::Error => {
            let mut tx = pool.begin().await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
            return Err("no".into());
        }
        Work::ManualError => {
            let mut conn = pool.acquire().await?;
            let _ = conn.execute("BEGIN").await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *conn).await?;
            return Err("no".into());
        }
        Work::Pauses => {
            let mut tx = pool.begin().await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
            let _ = tx.execute("SELECT pg_sleep(0.01)").await?;
            let _ = ::sqlx::query(GIVE).execute(&mut *tx).await?;
            let _ = tx.execute("SELECT pg_sleep(0.01)").await?;
            tx.commit().await?;
        }
        Work::Slow { is_in_transaction } => {
            if !is_in_transaction {
                let _ = pool.execute(SLOW).await?;
                return Ok(());
            }
            let mut tx = pool.begin().await?;
            let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
            let _ = tx.execute(SLOW).await?;
            tx.commit().await?;
        }
        Work::State => {
            let mut conn = pool.acquire().await?;
            let _ = conn.execute(STATE).await?;
        }
        Work::Abandon { .. } => {
            let mut conn = pool.acquire().await?;
            let mut rows = ::sqlx::query(MANY).fetch(&mut *conn);
            for _ in 0..10 {
                let next = poll_fn(|context| rows.as_mut().poll_next(context));
                let _ = next.await.transpose()?;
            }
        }
        Work::Twice(at) => {
            let mut conn = pool.acquire().await?;
            let inner = async {
                let mut tx = conn.begin().await?;
                let _ = ::sqlx::query(TAKE).execute(&mut *tx).await?;
                let _ = ::sqlx::query(GIVE).execute(&mut *tx).await?;
                tx.commit().await
            };
            let _ = stop(at, inner).await.transpose()?;
            let _ = conn.execute("SELECT 1").await?;
        }
    }
    Ok(())
}

struct Out(PoolConnection<Postgres>);

impl Connection for Out {
    fn execute<'a>(&'a mut self, sql: &'a str) -> Boxed<'a, Result<()>> {
        Box::pin(async move {
            let _ = ::sqlx::raw_sql(::sqlx::AssertSqlSafe(sql))
                .execute(&mut *self.0)
                .await?;
            Ok(())
        })
    }

    fn text<'a>(&'a mut self, sql: &'a str) -> Boxed<'a, Result<String>> {
        Box::pin(async move {
            let text = ::sqlx::query_scalar(::sqlx::AssertSqlSafe(sql));
            Ok(text.fetch_one(&mut *self.0).await?)
        })
    }

    fn give_back(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(async { drop(self) })
    }
}

impl Pool for Sqlx {
    fn run(&self, work: Work) -> Boxed<'static, Result<()>> {
        Box::pin(run(self.0.clone(), work))
    }

    fn take(&self) -> Boxed<'static, Result<Box<dyn Connection>>> {
        let pool = self.0.clone();
        Box::pin(async move { Ok(Box::new(Out(pool.acquire().await?)) as Box<dyn Connection>) })
    }

    fn close(&self) -> Boxed<'static, Result<()>> {
        let pool = self.0.clone();
        Box::pin(async move {
            pool.close().await;
            Ok(())
        })
    }
}
