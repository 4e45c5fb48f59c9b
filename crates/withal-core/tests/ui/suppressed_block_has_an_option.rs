//! A block whose errors may be swallowed has no value to rely on: rule 15.

use std::io;

use withal_core::{suppress, with};

fn read() -> Result<u32, withal_core::Error> {
    let length: u32 = with(suppress::<io::Error>(), |_| Ok(5))?;
    Ok(length)
}

fn main() {
    let _ = read();
}
