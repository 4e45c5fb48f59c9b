//! Ports that stay ours while nobody listens.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below those the kernel lends to outgoing connections and to whoever asks for any, so that a
/// server may leave its port for a while and find it free when it comes back.
const FIRST: u16 = 16_384;
const COUNT: u16 = 16_384;

/// A port of loopback nobody listens on now.
///
/// # Errors
///
/// All are taken.
pub fn free_port() -> io::Result<u16> {
    let random = RandomState::new().hash_one(FIRST);
    let start = u16::try_from(random % u64::from(COUNT)).unwrap_or(0);
    let mut ports = (0..COUNT).map(|step| FIRST + (start + step) % COUNT);
    ports
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| io::ErrorKind::AddrInUse.into())
}
