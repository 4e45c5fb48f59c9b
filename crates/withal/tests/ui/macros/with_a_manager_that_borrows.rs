use withal::{AsyncContextManager, BoxError, ExitCase};

struct Session<'a>(&'a str);

impl AsyncContextManager for Session<'_> {
    type Resource = ();
    type Error = BoxError;

    async fn enter(self) -> Result<(), BoxError> {
        Ok(())
    }

    async fn exit(_: (), _: ExitCase) -> Result<(), BoxError> {
        Ok(())
    }
}

#[withal::with(Session(name))]
async fn load(name: &str) -> Result<(), withal::Error> {
    Ok(())
}

fn main() {}
