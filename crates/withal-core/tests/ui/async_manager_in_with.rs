//! An async manager needs a block that awaits its exit.

use withal_core::{AsyncContextManager, ExitCase, ExitStack, with};

struct Connect;

impl AsyncContextManager for Connect {
    type Resource = ();
    type Error = std::io::Error;

    async fn enter(self) -> Result<(), std::io::Error> {
        Ok(())
    }

    async fn exit(_: (), _: ExitCase) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() {
    let _ = with(Connect, |()| Ok(()));
    let _ = ExitStack::new().enter_context(Connect);
}
