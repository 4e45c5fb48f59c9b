//! A manager has the fields it was given: #2.

use withal_core::nullcontext;

fn main() {
    let mut manager = nullcontext(());
    manager.extra = 1;
}
