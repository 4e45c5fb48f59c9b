//! Two accounts, one transaction, and every way for it to end.
#![allow(clippy::print_stdout, reason = "an example")]

use std::future::pending;
use std::time::Duration;

use clap::Parser;
use withal::sql::{Database, Error, Session, params};
use withal::{BoxError, async_with, scope, timeout};

/// Moves money in every way that goes wrong, and shows that none is lost.
#[derive(Debug, Parser)]
struct Arguments {
    /// `sqlite:bank.db` or `postgres://user@host/bank`
    #[arg(default_value = "sqlite::memory:")]
    url: String,
}

#[withal::main]
async fn main() -> Result<(), withal::Error> {
    let Arguments { url } = Arguments::parse();
    scope(async |s| {
        let db = s.enter(Database::open(url)).await?;
        open_accounts(db).await?;

        report(db, "a transfer", transfer(db, 100, Ending::Well).await).await?;
        report(
            db,
            "more than there is",
            transfer(db, 5_000, Ending::Well).await,
        )
        .await?;
        report(
            db,
            "an error after it",
            transfer(db, 100, Ending::Error).await,
        )
        .await?;
        let late = timeout(Duration::from_millis(100), async |_| {
            Ok(transfer(db, 100, Ending::Never).await?)
        });
        report(db, "dropped in the middle", late.await).await?;
        Ok(())
    })
    .await
}

/// How the body of the transaction ends, once both accounts are changed.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Well,
    Error,
    Never,
}

/// Both changes are kept, or none.
async fn transfer(db: &Database, amount: i64, ending: Ending) -> Result<(), withal::Error> {
    async_with(db.begin(), async |tx| {
        change(tx, "Ada", -amount).await?;
        change(tx, "Bob", amount).await?;
        match ending {
            Ending::Well => Ok(()),
            Ending::Error => Err("the receipt could not be printed".into()),
            Ending::Never => pending().await,
        }
    })
    .await
}

async fn change(session: &Session, owner: &str, amount: i64) -> Result<(), Error> {
    let _changed = session
        .execute(
            "UPDATE accounts SET balance = balance + $1 WHERE owner = $2",
            params![amount, owner],
        )
        .await?;
    Ok(())
}

async fn open_accounts(db: &Database) -> Result<(), withal::Error> {
    scope(async |s| {
        let conn = s.enter(db.acquire()).await?;
        conn.batch(
            "DROP TABLE IF EXISTS accounts;
             CREATE TABLE accounts (owner text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
             INSERT INTO accounts VALUES ('Ada', 1000), ('Bob', 1000);",
        )
        .await?;
        Ok(())
    })
    .await
}

async fn report(
    db: &Database,
    what: &str,
    ended: Result<(), withal::Error>,
) -> Result<(), BoxError> {
    scope(async |s| {
        let conn = s.enter(db.acquire()).await?;
        let balances: Vec<i64> = conn
            .query_as("SELECT balance FROM accounts ORDER BY owner", &[])
            .await?;
        let ended = ended.map_or_else(|error| error.to_string(), |()| "done".to_owned());
        println!("{what}: {ended}");
        println!(
            "    Ada and Bob have {balances:?}, {} together",
            balances.iter().sum::<i64>()
        );
        Ok(())
    })
    .await?;
    Ok(())
}
