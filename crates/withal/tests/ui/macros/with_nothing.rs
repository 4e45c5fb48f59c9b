#[withal::with]
fn load() -> Result<(), withal::Error> {
    Ok(())
}

#[withal::with(withal::nullcontext(()))]
struct NotAFunction;

fn main() {}
