//! A protocol with truth values cannot be made up: W12.

use withal_core::{ContextManager, ExitCase};

struct Swallow;

impl ContextManager<bool> for Swallow {
    type Resource = ();
    type Error = std::io::Error;

    fn enter(self) -> std::io::Result<()> {
        Ok(())
    }

    fn exit(_resource: (), _case: ExitCase) -> std::io::Result<bool> {
        Ok(true)
    }
}

fn main() {}
