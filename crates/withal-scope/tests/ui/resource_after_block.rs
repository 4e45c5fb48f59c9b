//! A resource is lent to its block and cannot leave it.

use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::{async_with, scope};

struct Connect;

impl AsyncContextManager for Connect {
    type Resource = u8;
    type Error = std::io::Error;

    async fn enter(self) -> Result<u8, std::io::Error> {
        Ok(0)
    }

    async fn exit(_: u8, _: ExitCase) -> Result<(), std::io::Error> {
        Ok(())
    }
}

async fn block() {
    let _ = async_with(Connect, async |connection| Ok(connection)).await;
}

async fn flat() {
    let _ = scope(async |s| Ok(s.enter(Connect).await?)).await;
}

fn main() {}
