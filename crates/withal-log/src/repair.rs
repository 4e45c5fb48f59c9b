//! Bringing a damaged log back to where it can be written and verified.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use crate::checksum::checksum;
use crate::error::{LogError, not_locked};
use crate::events;
use crate::files::{Files, SegmentFiles};
use crate::options::{Settings, TailRule};
use crate::read::open_disk;
use crate::recover::{self, Opened, Recovery, read_from};
use crate::ring::Saved;
use crate::scan::Scan;
use crate::segment::{BLOCK, Series};
use crate::sidecar::{self, Entry, Flags, Header};
use crate::storage::Storage;
use crate::text::count_lines;
use crate::verify::{ProblemKind, verify_in};

/// How to repair a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairOptions {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Make lost and damaged sidecars anew from the text: what the text has now counts as right
    /// from then on.
    pub reindex: bool,
}

/// Something that was done, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairAction {
    /// The file it was done to.
    pub file: String,
    /// What it was.
    pub kind: RepairKind,
}

/// What was done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairKind {
    /// A torn end was copied to `quarantine/` and cut off.
    Cut {
        /// How many bytes it was.
        bytes: u64,
    },
    /// Text without a checksum got one.
    Covered {
        /// How many bytes it was.
        bytes: u64,
    },
    /// Text that was only in the commit ring was put back.
    Restored {
        /// How many bytes it was.
        bytes: u64,
    },
    /// Text that was durable is gone from the end: the sidecar tells of no more than there is, and
    /// what it told before is kept in `quarantine/`.
    Shortened {
        /// How many bytes are gone.
        missing: u64,
    },
    /// A torn hash was cut off a sidecar: it was not needed yet.
    CutHash {
        /// How many bytes it was.
        bytes: u64,
    },
    /// The sidecar was made anew.
    Reindexed,
    /// What identifies the log was made anew.
    Identified,
    /// It is left as it is: only a copy from elsewhere can repair it.
    Left(ProblemKind),
}

impl fmt::Display for RepairAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        match self.kind {
            RepairKind::Cut { bytes } => {
                write!(f, "{bytes} torn bytes cut off the end, kept in quarantine/")
            }
            RepairKind::CutHash { bytes } => write!(f, "{bytes} bytes of a torn hash cut off"),
            RepairKind::Covered { bytes } => write!(f, "{bytes} bytes of whole lines covered"),
            RepairKind::Restored { bytes } => {
                write!(f, "{bytes} bytes put back from the commit ring")
            }
            RepairKind::Shortened { missing } => {
                write!(f, "{missing} durable bytes are gone from its end")
            }
            RepairKind::Reindexed => f.write_str("made anew from the text"),
            RepairKind::Identified => f.write_str("made anew"),
            RepairKind::Left(problem) => write!(f, "{problem}: left as it is"),
        }
    }
}

/// Repairs the log in the directory `path`, as far as nothing can be lost by it.
///
/// It cuts what a crash has torn, and keeps a copy; with `reindex` it makes sidecars anew. Text that
/// does not match its checksum is left where it is: `verify` says where. In the end it checks all of
/// the log, and calls `progress` with the number of bytes that have just been checked.
///
/// ```
/// use withal_log::{Log, RepairOptions, repair};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// Log::open(&path).open()?.close()?;
/// assert!(repair(&path, &RepairOptions::default(), |_| ())?.is_empty());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Busy`](crate::LogErrorKind::Busy) if the log is being written, or what the file system said.
pub fn repair(
    path: impl AsRef<Path>,
    options: &RepairOptions,
    progress: impl FnMut(u64),
) -> Result<Vec<RepairAction>, LogError> {
    repair_in(&open_disk(path.as_ref())?, options, progress)
}

/// Repairs the log in any storage: for tests.
///
/// # Errors
///
/// As `repair`.
#[doc(hidden)]
pub fn repair_in(
    storage: &Arc<dyn Storage>,
    options: &RepairOptions,
    progress: impl FnMut(u64),
) -> Result<Vec<RepairAction>, LogError> {
    let _lock = match options.dry_run {
        true => None,
        false => Some(storage.lock("LOCK").map_err(|error| {
            not_locked(format!("cannot repair `{}`", storage.display("")), error)
        })?),
    };
    let mut repair = Repair {
        storage,
        options,
        now: (Settings::default().clock)(),
        actions: Vec::new(),
    };
    repair.run(progress)?;
    Ok(repair.actions)
}

struct Repair<'r> {
    storage: &'r Arc<dyn Storage>,
    options: &'r RepairOptions,
    now: u64,
    actions: Vec<RepairAction>,
}

impl Repair<'_> {
    fn run(&mut self, progress: impl FnMut(u64)) -> Result<(), LogError> {
        let files = Files::list(self.storage)?;
        let segments = files.segments();
        let Some((last, ended)) = segments.split_last() else {
            return Ok(());
        };
        let series = self.series()?;
        let mut before: Option<&SegmentFiles> = None;
        for (segment, next) in ended.iter().zip(segments.iter().skip(1)) {
            if !self.cut_torn_hash(segment)? && self.is_ended_badly(segment)? {
                let end = next.name.base - segment.name.base;
                self.reindex(series, segment, before, end)?;
            }
            before = Some(segment);
        }
        self.last(series, last, before)?;
        let shortened = |action: &RepairAction| matches!(action.kind, RepairKind::Shortened { .. });
        let shortened = self.actions.iter().any(shortened);
        for problem in verify_in(self.storage, progress)?.problems {
            let kind = problem.kind;
            let by_itself = self.options.dry_run
                && match kind {
                    ProblemKind::TornTail
                    | ProblemKind::InCommitRing
                    | ProblemKind::CorruptIdentity => true,
                    ProblemKind::CorruptSidecar => self.options.reindex,
                    ProblemKind::MissingText => shortened,
                    _ => false,
                };
            if !by_itself {
                self.act(problem.file, RepairKind::Left(kind));
            }
        }
        Ok(())
    }

    /// What the segments have in common that are made.
    fn series(&mut self) -> Result<Series, LogError> {
        let file_system = self.storage.file_system();
        Ok(Series {
            log_id: self.identity()?,
            tail_rule: file_system
                .map_err(|error| self.cannot("", error))?
                .tail_rule,
        })
    }

    /// What identifies the log.
    fn identity(&mut self) -> Result<u128, LogError> {
        if recover::damaged_identity(self.storage)?.is_some() {
            let file = self.storage.display(recover::META);
            self.act(file, RepairKind::Identified);
            if self.options.dry_run {
                return Ok(recover::first_id(self.storage)?.unwrap_or_default());
            }
            self.storage
                .remove(recover::META)
                .map_err(|error| self.cannot(recover::META, error))?;
        }
        match self.options.dry_run {
            true => Ok(recover::known_identity(self.storage)?.unwrap_or_default()),
            false => recover::identity(self.storage),
        }
    }

    /// Whether the sidecar of a segment that has ended does not say so.
    fn is_ended_badly(&self, segment: &SegmentFiles) -> Result<bool, LogError> {
        let scan = Scan::new(&segment.read_sidecar(self.storage)?);
        let is_of_it = scan
            .header
            .is_ok_and(|header| header.base == segment.name.base);
        Ok(!is_of_it || !scan.is_ended() || scan.rest > 0)
    }

    /// Cuts off a hash that a crash has torn, if there is one: the segment is whole without.
    fn cut_torn_hash(&mut self, segment: &SegmentFiles) -> Result<bool, LogError> {
        let file = segment.name.sidecar();
        let scan = Scan::new(&segment.read_sidecar(self.storage)?);
        if !segment.has_text || !scan.has_torn_hash() {
            return Ok(false);
        }
        let bytes = scan.rest as u64;
        self.act(self.storage.display(&file), RepairKind::CutHash { bytes });
        if !self.options.dry_run {
            let cut = self.storage.open(&file, true).and_then(|sidecar| {
                sidecar.truncate(scan.whole())?;
                sidecar.sync_data()
            });
            cut.map_err(|error| self.cannot(&file, error))?;
        }
        Ok(true)
    }

    /// Makes the sidecar of a segment anew, for its text up to `end`.
    fn reindex(
        &mut self,
        series: Series,
        segment: &SegmentFiles,
        before: Option<&SegmentFiles>,
        end: u64,
    ) -> Result<(), LogError> {
        if !self.options.reindex {
            return Ok(());
        }
        let file = segment.name.sidecar();
        self.act(self.storage.display(&file), RepairKind::Reindexed);
        if self.options.dry_run {
            return Ok(());
        }
        // It ends with a seal, so nothing of it can be torn.
        let series = Series {
            tail_rule: TailRule::Text,
            ..series
        };
        let header = recover::new_header(self.storage, series, segment, before)?;
        let text = segment.open_text(self.storage)?;
        let size = text.size().map_err(|error| self.cannot(&file, error))?;
        let sidecar = index(&*text, size.min(end), &header, self.now);
        let sidecar = sidecar.map_err(|error| self.cannot(&segment.name.text(), error))?;
        self.storage
            .replace(&file, &sidecar)
            .map_err(|error| self.cannot(&file, error))?;
        events::note(
            self.storage,
            self.now,
            "reindexed",
            &json!({ "file": file }),
        );
        Ok(())
    }

    /// The last segment is repaired by opening it.
    fn last(
        &mut self,
        series: Series,
        last: &SegmentFiles,
        before: Option<&SegmentFiles>,
    ) -> Result<(), LogError> {
        let scan = Scan::new(&last.read_sidecar(self.storage)?);
        let text = last.open_text(self.storage)?;
        let name = last.name.text();
        let size = text.size().map_err(|error| self.cannot(&name, error))?;
        let is_damaged = recover::is_damaged(&scan, size);
        let is_lost = last.has_text && recover::due(&scan) > size;
        let is_ended = scan.is_ended();
        let can_be_made_anew = is_damaged || scan.rest > 0 || (is_lost && is_ended);
        if self.options.reindex && last.has_text && can_be_made_anew {
            self.reindex_last(series, last, before, &scan)?;
        } else if is_lost && (is_ended || is_damaged) {
            // All that can be known of it is in its sidecar, and stays there.
            return Ok(());
        } else if is_lost {
            let missing = match self.options.dry_run {
                true => scan.durable() - size,
                false => recover::shorten(self.storage, last, &scan, size, self.now)?,
            };
            let file = self.storage.display(&name);
            self.act(file, RepairKind::Shortened { missing });
        }
        if self.options.dry_run {
            if is_ended && !is_damaged {
                let saved = Saved::read(self.storage, series.log_id)?;
                let bytes = saved.outstanding(last.name.base + scan.covered()).saved;
                let file = self.storage.display(&name);
                self.act_if_any(file, &[(bytes, RepairKind::Restored { bytes })]);
            }
            return match is_damaged || is_ended || (self.options.reindex && scan.rest > 0) {
                true => Ok(()),
                false => self.foresee(series, last, &*text, size, &scan),
            };
        }
        let Opened {
            mut segment,
            recovery,
            ..
        } = recover::open(self.storage, series, self.now)?;
        let released = segment.release().and_then(|()| segment.sync_sidecar());
        released.map_err(|error| self.cannot(&name, error))?;
        if let Some(recovery) = recovery {
            self.recovered(&recovery);
        }
        Ok(())
    }

    /// Makes the sidecar of the last segment anew; what is no whole line of its text is cut, and in a
    /// strict one what no checksum is there for.
    fn reindex_last(
        &mut self,
        series: Series,
        last: &SegmentFiles,
        before: Option<&SegmentFiles>,
        scan: &Scan,
    ) -> Result<(), LogError> {
        let name = last.name.text();
        let cannot = |error| self.cannot(&name, error);
        let text = self.storage.open(&name, true).map_err(cannot)?;
        let size = text.size().map_err(cannot)?;
        let bytes = read_from(&*text, 0, size).map_err(cannot)?;
        let whole = match scan.is_strict() {
            true => recover::sound_end(scan, &*text, size).map_err(cannot)?,
            false => recover::whole_lines(&bytes) as u64,
        };
        if whole < size {
            let bytes = size - whole;
            self.act(self.storage.display(&name), RepairKind::Cut { bytes });
        }
        if whole < size && !self.options.dry_run {
            recover::cut(self.storage, last, &*text, &bytes, whole)?;
        }
        self.reindex(series, last, before, whole)
    }

    /// What opening the last segment would do.
    fn foresee(
        &mut self,
        series: Series,
        last: &SegmentFiles,
        text: &dyn crate::storage::File,
        size: u64,
        scan: &Scan,
    ) -> Result<(), LogError> {
        if scan.is_ended() {
            return Ok(());
        }
        let name = last.name.text();
        let sound = recover::sound_entries(scan, text, size);
        let (_, covered) = sound.map_err(|error| self.cannot(&name, error))?;
        let rest = read_from(text, covered, size).map_err(|error| self.cannot(&name, error))?;
        let whole = recover::kept_lines(scan, &rest) as u64;
        let end = covered + whole;
        let saved = Saved::read(self.storage, series.log_id)?;
        let outstanding = saved.outstanding(last.name.base + end);
        self.recovered(&Recovery {
            segment: name.clone(),
            end,
            cut: size - end,
            uncovered: whole,
            restored: outstanding.saved,
        });
        if outstanding.gone > 0 {
            // The log goes on behind that.
            let file = self.storage.display(&name);
            self.act(file, RepairKind::Left(ProblemKind::MissingSegment));
        }
        Ok(())
    }

    fn recovered(&mut self, recovery: &Recovery) {
        let file = self.storage.display(&recovery.segment);
        let Recovery {
            cut,
            uncovered,
            restored,
            ..
        } = *recovery;
        let done = [
            (cut, RepairKind::Cut { bytes: cut }),
            (uncovered, RepairKind::Covered { bytes: uncovered }),
            (restored, RepairKind::Restored { bytes: restored }),
        ];
        self.act_if_any(file, &done);
    }

    /// Tells what was done to so many bytes, where that are any.
    fn act_if_any(&mut self, file: String, done: &[(u64, RepairKind)]) {
        for (_, kind) in done.iter().filter(|(bytes, _)| *bytes > 0) {
            self.act(file.clone(), *kind);
        }
    }

    fn act(&mut self, file: String, kind: RepairKind) {
        self.actions.push(RepairAction { file, kind });
    }

    fn cannot(&self, file: &str, error: std::io::Error) -> LogError {
        LogError::io(
            format!("cannot repair `{}`", self.storage.display(file)),
            error,
        )
    }
}

/// The block that begins at `start`: it ends with the line that makes it large enough, if there is
/// one before `size`.
fn block_at(text: &dyn crate::storage::File, start: u64, size: u64) -> std::io::Result<Vec<u8>> {
    let mut end = start;
    let mut block = Vec::new();
    loop {
        let piece = read_from(text, end, size.min(end + BLOCK as u64))?;
        if piece.is_empty() {
            return Ok(block);
        }
        let missing = BLOCK.saturating_sub(block.len()).max(1);
        let newline = piece
            .get(missing - 1..)
            .and_then(|from| memchr::memchr(b'\n', from));
        let (taken, _) = piece.split_at(newline.map_or(piece.len(), |at| missing + at));
        end += taken.len() as u64;
        block.extend_from_slice(taken);
        if newline.is_some() {
            return Ok(block);
        }
    }
}

/// A whole sidecar for a segment that has ended.
fn index(
    text: &dyn crate::storage::File,
    size: u64,
    header: &Header,
    now: u64,
) -> std::io::Result<Vec<u8>> {
    let raw = header.encode();
    let mut chain = sidecar::chain(&raw);
    let mut sidecar = raw.to_vec();
    let mut entry = Entry {
        first: now,
        last: now,
        total_lines: header.base_lines,
        flags: Flags::BLOCK | Flags::RECOVERED,
        ..Entry::default()
    };
    let mut push = |entry: &Entry| {
        let raw = entry.encode(chain);
        chain = sidecar::chain(&raw);
        sidecar.extend_from_slice(&raw);
    };
    while entry.end < size {
        let block = block_at(text, entry.end, size)?;
        if block.is_empty() {
            break;
        }
        entry.len = block.len() as u32;
        entry.end += block.len() as u64;
        entry.crc = checksum(0, &block);
        entry.lines = count_lines(&block) as u32;
        entry.total_lines += u64::from(entry.lines);
        push(&entry);
    }
    push(&Entry {
        len: 0,
        crc: 0,
        lines: 0,
        flags: Flags::CHECKPOINT | Flags::SEAL | Flags::RECOVERED,
        ..entry
    });
    Ok(sidecar)
}
