//! A sync manager enters a scope or a stack by `enter_context`.

use withal_core::{ContextManager, ExitCase};
use withal_scope::{AsyncExitStack, async_with, scope};

struct Lock;

impl ContextManager for Lock {
    type Resource = ();
    type Error = std::io::Error;

    fn enter(self) -> Result<(), std::io::Error> {
        Ok(())
    }

    fn exit(_: (), _: ExitCase) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() {
    drop(async_with(Lock, async |_| Ok(())));

    drop(scope(async |s| Ok(drop(s.enter(Lock)))));

    drop(AsyncExitStack::new().enter_async_context(Lock));
}
