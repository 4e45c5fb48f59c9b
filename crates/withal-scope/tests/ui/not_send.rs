//! What a block holds across an `.await` must be able to move between threads.

use std::rc::Rc;

use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::{AsyncExitStack, scope};

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

async fn in_a_nested_block() {
    let _ = scope(async |s| {
        let nested = s.with(Connect, async |_, _| {
            let shared = Rc::new(1);
            tokio::task::yield_now().await;
            drop(shared);
            Ok(())
        });
        Ok(nested.await?)
    })
    .await;
}

async fn in_an_exit() {
    let _ = scope(async |s| {
        s.defer(async |_| {
            let shared = Rc::new(1);
            tokio::task::yield_now().await;
            drop(shared);
            Ok(())
        });
        Ok(())
    })
    .await;
}

fn on_a_stack() {
    let mut stack = AsyncExitStack::new();
    stack.push_async(async |_| {
        let shared = Rc::new(1);
        tokio::task::yield_now().await;
        drop(shared);
        Ok::<(), std::io::Error>(())
    });
}

fn main() {}
