//! Names nobody can guess.

use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// How many characters [`name`] gives: 128 bits in hexadecimal.
pub(crate) const LENGTH: usize = 32;

/// 128 random bits from the kernel, as lower-case hexadecimal.
pub(crate) fn name() -> io::Result<String> {
    let mut bytes = [0; LENGTH / 2];
    // Up to 256 bytes come in one piece, or not at all where a signal came first.
    loop {
        match getrandom(&mut bytes, GetRandomFlags::empty()) {
            Ok(read) if read == bytes.len() => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
