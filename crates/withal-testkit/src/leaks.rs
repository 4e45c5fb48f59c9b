//! What is left over.

use withal_scope::{Open, open};

/// Panics, with a list, if the calling thread has something open.
///
/// Call it at the end of a test, once its runtime is gone or drained. Other tests of the process
/// run on other threads and do not count.
///
/// # Panics
///
/// If something is open.
#[track_caller]
pub fn assert_no_open() {
    let open: Vec<Open> = open().into_iter().filter(Open::is_of_this_thread).collect();
    let lines: Vec<String> = open.iter().map(|open| format!("\n  {open}")).collect();
    assert!(
        open.is_empty(),
        "{} still open:{}",
        open.len(),
        lines.concat()
    );
}

/// How many file descriptors this process has open; `None` where `/proc` does not tell.
#[must_use]
pub fn open_descriptors() -> Option<usize> {
    // The listing itself needs one.
    Some(
        std::fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1),
    )
}
