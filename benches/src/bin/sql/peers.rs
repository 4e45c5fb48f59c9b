//! The pools, each used as its users do.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio_postgres::NoTls;
use withal_core::{AsyncContextManager as _, BoxError, ExitCase};
use withal_scope::async_with;
use withal_sql::{Database, OpenDatabase, params};

use crate::SIZE;

const TAKE: &str = "UPDATE accounts SET balance = balance - 1 WHERE id = $1";
const GIVE: &str = "UPDATE accounts SET balance = balance + 1 WHERE id = $1";
const BALANCE: &str = "SELECT balance FROM accounts WHERE id = $1";

/// A pool of connections to Postgres.
pub(crate) trait Peer: Clone + Send + Sync + 'static {
    /// Opens it.
    fn open(url: String) -> impl Future<Output = Result<Self, BoxError>>;
    /// Takes a connection and gives it back.
    fn check_out(&self) -> impl Future<Output = Result<(), BoxError>> + Send;
    /// The balance of an account.
    fn query(&self, account: u64) -> impl Future<Output = Result<i64, BoxError>> + Send;
    /// Moves money in a transaction.
    fn transfer(&self, from: u64, to: u64) -> impl Future<Output = Result<(), BoxError>> + Send;
    /// Ends all connections.
    fn close(self) -> impl Future<Output = Result<(), BoxError>>;
}

#[derive(Clone)]
pub(crate) struct Withal(Database);

impl Withal {
    pub(crate) async fn set_up(&self, sql: &str) -> Result<(), BoxError> {
        let conn = self.0.lease().await?;
        conn.batch(sql).await?;
        conn.release().await;
        Ok(())
    }
}

impl Peer for Withal {
    async fn open(url: String) -> Result<Withal, BoxError> {
        let database = Database::open(url).max_connections(SIZE).enter().await?;
        Ok(Withal(database))
    }

    async fn check_out(&self) -> Result<(), BoxError> {
        self.0.lease().await?.release().await;
        Ok(())
    }

    async fn query(&self, account: u64) -> Result<i64, BoxError> {
        let conn = self.0.lease().await?;
        let balance = conn
            .query_one_as(BALANCE, params![account.cast_signed()])
            .await?;
        conn.release().await;
        Ok(balance)
    }

    async fn transfer(&self, from: u64, to: u64) -> Result<(), BoxError> {
        async_with(self.0.begin(), async |tx| {
            let _ = tx.execute(TAKE, params![from.cast_signed()]).await?;
            let _ = tx.execute(GIVE, params![to.cast_signed()]).await?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn close(self) -> Result<(), BoxError> {
        OpenDatabase::exit(self.0, ExitCase::Succeeded).await
    }
}

#[derive(Clone)]
pub(crate) struct Deadpool(deadpool_postgres::Pool);

impl Peer for Deadpool {
    async fn open(url: String) -> Result<Deadpool, BoxError> {
        use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
        let fast = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let manager = Manager::from_config(tokio_postgres::Config::from_str(&url)?, NoTls, fast);
        Ok(Deadpool(Pool::builder(manager).max_size(SIZE).build()?))
    }

    async fn check_out(&self) -> Result<(), BoxError> {
        drop(self.0.get().await?);
        Ok(())
    }

    async fn query(&self, account: u64) -> Result<i64, BoxError> {
        let client = self.0.get().await?;
        let statement = client.prepare_cached(BALANCE).await?;
        let row = client
            .query_one(&statement, &[&account.cast_signed()])
            .await?;
        Ok(row.try_get(0)?)
    }

    async fn transfer(&self, from: u64, to: u64) -> Result<(), BoxError> {
        let mut client = self.0.get().await?;
        let transaction = client.transaction().await?;
        let statement = transaction.prepare_cached(TAKE).await?;
        let _ = transaction
            .execute(&statement, &[&from.cast_signed()])
            .await?;
        let statement = transaction.prepare_cached(GIVE).await?;
        let _ = transaction
            .execute(&statement, &[&to.cast_signed()])
            .await?;
        Ok(transaction.commit().await?)
    }

    async fn close(self) -> Result<(), BoxError> {
        self.0.close();
        Ok(())
    }
}

#[derive(Clone)]
pub(crate) struct Sqlx(PgPool);

impl Peer for Sqlx {
    async fn open(url: String) -> Result<Sqlx, BoxError> {
        let options = PgPoolOptions::new().max_connections(u32::try_from(SIZE)?);
        let options = options.acquire_timeout(Duration::from_secs(60));
        Ok(Sqlx(options.connect(&url).await?))
    }

    async fn check_out(&self) -> Result<(), BoxError> {
        drop(self.0.acquire().await?);
        Ok(())
    }

    async fn query(&self, account: u64) -> Result<i64, BoxError> {
        let mut connection = self.0.acquire().await?;
        let query = sqlx::query_scalar(BALANCE).bind(account.cast_signed());
        Ok(query.fetch_one(&mut *connection).await?)
    }

    async fn transfer(&self, from: u64, to: u64) -> Result<(), BoxError> {
        let mut transaction = self.0.begin().await?;
        let take = sqlx::query(TAKE).bind(from.cast_signed());
        let _ = take.execute(&mut *transaction).await?;
        let give = sqlx::query(GIVE).bind(to.cast_signed());
        let _ = give.execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    async fn close(self) -> Result<(), BoxError> {
        self.0.close().await;
        Ok(())
    }
}

#[derive(Clone)]
pub(crate) struct Bb8(bb8::Pool<bb8_postgres::PostgresConnectionManager<NoTls>>);

impl Peer for Bb8 {
    async fn open(url: String) -> Result<Bb8, BoxError> {
        let manager = bb8_postgres::PostgresConnectionManager::new_from_stringlike(url, NoTls)?;
        let pool = bb8::Pool::builder().max_size(u32::try_from(SIZE)?);
        Ok(Bb8(pool.build(manager).await?))
    }

    async fn check_out(&self) -> Result<(), BoxError> {
        drop(self.0.get().await?);
        Ok(())
    }

    // It keeps no prepared statements: what its users write prepares none.
    async fn query(&self, account: u64) -> Result<i64, BoxError> {
        use tokio_postgres::types::Type;
        let client = self.0.get().await?;
        let account = account.cast_signed();
        let rows = client
            .query_typed(BALANCE, &[(&account, Type::INT8)])
            .await?;
        let row = rows.first().ok_or("no row")?;
        Ok(row.try_get(0)?)
    }

    async fn transfer(&self, from: u64, to: u64) -> Result<(), BoxError> {
        use tokio_postgres::types::Type;
        let mut client = self.0.get().await?;
        let transaction = client.transaction().await?;
        for (sql, account) in [(TAKE, from), (GIVE, to)] {
            let account = account.cast_signed();
            let _ = transaction
                .query_typed(sql, &[(&account, Type::INT8)])
                .await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn close(self) -> Result<(), BoxError> {
        Ok(())
    }
}
