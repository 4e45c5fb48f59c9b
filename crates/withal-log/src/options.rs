//! How a log is written.

use std::fmt;
use std::time::Duration;

use crate::ring;

/// What an acknowledged record is safe from.
///
/// It is the same on all file systems. Where a crash may leave anything of what was not synced, the
/// log is [strict](TailRule::Strict), and each of the writes and syncs below is one of the checksums,
/// too: to wait for them may take twice as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// In memory until 64 KiB have come together or 100 ms have passed. A killed process loses
    /// that much; a power loss, what the system had not written back.
    Buffered,
    /// Given to the operating system, so safe from a killed process; synced at this interval, so a
    /// power loss costs that much, or 8 MiB.
    Interval(Duration),
    /// Synced, together with what else comes within `delay`, or once `bytes` have come together.
    Batch {
        /// How long a record may wait for others.
        delay: Duration,
        /// How much may wait.
        bytes: usize,
    },
    /// Synced at once. Records that come while a sync runs share the next one. Where there are many,
    /// they are synced in a [commit ring](CommitRing).
    Always,
}

impl Default for Durability {
    /// One second's interval.
    fn default() -> Durability {
        Durability::Interval(Duration::from_secs(1))
    }
}

/// Where the text of a log ends after a crash.
///
/// What a crash leaves of text that was written and not synced depends on the file system. A segment
/// keeps the rule with which it was written, wherever it is opened.
///
/// ```
/// use withal_log::{Log, TailRule, stats};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let log = Log::open(&path).tail_rule(TailRule::Strict).open()?;
/// log.append("first")?;
/// log.close()?;
/// assert_eq!(stats(&path)?.tail_rule, TailRule::Strict);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TailRule {
    /// Behind the last line before the first zero byte: for file systems that leave less of the
    /// text, or zeros. Those are XFS, btrfs, tmpfs, and ext4 unless mounted with both `nodelalloc`
    /// and `data=writeback`.
    #[default]
    Text,
    /// Where its checksums end: for all other file systems, which may leave anything. Each write of
    /// text is one of the sidecar, too, and so is each sync: to wait for them may take twice as
    /// long, and each write takes 64 bytes more of the disk.
    Strict,
}

impl fmt::Display for TailRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TailRule::Text => "text",
            TailRule::Strict => "strict",
        })
    }
}

/// Whether durable records go by way of a commit ring.
///
/// That is a file of 4 MiB beside the segments, in which a record becomes durable by one write of
/// the disk, where to sync a text that grows takes two; the text is synced once a second. Opening the
/// log after a crash, or [`repair`](crate::repair()), puts back what is in the ring and was torn in
/// the text. It is there for [`Durability::Always`], on ext4 and XFS; elsewhere it is of no use, and
/// not made.
///
/// ```
/// use withal_log::{CommitRing, Durability, Log};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let options = Log::open(&path).durability(Durability::Always);
/// let log = options.commit_ring(CommitRing::Never).open()?;
/// log.append("durable, by a sync")?;
/// log.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommitRing {
    /// Once more than 32 syncs were waited for within a second: a log that is written rarely needs
    /// none.
    #[default]
    Auto,
    /// From the first record on.
    Always,
    /// A file that is left of an earlier time is removed.
    Never,
}

impl CommitRing {
    /// After how many syncs within a second it is made, if ever.
    pub(crate) fn due(self) -> Option<u32> {
        match self {
            CommitRing::Auto => Some(32),
            CommitRing::Always => Some(0),
            CommitRing::Never => None,
        }
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
    /// What the file system asks for, if it is not given.
    pub(crate) tail_rule: Option<TailRule>,
    pub(crate) commit_ring: CommitRing,
    pub(crate) ring_size: u64,
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
            tail_rule: None,
            commit_ring: CommitRing::default(),
            ring_size: ring::SIZE,
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
