//! A sync wrapper would leave its block before an async function has run: P15, #122.

use withal_core::{nullcontext, wrap};

fn main() {
    let mut later = wrap(|| nullcontext(()), async || Ok(1));
    let _ = later();
}
