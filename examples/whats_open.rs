//! What is open in this process: what, where it was opened, since when, in which block.
//!
//! Run it with `cargo run -p withal-examples --bin whats-open`.
#![expect(clippy::print_stdout, reason = "an example")]

use withal::{Error, nullcontext, open, scope};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    scope(async |s| {
        let _database = s.enter(nullcontext("database")).await?;
        let _cache = s.enter(nullcontext("cache")).await?;
        s.defer(async |_case| Ok(()));
        for open in open() {
            let parent = open.parent().map_or("none".to_owned(), |id| id.to_string());
            println!("{} (in {parent}): {open}", open.id());
        }
        Ok(())
    })
    .await?;
    println!("afterwards: {} open", open().len());
    Ok(())
}
