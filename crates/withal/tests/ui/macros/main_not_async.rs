#[withal::main]
fn main() {}
