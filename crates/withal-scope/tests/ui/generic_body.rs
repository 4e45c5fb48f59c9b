//! A generic function that passes an exit or a body on says that its future is `Send`.

use withal_core::{BoxError, ExitCase, nullcontext};
use withal_scope::{AsyncExitStack, Scope};

fn defer<X>(s: Scope<'_>, exit: X)
where
    X: AsyncFnOnce(ExitCase) -> Result<(), BoxError> + Send + 'static,
{
    s.defer(exit);
}

fn nested<B>(s: Scope<'_>, body: B)
where
    B: AsyncFnOnce(Scope<'_>, &mut u8) -> Result<(), BoxError> + Send + 'static,
{
    drop(s.with(nullcontext(1), body));
}

fn push<X>(stack: &mut AsyncExitStack, exit: X)
where
    X: AsyncFnOnce(ExitCase) -> Result<(), BoxError> + Send + 'static,
{
    stack.push_async(exit);
}

fn main() {}
