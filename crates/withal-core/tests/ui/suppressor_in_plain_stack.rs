//! A stack whose block must keep its value takes no manager that may swallow errors.

use std::convert::Infallible;
use std::io;

use withal_core::{ExitStack, Flow, suppress};

fn main() {
    let mut stack = ExitStack::new();
    let _ = stack.enter_context(suppress::<io::Error>());
    stack.push(|_case| Ok::<_, Infallible>(Flow::Suppress));
}
