//! Using what is no manager: #50, W1.

use withal_core::{ExitStack, with};

fn main() {
    let _ = with(5, |five| Ok(*five));

    let mut stack = ExitStack::new();
    let _ = stack.enter_context("text");
}
