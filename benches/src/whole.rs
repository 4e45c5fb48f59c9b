//! Whole commands: what they read, and what they cost.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
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

/// What a file of `/proc` says of memory, in bytes: the line that begins with `name`.
///
/// # Errors
///
/// It cannot be read, or has no such line.
pub fn memory(path: &Path, name: &str) -> io::Result<f64> {
    let text = fs::read_to_string(path)?;
    let size = text.lines().find_map(|line| line.strip_prefix(name));
    let size = size.and_then(|size| size.strip_prefix(':')?.trim().strip_suffix(" kB"));
    let kibibytes: Option<f64> = size.and_then(|size| size.parse().ok());
    let kibibytes = kibibytes.ok_or_else(|| {
        let why = format!("`{}` has no `{name}`", path.display());
        io::Error::other(why)
    })?;
    Ok(kibibytes * 1024.0)
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
