#[withal::with(42)]
fn load() -> Result<(), withal::Error> {
    Ok(())
}

fn main() {}
