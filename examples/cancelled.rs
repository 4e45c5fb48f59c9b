//! A timeout drops a block in the middle of a transaction; both exits run all the same, in order.
//!
//! Run it with `cargo run -p withal-examples --bin cancelled`.
#![expect(clippy::print_stdout, reason = "an example")]

use std::io;
use std::time::Duration;

use withal::{AsyncContextManager, ExitCase, Reaper, scope};

struct Connect;
struct Connection;

impl AsyncContextManager for Connect {
    type Resource = Connection;
    type Error = io::Error;

    async fn enter(self) -> io::Result<Connection> {
        println!("connected");
        Ok(Connection)
    }

    async fn exit(_connection: Connection, case: ExitCase) -> io::Result<()> {
        println!("disconnected: {case:?}");
        Ok(())
    }
}

struct Begin<'c>(&'c mut Connection);
struct Transaction<'c>(&'c mut Connection);

impl<'c> AsyncContextManager for Begin<'c> {
    type Resource = Transaction<'c>;
    type Error = io::Error;

    async fn enter(self) -> io::Result<Transaction<'c>> {
        println!("BEGIN");
        Ok(Transaction(self.0))
    }

    async fn exit(transaction: Transaction<'c>, case: ExitCase) -> io::Result<()> {
        // The server answers after a while; nobody waits for us any more.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let verdict = if case.is_succeeded() {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        println!("{verdict}");
        let Transaction(_connection) = transaction;
        Ok(())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let work = scope(async |s| {
        let connection = s.enter(Connect).await?;
        s.with(Begin(connection), async |_, _transaction| {
            println!("a query that takes too long …");
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(())
        })
        .await?;
        Ok(())
    });
    let ended = tokio::time::timeout(Duration::from_millis(100), work).await;
    println!(
        "the caller goes on: {}",
        if ended.is_err() { "timed out" } else { "done" }
    );
    println!("{}", Reaper::global().drain(Duration::from_secs(5)).await);
}
