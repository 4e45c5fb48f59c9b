//! How a log is written.

use std::time::Duration;

/// What an acknowledged record is safe from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// In memory until 64 KiB have come together or 100 ms have passed. A killed process loses
    /// that much; a power loss, what the system had not written back.
    Buffered,
    /// Given to the operating system, so safe from a killed process; synced at this interval, so a
    /// power loss costs that much, or 16 MiB.
    Interval(Duration),
    /// Synced, together with what else comes within `delay`, or once `bytes` have come together.
    Batch {
        /// How long a record may wait for others.
        delay: Duration,
        /// How much may wait.
        bytes: usize,
    },
    /// Synced at once. Records that come while a sync runs share the next one.
    Always,
}

impl Default for Durability {
    /// One second's interval.
    fn default() -> Durability {
        Durability::Interval(Duration::from_secs(1))
    }
}

/// What to do with records while the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnFull {
    /// Wait for space; for no longer than this, if given, and then as `Fail`.
    Block(Option<Duration>),
    /// Remove the oldest segments, but never the one being written; then as `Block(None)`.
    Prune,
    /// Drop them, and count them: in the sidecar, in the events and in the statistics; in the log
    /// itself with [`LogOptions::drop_line`](crate::LogOptions::drop_line).
    Drop,
    /// Refuse them: each append says so.
    Fail,
}

/// All that can be set.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) durability: Durability,
    pub(crate) on_full: OnFull,
    /// What to write where lines were dropped.
    pub(crate) drop_line: Option<String>,
    /// The longest line that is not split, in bytes.
    pub(crate) max_line: usize,
    /// From how many bytes on a sync begins beside the writing.
    pub(crate) sync_beside: u64,
    pub(crate) rotate_size: u64,
    pub(crate) rotate_every: Option<Duration>,
    pub(crate) keep_size: Option<u64>,
    pub(crate) keep_age: Option<Duration>,
    /// The level of zstd for ended segments.
    pub(crate) compress: Option<i32>,
    pub(crate) clock: fn() -> u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            durability: Durability::default(),
            on_full: OnFull::Block(None),
            drop_line: None,
            max_line: 1 << 20,
            sync_beside: 4 << 20,
            rotate_size: 64 << 20,
            rotate_every: None,
            keep_size: None,
            keep_age: None,
            compress: None,
            clock: now,
        }
    }
}

/// Milliseconds since 1970, to a few of them.
fn now() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        seconds * 1000 + u64::try_from(now.tv_nsec).unwrap_or_default() / 1_000_000
    }
    #[cfg(not(target_os = "linux"))]
    {
        let now = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
    }
}
