//! Bringing to the disk what was written, while more is written.

use std::num::NonZeroU64;
use std::os::fd::AsFd;

use rustix::fs::{Advice, fadvise};

/// Has the system begin to bring `len` bytes of a file at `offset` to the disk, and waits for nothing.
///
/// So the disk is busy while more is written, and the sync at the end finds little left. It is a hint,
/// worth a system call for a megabyte at a time; what has become of them, and whether they could be
/// written, only the sync tells.
///
/// What Linux is told that nobody needs (`POSIX_FADV_DONTNEED`) it writes first, if that is still to be
/// done, and keeps in its cache while it does. What is on the disk already leaves the cache, and so does
/// what a device has refused by then: keep what you would write again.
///
/// # Examples
///
/// ```
/// use std::io::Write;
///
/// # fn main() -> std::io::Result<()> {
/// # let mut file = std::fs::File::from(rustix::fs::memfd_create("file", rustix::fs::MemfdFlags::empty())?);
/// # let pieces = [b"piece"; 3];
/// let mut written = 0;
/// for piece in pieces {
///     file.write_all(piece)?;
///     withal_os::start_writeback(&file, written, piece.len() as u64);
///     written += piece.len() as u64;
/// }
/// file.sync_all()?;
/// # Ok(())
/// # }
/// ```
pub fn start_writeback(file: impl AsFd, offset: u64, len: u64) {
    // Zero would mean all there is behind it.
    if let Some(len) = NonZeroU64::new(len) {
        // What is not begun now is written by the sync.
        let _ = fadvise(file, offset, Some(len), Advice::DontNeed);
    }
}
