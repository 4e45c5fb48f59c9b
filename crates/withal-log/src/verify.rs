//! Checking every byte of a log against its sidecars.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use memchr::{memchr, memchr_iter};

use crate::error::LogError;
use crate::files::{Files, SegmentFiles};
use crate::recover::read_from;
use crate::scan::Scan;
use crate::sidecar::{BadHeader, Entry, Flags, SIZE, checksum};
use crate::storage::{Disk, File, Storage};

/// What is wrong with a log, in the order of the log.
///
/// ```
/// use withal_log::{Log, Verdict, verify};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let log = Log::open(&path).open()?;
/// log.append("first")?;
/// log.close()?;
/// let report = verify(&path, |_| ())?;
/// assert_eq!(report.verdict(), Verdict::Clean);
/// assert_eq!((report.lines, report.bytes), (1, 6));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// How many segments, bytes of text and lines were looked at.
    pub segments: u64,
    /// Bytes of text.
    pub bytes: u64,
    /// Lines, whole or not.
    pub lines: u64,
    /// How many bytes of the text have no checksum yet: the end of a log that is being written, or
    /// was not closed.
    pub uncovered: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file it is in.
    pub file: String,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// How many bytes from there it may be in.
    pub len: u64,
    /// The lines of the log it may be in, first and last, from 1.
    pub lines: Option<(u64, u64)>,
    /// What it is.
    pub kind: ProblemKind,
}

/// What is wrong somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The end was torn by a crash; the next writer, or `repair`, cuts it.
    TornTail,
    /// Text does not match its checksum.
    CorruptText,
    /// A sidecar is lost or damaged from here on; `repair` with `reindex` makes it anew.
    CorruptSidecar,
    /// Text was durable here and is gone.
    MissingText,
    /// A segment, or more, is gone here.
    MissingSegment,
}

/// The worst of what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing.
    Clean,
    /// A crash has torn the end: nothing that was acknowledged.
    TornTail,
    /// Something is changed or lost.
    Corrupt,
    /// Segments are missing.
    Missing,
}

impl Verification {
    /// The worst of what is wrong.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let verdicts = self.problems.iter().map(|problem| problem.kind.verdict());
        verdicts.max().unwrap_or(Verdict::Clean)
    }
}

impl ProblemKind {
    fn verdict(self) -> Verdict {
        match self {
            ProblemKind::TornTail => Verdict::TornTail,
            ProblemKind::CorruptText | ProblemKind::CorruptSidecar | ProblemKind::MissingText => {
                Verdict::Corrupt
            }
            ProblemKind::MissingSegment => Verdict::Missing,
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProblemKind::TornTail => "torn by a crash",
            ProblemKind::CorruptText => "text does not match its checksum",
            ProblemKind::CorruptSidecar => "sidecar is damaged or lost",
            ProblemKind::MissingText => "durable text is gone",
            ProblemKind::MissingSegment => "a segment is missing",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem {
            file, offset, len, ..
        } = self;
        write!(f, "{file}: byte {offset}")?;
        if *len > 1 {
            write!(f, " to {}", offset + len - 1)?;
        }
        if let Some((first, last)) = self.lines {
            write!(f, ", line {first}")?;
            if last > first {
                write!(f, " to {last}")?;
            }
        }
        write!(f, ": {}", self.kind)
    }
}

/// Checks the log in the directory `path`; `progress` is told of bytes as they are read.
///
/// It takes no lock. In a log that is being written, what is not whole at the end counts as torn.
///
/// # Errors
///
/// If something cannot be read. What is wrong with the log itself is in the answer.
pub fn verify(
    path: impl Into<PathBuf>,
    progress: impl FnMut(u64),
) -> Result<Verification, LogError> {
    let path = path.into();
    let disk = Disk::open(&path)
        .map_err(|error| LogError::io(format!("cannot open `{}`", path.display()), error))?;
    verify_in(&(Arc::new(disk) as Arc<dyn Storage>), progress)
}

/// Checks the log in any storage: for tests.
///
/// # Errors
///
/// As `verify`.
#[doc(hidden)]
pub fn verify_in(
    storage: &Arc<dyn Storage>,
    mut progress: impl FnMut(u64),
) -> Result<Verification, LogError> {
    let files = Files::list(storage)?;
    let mut report = Verification::default();
    let mut before: Option<Before> = None;
    for (index, segment) in files.segments().iter().enumerate() {
        let next = files.segments().get(index + 1);
        let mut check = Check {
            storage,
            files: segment,
            next: next.map(|next| next.name.base),
            report: &mut report,
            progress: &mut progress,
        };
        before = Some(check.segment(before.as_ref())?);
    }
    Ok(report)
}

/// What the next segment's header has to say of this one.
struct Before {
    /// Where in the log it ends, if its sidecar says so.
    end: Option<u64>,
    name: String,
    len: u64,
    chain: Option<u32>,
}

struct Check<'c> {
    storage: &'c Arc<dyn Storage>,
    files: &'c SegmentFiles,
    /// Where the next segment begins.
    next: Option<u64>,
    report: &'c mut Verification,
    progress: &'c mut dyn FnMut(u64),
}

impl Check<'_> {
    fn segment(&mut self, before: Option<&Before>) -> Result<Before, LogError> {
        let name = self.files.name.text();
        let cannot = |error| {
            LogError::io(
                format!("cannot read `{}`", self.storage.display(&name)),
                error,
            )
        };
        let text = self.files.open_text(self.storage)?;
        let len = text.size().map_err(cannot)?;
        let scan = Scan::new(&self.files.read_sidecar(self.storage)?);
        self.report.segments += 1;
        self.follows(before, &scan);
        // What lies behind the start of the next one does not count: it was written again there.
        let base = self.files.name.base;
        let limit = self
            .next
            .map_or(len, |next| next.saturating_sub(base).min(len));
        let ended = scan.is_ended().then(|| scan.covered());
        let due = ended.unwrap_or(0).max(scan.checkpoint());
        if due > len {
            self.problem(&name, len, due - len, None, ProblemKind::MissingText);
        }
        let mut covered = 0;
        for (index, entry) in scan.entries.iter().enumerate() {
            if entry.end > limit {
                break;
            }
            if entry.flags.has(Flags::BLOCK) && entry.len > 0 {
                let lines = (scan.lines(index) + 1, entry.total_lines);
                self.block(&*text, entry, lines).map_err(cannot)?;
                covered = entry.end;
            }
        }
        self.sidecar(&scan, len);
        self.tail(&*text, covered, limit, &scan).map_err(cannot)?;
        if let (Some(hash), Some(end)) = (scan.hash, ended)
            && end <= len
        {
            let mut hasher = blake3::Hasher::new();
            let mut at = 0;
            while at < end {
                let piece = match read_from(&*text, at, end.min(at + (1 << 20))) {
                    Err(_) if !self.files.has_text => break,
                    read => read.map_err(cannot)?,
                };
                at += piece.len() as u64;
                let _ = hasher.update(&piece);
                if piece.is_empty() {
                    break;
                }
            }
            if hasher.finalize() != hash {
                self.problem(&name, 0, end, None, ProblemKind::CorruptText);
            }
        }
        self.report.bytes += limit;
        Ok(Before {
            end: ended.map(|end| base + end),
            name,
            len: limit,
            // A sidecar that was made anew has another chain than the next one was told of.
            chain: match scan.entries.last() {
                Some(last) if last.flags.has(Flags::RECOVERED) => None,
                _ => scan.header.is_ok().then(|| scan.chain(scan.entries.len())),
            },
        })
    }

    /// Checks that the segment goes on where the one before it ended.
    fn follows(&mut self, before: Option<&Before>, scan: &Scan) {
        let base = self.files.name.base;
        let Some(before) = before else { return };
        if before.end.is_some_and(|end| end < base) {
            let missing = base - before.end.unwrap_or(base);
            self.problem(
                &before.name,
                before.len,
                missing,
                None,
                ProblemKind::MissingSegment,
            );
        } else if before.end.is_none() && self.files.name.base < before.len {
            self.problem(&before.name, before.len, 1, None, ProblemKind::CorruptText);
        }
        if let Ok(header) = scan.header
            && (header.previous_len != before.len
                || before
                    .chain
                    .is_some_and(|chain| chain != header.previous_chain))
            && before.end == Some(base)
        {
            let file = self.files.name.sidecar();
            self.problem(&file, 0, SIZE as u64, None, ProblemKind::CorruptSidecar);
        }
    }

    fn block(&mut self, text: &dyn File, entry: &Entry, lines: (u64, u64)) -> std::io::Result<()> {
        let start = entry.end - u64::from(entry.len);
        let block = match read_from(text, start, entry.end) {
            // A frame that zstd cannot undo is damage, and no reason to stop looking.
            Err(_) if !self.files.has_text => Vec::new(),
            read => read?,
        };
        (self.progress)(block.len() as u64);
        let count = memchr_iter(b'\n', &block).count() as u64;
        self.report.lines += count;
        let is_sound = checksum(0, &block) == entry.crc
            && count == u64::from(entry.lines)
            && memchr(0, &block).is_none();
        if !is_sound {
            let name = self.files.name.text();
            let kind = ProblemKind::CorruptText;
            self.problem(&name, start, u64::from(entry.len), Some(lines), kind);
        }
        Ok(())
    }

    /// Checks the sidecar itself.
    fn sidecar(&mut self, scan: &Scan, len: u64) {
        let file = self.files.name.sidecar();
        let whole =
            (SIZE + scan.entries.len() * SIZE + if scan.hash.is_some() { SIZE } else { 0 }) as u64;
        let is_last = self.next.is_none();
        let bad_header = match scan.header {
            Ok(header) => header.base != self.files.name.base,
            Err(BadHeader::Damaged | BadHeader::Version(_)) => true,
        };
        if bad_header {
            // The sidecar of an empty segment may not have come to the disk.
            if !(is_last && len == 0) {
                self.problem(&file, 0, SIZE as u64, None, ProblemKind::CorruptSidecar);
            }
        } else if scan.rest > 0 {
            let kind = match is_last && scan.rest <= SIZE && !scan.is_ended() {
                true => ProblemKind::TornTail,
                false => ProblemKind::CorruptSidecar,
            };
            self.problem(&file, whole, scan.rest as u64, None, kind);
        }
    }

    /// Looks at the text that no entry covers.
    fn tail(
        &mut self,
        text: &dyn File,
        covered: u64,
        limit: u64,
        scan: &Scan,
    ) -> std::io::Result<()> {
        let mut at = covered;
        let mut last = b'\n';
        let mut torn = None;
        while at < limit {
            let piece = read_from(text, at, limit.min(at + (1 << 20)))?;
            let (Some(end), true) = (piece.last(), torn.is_none()) else {
                break;
            };
            torn = memchr(0, &piece).map(|zero| at + zero as u64);
            last = *end;
            self.report.lines += memchr_iter(b'\n', &piece).count() as u64;
            at += piece.len() as u64;
            (self.progress)(piece.len() as u64);
        }
        self.report.uncovered += limit.saturating_sub(covered);
        let torn = torn.or((last != b'\n').then_some(covered));
        let name = self.files.name.text();
        let is_ended = scan.is_ended() && self.next.is_none();
        if let Some(torn) = torn {
            let kind = match self.next.is_none() && torn >= scan.checkpoint() {
                true => ProblemKind::TornTail,
                false => ProblemKind::CorruptText,
            };
            self.problem(&name, torn, limit - torn, None, kind);
        } else if is_ended && covered < limit {
            // Nothing is written behind a seal.
            self.problem(
                &name,
                covered,
                limit - covered,
                None,
                ProblemKind::CorruptText,
            );
        }
        Ok(())
    }

    fn problem(
        &mut self,
        file: &str,
        offset: u64,
        len: u64,
        lines: Option<(u64, u64)>,
        kind: ProblemKind,
    ) {
        self.report.problems.push(Problem {
            file: self.storage.display(file),
            offset,
            len,
            lines,
            kind,
        });
    }
}
