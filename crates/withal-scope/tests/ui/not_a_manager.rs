//! Using what is no manager where an async one is wanted.

use withal_scope::{AsyncExitStack, async_with, scope};

fn main() {
    drop(async_with(5, async |_| Ok(())));

    drop(scope(async |s| Ok(drop(s.enter(String::new())))));

    drop(AsyncExitStack::new().enter_async_context("text"));
}
