//! The resources unpack as they were packed: W14, W18.

use withal_core::{nullcontext, with};

fn main() {
    let _ = with((nullcontext(1), nullcontext(2)), |(a, b, c)| Ok(*a + *b + *c));
}
