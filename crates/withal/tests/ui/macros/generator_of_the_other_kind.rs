use withal::{AsyncYielder, Given, Yielder};

#[withal::contextmanager]
async fn tag(y: AsyncYielder<'_, u32>) -> Result<Given<'_>, std::io::Error> {
    Ok(y.give(1).await.2)
}

#[withal::asynccontextmanager]
async fn number(y: Yielder<'_, u32>) -> Result<Given<'_>, std::io::Error> {
    Ok(y.give(1).await.2)
}

fn main() {}
