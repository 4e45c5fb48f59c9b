//! A manager that is consumed by its use cannot be used again: #5, #34, S12.

use withal_core::{contextmanager, with};

fn main() {
    let once = contextmanager(async |y| {
        let (_, _, done) = y.give(1).await;
        Ok::<_, std::fmt::Error>(done)
    });
    let _ = with(once, |_| Ok(()));
    let _ = with(once, |_| Ok(()));
}
