//! One member of a tuple is no manager: W1, W6.

use withal_core::{nullcontext, with};

fn main() {
    let _ = with((nullcontext(1), 5), |_| Ok(()));
}
