//! A callback returns nothing or a `Result`; one that waits is pushed.

use withal_scope::AsyncExitStack;

fn main() {
    let mut stack = AsyncExitStack::new();
    stack.callback(|| 5);
    stack.callback(async || ());
}
