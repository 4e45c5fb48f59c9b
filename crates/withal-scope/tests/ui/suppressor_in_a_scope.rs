//! A scope's block gives its value, so nothing in it may swallow errors.

use withal_core::suppress;
use withal_scope::{AsyncExitStack, scope};

fn main() {
    drop(scope(async |s| Ok(drop(s.enter(suppress::<std::io::Error>())))));

    drop(AsyncExitStack::new().enter_async_context(suppress::<std::io::Error>()));
}
