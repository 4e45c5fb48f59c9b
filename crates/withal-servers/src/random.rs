//! Passwords.

use std::fmt::Write;
use std::io;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// 128 random bits, in hexadecimal digits.
pub(super) fn secret() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    loop {
        match getrandom(&mut bytes[..], GetRandomFlags::empty()) {
            Ok(length) if length == bytes.len() => break,
            // So few bytes come at once, or not at all.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let mut secret = String::new();
    for byte in bytes {
        let _ = write!(secret, "{byte:02x}");
    }
    Ok(secret)
}
