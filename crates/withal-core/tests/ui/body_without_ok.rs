//! A body ends with `Ok(value)`.

use withal_core::{nullcontext, with};

fn main() {
    let _ = with(nullcontext(1), |one| *one + 1);
}
