//! A block that borrows needs a manager that can let its resource go at once.

use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::with_ref;

struct Connect;

impl AsyncContextManager for Connect {
    type Resource = u8;
    type Error = std::io::Error;

    async fn enter(self) -> Result<u8, std::io::Error> {
        Ok(0)
    }

    async fn exit(_: u8, _: ExitCase) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() {
    drop(with_ref(Connect, async |_| Ok(())));
}
