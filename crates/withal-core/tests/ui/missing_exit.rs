//! A manager without `exit`: `c003_exit_is_abstract`, `c042_typo_exit`, W1.

use withal_core::ContextManager;

struct Door;

impl ContextManager for Door {
    type Resource = ();
    type Error = std::io::Error;

    fn enter(self) -> std::io::Result<()> {
        Ok(())
    }
}

fn main() {}
