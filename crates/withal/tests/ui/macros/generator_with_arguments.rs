use withal::{Given, Yielder};

#[withal::contextmanager(name = "tag")]
async fn tag(y: Yielder<'_, u32>) -> Result<Given<'_>, std::io::Error> {
    Ok(y.give(1).await.2)
}

fn main() {}
