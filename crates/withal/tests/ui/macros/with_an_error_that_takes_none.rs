use withal::nullcontext;

#[derive(Debug, thiserror::Error)]
#[error("own")]
struct OwnError;

#[withal::with(nullcontext(()))]
fn load() -> Result<String, OwnError> {
    Err(OwnError)
}

fn main() {}
