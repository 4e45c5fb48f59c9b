//! Only `give` makes the proof.

use std::marker::PhantomData;

use withal_core::{Given, Yielder, contextmanager};

fn main() {
    let _manager = contextmanager(async |_y: Yielder<'_, u32>| {
        Ok::<_, std::fmt::Error>(Given(PhantomData))
    });
}
