use withal::{Given, Yielder};

#[withal::contextmanager]
fn tag(y: Yielder<'_, u32>) -> Result<Given<'_>, std::io::Error> {
    unreachable!()
}

fn main() {}
