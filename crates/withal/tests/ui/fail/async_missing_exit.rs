use withal::{AsyncContextManager, BoxError};

struct Connect;

impl AsyncContextManager for Connect {
    type Resource = ();
    type Error = BoxError;

    async fn enter(self) -> Result<(), BoxError> {
        Ok(())
    }
}

fn main() {}
