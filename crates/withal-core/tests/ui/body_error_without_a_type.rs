//! A body's error must be an error that can cross threads.

use std::rc::Rc;

use withal_core::{nullcontext, with};

#[derive(Debug)]
struct Local(#[allow(dead_code)] Rc<()>);

impl std::fmt::Display for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("local")
    }
}

impl std::error::Error for Local {}

fn main() {
    let _ = with(nullcontext(()), |()| {
        Err::<(), _>(Local(Rc::new(())))?;
        Ok(())
    });
}
