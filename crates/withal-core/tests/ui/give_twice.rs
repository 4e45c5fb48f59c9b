//! A generator gives once: `c009_trap_yield_after_throw`, `c011_trap_second_yield`.

use withal_core::{contextmanager, with};

fn main() {
    let manager = contextmanager(async |y| {
        let (_, _, _done) = y.give(1).await;
        let (_, _, done) = y.give(2).await;
        Ok::<_, std::fmt::Error>(done)
    });
    let _ = with(manager, |_| Ok(()));
}
