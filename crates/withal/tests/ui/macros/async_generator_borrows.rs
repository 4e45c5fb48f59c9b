use withal::{AsyncYielder, Given};

#[withal::asynccontextmanager]
async fn number(y: AsyncYielder<'_, usize>, text: &str) -> Result<Given<'_>, std::io::Error> {
    Ok(y.give(text.len()).await.2)
}

fn main() {}
