//! An exit function answers with `()` or `Flow`, not with a truth value or a future: rule 8, P19.

use std::io;

use withal_core::ExitStack;

fn main() {
    let mut stack = ExitStack::suppressing();
    stack.push(|_case| Ok::<bool, io::Error>(true));
    stack.push(async |_case| Ok::<(), io::Error>(()));
}
