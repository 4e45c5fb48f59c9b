//! What the server has of the others, seen by a connection of its own.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::Result;

/// What is on the server. By default nothing is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Sessions that are in a transaction and do nothing.
    pub(crate) idle_in_transaction: i64,
    /// Sessions that run a statement.
    pub(crate) active: i64,
    /// Sessions of the pool.
    pub(crate) sessions: i64,
    /// Whether somebody has locked an account.
    pub(crate) is_locked: bool,
    /// Tables, views and so on that are temporary.
    pub(crate) temporary: i64,
    /// Locks of no table.
    pub(crate) advisory: i64,
    /// The accounts have less or more than 200,000.
    pub(crate) sum: i64,
}

/// A connection to look with.
pub(crate) struct Admin {
    client: Client,
    _pump: JoinSet<()>,
}

/// The name by which the sessions of a pool are known.
pub(crate) const NAME: &str = "proof";

impl Admin {
    pub(crate) async fn connect(url: &str) -> Result<Admin> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let mut pump = JoinSet::new();
        let _ = pump.spawn(async { drop(connection.await) });
        Ok(Admin {
            client,
            _pump: pump,
        })
    }

    pub(crate) async fn batch(&self, sql: &str) -> Result<()> {
        Ok(self.client.batch_execute(sql).await?)
    }

    pub(crate) async fn number(&self, sql: &str) -> Result<i64> {
        Ok(self.client.query_one(sql, &[]).await?.try_get(0)?)
    }

    /// What is there now.
    pub(crate) async fn look(&self) -> Result<Seen> {
        const LOOK: &str = "WITH pool AS (SELECT state FROM pg_stat_activity \
            WHERE datname = current_database() AND application_name = 'proof') \
            SELECT (SELECT count(*) FROM pool WHERE state LIKE 'idle in transaction%'), \
            (SELECT count(*) FROM pool WHERE state = 'active'), (SELECT count(*) FROM pool), \
            (SELECT count(*) FROM pg_class WHERE relpersistence = 't'), \
            (SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
             WHERE l.locktype = 'advisory' AND d.datname = current_database()), \
            (SELECT sum(balance)::bigint FROM accounts)";
        let row = self.client.query_one(LOOK, &[]).await?;
        let lock = "SELECT 1 FROM accounts FOR UPDATE NOWAIT";
        Ok(Seen {
            idle_in_transaction: row.try_get(0)?,
            active: row.try_get(1)?,
            sessions: row.try_get(2)?,
            temporary: row.try_get(3)?,
            advisory: row.try_get(4)?,
            sum: row.try_get(5)?,
            is_locked: self.client.query(lock, &[]).await.is_err(),
        })
    }

    /// Looks until it is as it should be, for so long; then gives what it is.
    pub(crate) async fn look_until(
        &self,
        limit: Duration,
        is_right: impl Fn(&Seen) -> bool,
    ) -> Result<Seen> {
        let begun = Instant::now();
        loop {
            let seen = self.look().await?;
            if is_right(&seen) || begun.elapsed() > limit {
                return Ok(seen);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until there are no sessions of the pool, and puts the accounts right.
    pub(crate) async fn clear(&self) -> Result<()> {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = '{NAME}'"
        );
        self.batch(&end).await?;
        let limit = Duration::from_secs(30);
        let seen = self.look_until(limit, |seen| seen.sessions == 0).await?;
        if seen.sessions > 0 {
            return Err(format!("{} sessions do not end", seen.sessions).into());
        }
        self.batch("UPDATE accounts SET balance = 100000 WHERE balance <> 100000; TRUNCATE probe")
            .await
    }

    pub(crate) async fn balances(&self) -> Result<(i64, i64)> {
        let sql = "SELECT max(balance) FILTER (WHERE id = 1), max(balance) FILTER (WHERE id = 2) \
            FROM accounts";
        let row = self.client.query_one(sql, &[]).await?;
        Ok((row.try_get(0)?, row.try_get(1)?))
    }

    pub(crate) async fn has_probe(&self, tag: &str) -> Result<bool> {
        let sql = "SELECT count(*) FROM probe WHERE tag = $1";
        let count: i64 = self.client.query_one(sql, &[&tag]).await?.try_get(0)?;
        Ok(count > 0)
    }
}
