#[withal::main(grace = "4s")]
async fn main() {}
