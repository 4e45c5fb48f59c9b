//! A callback's answer cannot be mistaken for a verdict, nor can a future be left unawaited: #47,
//! rule 8.

use withal_core::ExitStack;

fn main() {
    let mut stack = ExitStack::new();
    stack.callback(|| true);
    stack.callback(|| Ok::<u32, std::io::Error>(1));
    stack.callback(async || ());
}
