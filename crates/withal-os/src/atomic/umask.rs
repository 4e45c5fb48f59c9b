//! The mode a new file would get.

use std::fs;

use rustix::fs::Mode;

/// The umask of this thread.
///
/// The kernel shows it without changing it since Linux 4.7. Where `/proc` is not mounted it must be
/// set to be read; it then is the strictest for an instant, which other threads' files may get.
pub(crate) fn umask() -> u32 {
    if let Ok(status) = fs::read_to_string("/proc/thread-self/status")
        && let Some(umask) = parse(&status)
    {
        return umask;
    }
    let umask = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let _strict = rustix::process::umask(umask);
    umask.bits()
}

pub(crate) fn parse(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}
