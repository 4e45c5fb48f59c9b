//! Bodies and exits are async closures.

use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::{AsyncExitStack, async_with, scope};

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

fn block() {
    let _ = async_with(Connect, |_| Ok(()));
}

async fn exit() {
    let _ = scope(async |s| {
        s.defer(|_| Ok(()));
        Ok(())
    })
    .await;
}

fn on_a_stack() {
    let mut stack = AsyncExitStack::new();
    stack.push_async(|_| Ok::<(), std::io::Error>(()));
}

fn main() {}
