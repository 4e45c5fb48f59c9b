//! A callback must be given: #47.

use withal_core::ExitStack;

fn main() {
    let mut stack = ExitStack::new();
    stack.callback();
    stack.push();
}
