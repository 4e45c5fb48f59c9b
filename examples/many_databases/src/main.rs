//! Connections from a config in one exit stack, with and without those that fail.
//!
//! Run it with `cargo run -p withal-example-many-databases`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::fs;
use std::path::PathBuf;

use clap::Parser;
use serde::Deserialize;
use withal::sql::{Connection, Database, Session, params};
use withal::{AsyncExitStack, AsyncLent, BoxError, async_with};

/// Adds up the sales of all databases that a file names.
#[derive(Debug, Parser)]
struct Arguments {
    /// The databases, as `databases.toml` here
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/databases.toml"))]
    file: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Config {
    database: Vec<Shop>,
}

#[derive(Clone, Debug, Deserialize)]
struct Shop {
    name: String,
    url: String,
}

/// What to do about a database that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    GiveUp,
    LeaveOut,
}

#[withal::main]
async fn main() -> Result<(), BoxError> {
    let Arguments { file } = Arguments::parse();
    let config: Config = toml::from_str(&fs::read_to_string(file)?)?;
    for (title, on_failure) in [
        ("all of them, or none", OnFailure::GiveUp),
        ("those that can be had", OnFailure::LeaveOut),
    ] {
        println!("{title}:");
        match report(&config.database, on_failure).await {
            Ok(total) => println!("  {total} sales in all"),
            Err(error) => println!("  no report: {}", with_causes(&error)),
        }
    }
    Ok(())
}

/// Opens a number of databases that is known only now, and adds up what is in them.
///
/// However it ends, the stack closes what was opened, the last first.
async fn report(shops: &[Shop], on_failure: OnFailure) -> Result<i64, withal::Error> {
    async_with(AsyncExitStack::new(), async |stack| {
        let mut open = Vec::new();
        for shop in shops {
            match connect(stack, shop).await {
                Ok(connection) => open.push((shop, connection)),
                Err(error) if on_failure == OnFailure::LeaveOut => {
                    println!("  {}: left out: {}", shop.name, with_causes(&*error));
                }
                Err(error) => return Err(error),
            }
        }
        let mut total = 0;
        for (shop, connection) in &open {
            let sales = sales(connection).await?;
            println!("  {}: {sales} sales", shop.name);
            total += sales;
        }
        Ok(total)
    })
    .await
}

/// A pool and a connection of it, both closed by the stack.
async fn connect(
    stack: &mut AsyncExitStack,
    shop: &Shop,
) -> Result<AsyncLent<Connection>, BoxError> {
    let database = Database::open(&shop.url).max_connections(1);
    let database = stack.enter_async_context(database).await?;
    let connection = stack.enter_async_context(database.acquire()).await?;
    let name = shop.name.clone();
    stack.callback(move || println!("  {name}: closing"));
    Ok(connection)
}

async fn sales(session: &Session) -> Result<i64, BoxError> {
    session
        .batch(
            "CREATE TABLE IF NOT EXISTS sales (cents bigint);
             INSERT INTO sales VALUES (1200), (800), (350);",
        )
        .await?;
    let count = "SELECT count(*) FROM sales";
    Ok(session.query_one_as(count, params![]).await?)
}

/// An error, and what it comes from: never a password.
fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
