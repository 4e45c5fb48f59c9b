use withal::{AsyncYielder, Yielder};

#[withal::contextmanager]
async fn nothing(y: Yielder<'_, u32>) {
    let (_, _, _done) = y.give(1).await;
}

#[withal::asynccontextmanager]
async fn unit(y: AsyncYielder<'_, u32>) -> Result<(), std::io::Error> {
    let (_, _, _done) = y.give(1).await;
    Ok(())
}

#[withal::asynccontextmanager]
async fn bare<'y>(y: AsyncYielder<'y, u32>) -> withal::Given<'y> {
    y.give(1).await.2
}

fn main() {}
