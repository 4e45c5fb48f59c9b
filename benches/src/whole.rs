//! Whole commands: what they read, and what they cost.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// The processor time of all children that have ended.
///
/// # Errors
///
/// The kernel does not say.
pub fn processor_time() -> io::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = (usage.user_time() + usage.system_time()).num_microseconds();
    Ok(Duration::from_micros(
        u64::try_from(microseconds).map_err(io::Error::other)?,
    ))
}

/// Writes lines as servers log them, of about 120 bytes. Gives the path back.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_lines(path: PathBuf, bytes: u64) -> io::Result<PathBuf> {
    let mut file = BufWriter::new(File::create(&path)?);
    let (mut written, mut number) = (0, 0_u64);
    while written < bytes {
        let id = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let (service, order, millis) = (id % 24, id % 999_983, id % 900);
        let line = format!(
            "INFO svc-{service:02} request completed path=/api/v1/orders/{order} status=200 \
             ms={millis} id={id:016x} number={number} user=anonymous\n"
        );
        file.write_all(line.as_bytes())?;
        written += line.len() as u64;
        number += 1;
    }
    file.flush()?;
    Ok(path)
}
