use std::pin::Pin;

use withal::nullcontext;

#[withal::with(nullcontext(()))]
fn nothing() {}

#[withal::with(nullcontext(()))]
async fn number() -> u32 {
    1
}

#[withal::with(nullcontext(()))]
fn future() -> impl Future<Output = Result<(), withal::Error>> {
    async { Ok(()) }
}

#[withal::with(nullcontext(()))]
fn boxed() -> Pin<Box<dyn Future<Output = Result<(), withal::Error>>>> {
    Box::pin(async { Ok(()) })
}

fn main() {}
