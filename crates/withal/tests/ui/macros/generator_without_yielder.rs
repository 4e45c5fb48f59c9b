use withal::Given;

#[withal::contextmanager]
async fn tag() -> Result<Given<'static>, std::io::Error> {
    unreachable!()
}

#[withal::asynccontextmanager]
async fn number(n: u32) -> Result<Given<'static>, std::io::Error> {
    unreachable!()
}

fn main() {}
