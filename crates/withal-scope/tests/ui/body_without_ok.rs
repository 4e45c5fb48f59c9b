//! A body ends with `Ok(value)`.

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
    let _ = async_with(Connect, async |n| *n + 1).await;
}

async fn flat() {
    let _ = scope(async |_| 1).await;
}

async fn nested() {
    // A nested block's error is not yet a body's: `Ok(block.await?)`.
    let _ = scope(async |s| s.with(Connect, async |_, n| Ok(*n + 1)).await).await;
}

async fn exit() {
    let _ = scope(async |s| {
        s.defer(async |_| ());
        Ok(())
    })
    .await;
}

fn main() {}
