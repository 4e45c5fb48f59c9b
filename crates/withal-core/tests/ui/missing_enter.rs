//! A manager without `enter`: `c041_typo_enter`, W1.

use withal_core::{ContextManager, ExitCase};

struct Door;

impl ContextManager for Door {
    type Resource = ();
    type Error = std::io::Error;

    fn exit(_resource: (), _case: ExitCase) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() {}
