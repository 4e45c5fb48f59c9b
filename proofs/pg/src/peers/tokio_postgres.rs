//! deadpool-postgres and bb8-postgres, which share their driver with us.

use std::future::poll_fn;
use std::ops::DerefMut;
use std::pin::pin;

use bb8_postgres::PostgresConnectionManager;
use deadpool_postgres::{Manager, ManagerConfig, Object, Runtime};
use tokio_postgres::{Client, NoTls};

use crate::pool::{Connection, GIVE, MANY, NESTED, Pool, SLOW, STATE, TAKE, WAIT, Work};
use crate::stop::stop;
use crate::{Boxed, Result};

async fn run(client: &mut Client, work: Work) -> Result<()> {
    match work {
        Work::Guard | Work::Borrowed => {
            let tx = client.transaction().await?;
            let _ = tx.execute(TAKE, &[]).await?;
            let _ = tx.execute(GIVE, &[]).await?;
            tx.commit().await?;
        }
        Work::Manual => {
            client.batch_execute("BEGIN").await?;
            let _ = client.execute(TAKE, &[]).await?;
            let _ = client.execute(GIVE, &[]).await?;
            client.batch_execute("COMMIT").await?;
        }
        Work::Savepoint => {
            let mut tx = client.transaction().await?;
            let _ = tx.execute(TAKE, &[]).await?;
            let inner = tx.transaction().await?;
            let _ = inner.execute(GIVE, &[]).await?;
            inner.commit().await?;
            tx.commit().await?;
        }
        Work::NestedAlone(at) => {
            let mut tx = client.transaction().await?;
            let _ = tx.execute(TAKE, &[]).await?;
            let inner = async {
                let inner = tx.transaction().await?;
                let _ = inner.execute(NESTED, &[]).await?;
                inner.commit().await
            };
            let _ = stop(at, inner).await.transpose()?;
            let _ = tx.execute(GIVE, &[]).await?;
            tx.commit().await?;
        }
        Work::Panic => {
            let tx = client.transaction().await?;
            let _ = tx.execute(TAKE, &[]).await?;
            panic!("the body panics");
        }
        Work::Refused => {
            let tx = client.transaction().await?;
            let _ = tx.execute(TAKE, &[]).await?;
            let _ = tx.execute("SELECT 1/0", &[]).await?;
            tx.commit().await?;
        }
        Work::Error => {
            let tx = client.transaction().await?;
            let _ = tx.execute(TAKE, &[]).await?;
            return Err("no".into());
        }
        Work::ManualError => {
            client.batch_execute("BEGIN").await?;
            let _ = client.execute(TAKE, &[]).await?;
            return Err("no".into());
        }
        Work::Pauses => {
            let tx = client.transaction().await?;
            let _ = tx.execute(TAKE, &[]).await?;
            let _ = tx.execute("SELECT pg_sleep(0.01)", &[]).await?;
            let _ = tx.execute(GIVE, &[]).await?;
            let _ = tx.execute("SELECT pg_sleep(0.01)", &[]).await?;
            tx.commit().await?;
        }
        Work::Slow { is_in_transaction } => {
            if !is_in_transaction {
                let _ = client.execute(SLOW, &[]).await?;
                return Ok(());
            }
            let tx = client.transaction().await?;
            let _ = tx.execute(TAKE, &[]).await?;
            let _ = tx.execute(SLOW, &[]).await?;
            tx.commit().await?;
        }
        Work::State => client.batch_execute(STATE).await?,
        Work::Abandon { .. } => {
            let none: [&str; 0] = [];
            let mut rows = pin!(client.query_raw(MANY, none).await?);
            for _ in 0..10 {
                let next =
                    poll_fn(|context| futures_core::Stream::poll_next(rows.as_mut(), context));
                let _ = next.await.transpose()?;
            }
        }
        Work::Twice(at) => {
            let inner = async {
                let tx = client.transaction().await?;
                let _ = tx.execute(TAKE, &[]).await?;
                let _ = tx.execute(GIVE, &[]).await?;
                tx.commit().await
            };
            let _ = stop(at, inner).await.transpose()?;
            let _ = client.execute("SELECT 1", &[]).await?;
        }
    }
    Ok(())
}

struct Out<C>(C);

impl<C: DerefMut<Target: AsClient> + Send + 'static> Connection for Out<C> {
    fn execute<'a>(&'a mut self, sql: &'a str) -> Boxed<'a, Result<()>> {
        Box::pin(async move { Ok(self.0.client().batch_execute(sql).await?) })
    }

    fn text<'a>(&'a mut self, sql: &'a str) -> Boxed<'a, Result<String>> {
        Box::pin(async move {
            let row = self.0.client().query_one(sql, &[]).await?;
            Ok(row.try_get(0)?)
        })
    }

    fn give_back(self: Box<Self>) -> Boxed<'static, ()> {
        Box::pin(async { drop(self) })
    }
}

trait AsClient: Sync {
    fn client(&mut self) -> &mut Client;
}

impl AsClient for Client {
    fn client(&mut self) -> &mut Client {
        self
    }
}

impl AsClient for deadpool_postgres::ClientWrapper {
    fn client(&mut self) -> &mut Client {
        self
    }
}

struct Deadpool(deadpool_postgres::Pool);

pub(crate) fn deadpool(url: &str, size: usize) -> Result<impl Pool + use<>> {
    let manager = Manager::from_config(url.parse()?, NoTls, ManagerConfig::default());
    let pool = deadpool_postgres::Pool::builder(manager)
        .max_size(size)
        .runtime(Runtime::Tokio1)
        .wait_timeout(Some(WAIT))
        .build()?;
    Ok(Deadpool(pool))
}

impl Pool for Deadpool {
    fn run(&self, work: Work) -> Boxed<'static, Result<()>> {
        let pool = self.0.clone();
        Box::pin(async move {
            let mut object: Object = pool.get().await?;
            run(object.client(), work).await
        })
    }

    fn take(&self) -> Boxed<'static, Result<Box<dyn Connection>>> {
        let pool = self.0.clone();
        Box::pin(async move { Ok(Box::new(Out(pool.get().await?)) as Box<dyn Connection>) })
    }

    fn close(&self) -> Boxed<'static, Result<()>> {
        self.0.close();
        Box::pin(async { Ok(()) })
    }
}

type Clients = PostgresConnectionManager<NoTls>;

struct Bb8(bb8::Pool<Clients>);

pub(crate) async fn bb8(url: &str, size: usize) -> Result<impl Pool + use<>> {
    let manager = Clients::new(url.parse()?, NoTls);
    let builder = bb8::Pool::builder().max_size(u32::try_from(size)?);
    Ok(Bb8(builder.connection_timeout(WAIT).build(manager).await?))
}

impl Pool for Bb8 {
    fn run(&self, work: Work) -> Boxed<'static, Result<()>> {
        let pool = self.0.clone();
        Box::pin(async move {
            let mut client = pool.get().await?;
            run(&mut client, work).await
        })
    }

    fn take(&self) -> Boxed<'static, Result<Box<dyn Connection>>> {
        let pool = self.0.clone();
        Box::pin(async move { Ok(Box::new(Out(pool.get_owned().await?)) as Box<dyn Connection>) })
    }

    /// It has no way to be closed.
    fn close(&self) -> Boxed<'static, Result<()>> {
        Box::pin(async { Ok(()) })
    }
}
