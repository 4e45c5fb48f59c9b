use withal::{BoxError, ExitCase, async_with, scope};

struct Connect;

impl Connect {
    async fn enter(self) -> Result<(), BoxError> {
        Ok(())
    }

    async fn exit(_: (), _: ExitCase) -> Result<(), BoxError> {
        Ok(())
    }
}

fn nested() {
    drop(async_with(Connect, async |_| Ok(())));
}

async fn flat() -> Result<(), withal::Error> {
    scope(async |s| Ok(drop(s.enter(Connect)))).await
}

fn main() {}
