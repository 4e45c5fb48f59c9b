//! Methods of the right names make no manager: #4, #65.

use withal_core::{ExitCase, with};

struct Duck;

impl Duck {
    fn enter(self) -> Result<(), std::io::Error> {
        Ok(())
    }

    fn exit(_: (), _: ExitCase) -> Result<(), std::io::Error> {
        Ok(())
    }
}

fn main() {
    let _ = Duck.enter();
    let _ = Duck::exit((), ExitCase::Succeeded);
    let _ = with(Duck, |()| Ok(()));
}
