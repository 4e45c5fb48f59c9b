use withal::{Given, Yielder};

#[withal::contextmanager]
async fn tag(y: Yielder<'_, u32>, stop: bool) -> Result<Given<'_>, std::io::Error> {
    if stop {
        return Ok(());
    }
    let (_, _, done) = y.give(1).await;
    Ok(done)
}

fn main() {}
