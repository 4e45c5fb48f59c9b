//! The resource is lent to the block and cannot leave it: #29.

use withal_core::{closing, with};

fn main() -> Result<(), withal_core::Error> {
    let connection = closing(String::from("open"), |_| Ok::<(), std::io::Error>(()));
    let kept = with(connection, |connection| Ok(connection))?;
    println!("{}", **kept);

    let mut stolen = None;
    let connection = closing(String::from("open"), |_| Ok::<(), std::io::Error>(()));
    with(connection, |connection| {
        stolen = Some(connection);
        Ok(())
    })
}
