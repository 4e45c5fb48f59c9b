#[withal::main]
async fn main() -> u32 {
    1
}
