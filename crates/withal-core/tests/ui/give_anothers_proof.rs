//! A generator cannot return the proof that another has given.

use withal_core::{Yielder, contextmanager};

fn main() {
    let _outer = contextmanager(async |_y: Yielder<'_, u32>| {
        let mut stolen = None;
        let _inner = contextmanager(async |y: Yielder<'_, u32>| {
            let (_, _, done) = y.give(1).await;
            stolen = Some(done);
            Err::<withal_core::Given<'_>, _>(std::fmt::Error)
        });
        Ok::<_, std::fmt::Error>(stolen.unwrap())
    });
}
