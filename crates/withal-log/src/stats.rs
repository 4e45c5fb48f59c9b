//! What a log holds, from its sidecars alone.

use std::path::Path;
use std::sync::Arc;

use crate::error::LogError;
use crate::files::Files;
use crate::options::TailRule;
use crate::read::open_disk;
use crate::scan::Scan;
use crate::sidecar::Flags;
use crate::storage::Storage;

/// What a log holds.
///
/// ```
/// use withal_log::{Log, stats};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let log = Log::open(&path).open()?;
/// log.append("first")?;
/// log.close()?;
/// let stats = stats(&path)?;
/// assert_eq!((stats.lines, stats.text_bytes, stats.segments), (1, 6, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// How many segments there are, and how many of them are compressed.
    pub segments: u64,
    /// Segments that are compressed.
    pub compressed: u64,
    /// How long the text is, uncompressed, as far as the sidecars know.
    pub text_bytes: u64,
    /// How much of the disk the text takes.
    pub disk_bytes: u64,
    /// How much of it the sidecars take.
    pub sidecar_bytes: u64,
    /// How many lines the log holds, as far as the sidecars know.
    pub lines: u64,
    /// How many lines were dropped because the disk was full.
    pub dropped: u64,
    /// How many bytes of the text have no checksum yet.
    pub uncovered: u64,
    /// When the first and the last line were written, in milliseconds since 1970.
    pub first: Option<u64>,
    /// When the last line was written, in milliseconds since 1970.
    pub last: Option<u64>,
    /// Where the text of the last segment ends after a crash; that of the next one, if there is none.
    pub tail_rule: TailRule,
    /// The file system it lies on.
    pub file_system: String,
    /// The rule of segments that are made there, unless it is [given](crate::LogOptions::tail_rule).
    pub file_system_rule: TailRule,
    /// Each block's time and number of lines.
    blocks: Vec<(u64, u32)>,
}

impl Stats {
    /// The numbers of lines written in so many equal parts of the time from first to last line.
    #[must_use]
    pub fn histogram(&self, parts: usize) -> Vec<u64> {
        let mut lines = vec![0; parts];
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return lines;
        };
        let span = last.saturating_sub(first).max(1);
        for (when, count) in &self.blocks {
            let part = u128::from(when.saturating_sub(first)) * parts as u128 / u128::from(span);
            let part = usize::try_from(part)
                .unwrap_or(parts)
                .min(parts.saturating_sub(1));
            if let Some(lines) = lines.get_mut(part) {
                *lines += u64::from(*count);
            }
        }
        lines
    }
}

/// What the log in the directory `path` holds. It reads no text.
///
/// # Errors
///
/// If something cannot be read.
pub fn stats(path: impl AsRef<Path>) -> Result<Stats, LogError> {
    stats_in(&open_disk(path.as_ref())?)
}

/// What the log holds in any storage: for tests.
///
/// # Errors
///
/// As `stats`.
#[doc(hidden)]
pub fn stats_in(storage: &Arc<dyn Storage>) -> Result<Stats, LogError> {
    let file_system = storage.file_system().map_err(|error| {
        let doing = format!("cannot look at `{}`", storage.display(""));
        LogError::io(doing, error)
    })?;
    let mut stats = Stats {
        tail_rule: file_system.tail_rule,
        file_system: file_system.name,
        file_system_rule: file_system.tail_rule,
        ..Stats::default()
    };
    for files in Files::list(storage)?.segments() {
        let sidecar = files.read_sidecar(storage)?;
        let scan = Scan::new(&sidecar);
        stats.segments += 1;
        if let Ok(header) = scan.header {
            stats.tail_rule = header.tail_rule;
        }
        stats.compressed += u64::from(!files.has_text);
        stats.sidecar_bytes += sidecar.len() as u64;
        let size = files.disk_size(storage)? - sidecar.len() as u64;
        stats.disk_bytes += size;
        let covered = scan.covered();
        if files.has_text && !scan.is_ended() {
            stats.uncovered += size.saturating_sub(covered);
        }
        stats.text_bytes += covered;
        for entry in scan
            .entries
            .iter()
            .filter(|entry| entry.flags.has(Flags::BLOCK))
        {
            stats.lines += u64::from(entry.lines);
            stats.dropped += u64::from(entry.dropped);
            if entry.lines > 0 {
                stats.first = Some(
                    stats
                        .first
                        .map_or(entry.first, |first| first.min(entry.first)),
                );
                stats.last = stats.last.max(Some(entry.last));
                stats.blocks.push((entry.last, entry.lines));
            }
        }
    }
    Ok(stats)
}
