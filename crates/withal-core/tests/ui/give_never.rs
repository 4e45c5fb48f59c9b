//! A generator that ends well has given: `c010_trap_no_yield`.

use withal_core::{Yielder, contextmanager, with};

fn main() {
    let manager = contextmanager(async |_y: Yielder<'_, u32>| Ok::<_, std::fmt::Error>(()));
    let _ = with(manager, |_| Ok(()));
}
