//! Checking every byte of a log against its sidecars.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use memchr::memchr;

use crate::checksum::checksum;
use crate::error::LogError;
use crate::files::{Files, SegmentFiles, is_unreadable};
use crate::hole::is_damage;
use crate::name::Name;
use crate::recover::{self, read_from};
use crate::restore;
use crate::ring::{self, Outstanding};
use crate::scan::Scan;
use crate::sidecar::{BadHeader, Entry, Flags, Header, SIZE};
use crate::storage::{Disk, File, Storage};
use crate::text::count_lines;

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
    /// Durable text was torn by a crash, or is not written yet, and is in the [commit
    /// ring](crate::CommitRing); the next writer, or `repair`, puts it back.
    InCommitRing,
    /// Text does not match its checksum.
    CorruptText,
    /// A sidecar is lost or damaged from here on; `repair` with `reindex` makes it anew.
    CorruptSidecar,
    /// A compressed text is not what was written; what it holds is named beside this if it does not
    /// match its checksums.
    CorruptCompressed,
    /// It is there, and the disk cannot read it.
    Unreadable,
    /// Text was durable here and is gone.
    MissingText,
    /// A segment, or more, is gone here.
    MissingSegment,
    /// What identifies the log is damaged, or of another log; `repair` makes it anew.
    CorruptIdentity,
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

impl Problem {
    fn new(
        storage: &Arc<dyn Storage>,
        file: &str,
        offset: u64,
        len: u64,
        kind: ProblemKind,
    ) -> Problem {
        Problem {
            file: storage.display(file),
            offset,
            len,
            lines: None,
            kind,
        }
    }
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
            ProblemKind::TornTail | ProblemKind::InCommitRing => Verdict::TornTail,
            ProblemKind::CorruptText
            | ProblemKind::CorruptSidecar
            | ProblemKind::CorruptIdentity
            | ProblemKind::CorruptCompressed
            | ProblemKind::Unreadable
            | ProblemKind::MissingText => Verdict::Corrupt,
            ProblemKind::MissingSegment => Verdict::Missing,
        }
    }
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ProblemKind::TornTail => "torn by a crash",
            ProblemKind::InCommitRing => "durable text is in the commit ring only",
            ProblemKind::CorruptText => "text does not match its checksum",
            ProblemKind::CorruptSidecar => "sidecar is damaged or lost",
            ProblemKind::CorruptCompressed => "compressed text is damaged",
            ProblemKind::Unreadable => "the disk cannot read it",
            ProblemKind::MissingText => "durable text is gone",
            ProblemKind::MissingSegment => "a segment is missing",
            ProblemKind::CorruptIdentity => "what identifies the log is damaged",
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
/// It takes no lock, and a log may be written meanwhile: what is not whole at its end is torn only if
/// nobody goes on with it, and what was removed since is not looked at.
///
/// # Errors
///
/// If something cannot be looked at. What is wrong with the log itself, and be it a bad sector, is in
/// the answer.
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
    let checked = check_all(storage, files.segments(), &mut progress);
    // What is missed twice is missed: the log may be written, and its old end removed, meanwhile.
    let gone = files.gone(storage);
    let later = Files::list(storage)?;
    let mut report = Verification::default();
    let mut before: Option<Before> = None;
    for (segment, checked) in files.segments().iter().zip(checked) {
        if later.are_after(&segment.name) {
            continue;
        }
        let checked = match checked {
            Err(error) if is_unreadable(&error) => {
                let file = segment.file();
                let len = segment.disk_size(storage).unwrap_or(1);
                let unreadable = Problem::new(storage, &file, 0, len, ProblemKind::Unreadable);
                report.problems.push(unreadable);
                before = None;
                continue;
            }
            checked => checked?,
        };
        let missed = follows(storage, before.as_ref(), &checked, &later);
        report.add(missed, checked.report);
        before = Some(checked.before);
    }
    let problem = |file: &str, len, kind| Problem::new(storage, file, 0, len, kind);
    let lost = later.missing(storage)?;
    let outstanding = match outstanding(storage, files.segments()) {
        // Where that is, is told already.
        Err(error) if is_unreadable(&error) => None,
        outstanding => Some(outstanding?),
    };
    let outstanding = outstanding.into_iter().flatten();
    // What a segment had that is missing is not told of twice.
    let outstanding =
        outstanding.filter(|problem| lost.is_empty() || problem.kind != ProblemKind::MissingText);
    report.problems.extend(outstanding);
    let lost = lost.iter().map(|lost| {
        let file = lost.name.text();
        problem(&file, lost.len, ProblemKind::MissingSegment)
    });
    report.problems.extend(lost);
    if let Some(gone) = gone.filter(|gone| later.gone(storage).as_ref() == Some(gone)) {
        let missing = problem(&gone.text(), 1, ProblemKind::MissingSegment);
        report.problems.push(missing);
    }
    if let Some(len) = recover::damaged_identity(storage)? {
        let damaged = problem(recover::META, len, ProblemKind::CorruptIdentity);
        report.problems.push(damaged);
    }
    Ok(report)
}

/// What was durable behind the text.
fn outstanding(
    storage: &Arc<dyn Storage>,
    segments: &[SegmentFiles],
) -> Result<impl Iterator<Item = Problem>, LogError> {
    let (Outstanding { saved, gone }, end) = restore::outstanding(storage)?;
    let last = segments.last();
    let file = last.map_or_else(|| ring::FILE.to_owned(), |last| last.name.text());
    let at = end - last.map_or(0, |last| last.name.base.min(end));
    let problems = [
        (at, gone, ProblemKind::MissingText),
        (at + gone, saved, ProblemKind::InCommitRing),
    ];
    let problems = problems.into_iter().filter(|(_, len, _)| *len > 0);
    Ok(problems.map(move |(at, len, kind)| Problem::new(storage, &file, at, len, kind)))
}

/// What a segment is by itself; in the order of the segments, which are looked at side by side.
fn check_all(
    storage: &Arc<dyn Storage>,
    segments: &[SegmentFiles],
    progress: &mut dyn FnMut(u64),
) -> Vec<Result<Box<Checked>, LogError>> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let due = AtomicUsize::new(0);
    let (tell, told) = mpsc::channel();
    let mut checked = BTreeMap::new();
    thread::scope(|scope| {
        for _ in 0..cores.min(segments.len()) {
            let (tell, due) = (tell.clone(), &due);
            let _joined_by_the_scope = scope.spawn(move || {
                // Nobody hears only if that panicked.
                let told = |told| drop(tell.send(told));
                loop {
                    let index = due.fetch_add(1, Ordering::Relaxed);
                    let Some(files) = segments.get(index) else {
                        return;
                    };
                    let mut read = 0;
                    let mut check = Check {
                        storage,
                        files,
                        next: segments.get(index + 1).map(|next| next.name.base),
                        report: Verification::default(),
                        progress: &mut |bytes| {
                            read += bytes;
                            if read >= TOLD {
                                told(Told::Read(std::mem::take(&mut read)));
                            }
                        },
                        buffer: Vec::new(),
                    };
                    let segment = check.segment();
                    let report = check.report;
                    told(Told::Read(read));
                    let checked = segment.map(|(before, header)| {
                        Box::new(Checked {
                            before,
                            header,
                            report,
                        })
                    });
                    told(Told::Checked(index, checked));
                }
            });
        }
        drop(tell);
        for told in told {
            match told {
                Told::Read(bytes) => progress(bytes),
                Told::Checked(index, segment) => drop(checked.insert(index, segment)),
            }
        }
    });
    checked.into_values().collect()
}

/// How often it is looked whether a text goes on: a write takes microseconds, once its thread runs.
const LOOKS: usize = 100;

/// How much is read before it is told: to wake somebody costs more than to check a block.
const TOLD: u64 = 8 << 20;

/// What a thread tells of a segment.
enum Told {
    Read(u64),
    Checked(usize, Result<Box<Checked>, LogError>),
}

/// A segment by itself.
struct Checked {
    before: Before,
    header: Option<Header>,
    report: Verification,
}

impl Verification {
    fn add(&mut self, first: Option<Problem>, more: Verification) {
        self.segments += more.segments;
        self.bytes += more.bytes;
        self.lines += more.lines;
        self.uncovered += more.uncovered;
        self.problems.extend(first);
        self.problems.extend(more.problems);
    }
}

/// What the next segment's header has to say of this one.
struct Before {
    name: Name,
    /// Where in the log it ends, if its sidecar says so.
    end: Option<u64>,
    len: u64,
    chain: Option<u32>,
    /// Of which log it is.
    log_id: Option<u128>,
}

struct Check<'c> {
    storage: &'c Arc<dyn Storage>,
    files: &'c SegmentFiles,
    /// Where the next segment begins.
    next: Option<u64>,
    report: Verification,
    progress: &'c mut dyn FnMut(u64),
    /// For a block of text.
    buffer: Vec<u8>,
}

/// Checks that a segment goes on where the one before it ended.
fn follows(
    storage: &Arc<dyn Storage>,
    before: Option<&Before>,
    checked: &Checked,
    later: &Files,
) -> Option<Problem> {
    let (before, name) = (before?, &checked.before.name);
    let problem = |file: &str, offset, len, kind| Problem::new(storage, file, offset, len, kind);
    let text = before.name.text();
    if let Some(end) = before.end.filter(|end| *end < name.base) {
        // One that was made while they were listed need not be in the list.
        let mut between = later.segments().iter().map(|segment| &segment.name);
        if between.any(|between| *between > before.name && between < name) {
            return None;
        }
        let missing = name.base - end;
        return Some(problem(
            &text,
            before.len,
            missing,
            ProblemKind::MissingSegment,
        ));
    }
    if before.end.is_none() && name.base < before.len {
        return Some(problem(&text, before.len, 1, ProblemKind::CorruptText));
    }
    let header = checked.header?;
    if before.log_id.is_some_and(|id| id != header.log_id) {
        let kind = ProblemKind::CorruptSidecar;
        return Some(problem(&name.sidecar(), 0, SIZE as u64, kind));
    }
    // Of what is missing of it, this one knows nothing.
    let is_other = header.previous_len != name.base - before.name.base
        || before
            .chain
            .is_some_and(|chain| chain != header.previous_chain);
    (is_other && before.end == Some(name.base))
        .then(|| problem(&name.sidecar(), 0, SIZE as u64, ProblemKind::CorruptSidecar))
}

impl Check<'_> {
    fn segment(&mut self) -> Result<(Before, Option<Header>), LogError> {
        let name = self.files.name.text();
        let cannot = |error| {
            LogError::io(
                format!("cannot read `{}`", self.storage.display(&name)),
                error,
            )
        };
        // In this order: what it tells of is there by then.
        let scan = Scan::new(&self.files.readable_sidecar(self.storage)?);
        let text = self.files.open_text(self.storage)?;
        let len = text.size().map_err(cannot)?;
        self.report.segments += 1;
        // What lies behind the start of the next one does not count: it was written again there.
        let base = self.files.name.base;
        let ended = scan.is_ended().then(|| scan.covered());
        // Nor what lies behind the end of one that a failed sync has ended.
        let poisoned = ended.filter(|_| scan.sealed().is_none());
        let next = self.next.map(|next| next.saturating_sub(base));
        let limit = next.or(poisoned).map_or(len, |end| end.min(len));
        let due = ended.unwrap_or(0).max(scan.durable());
        if due > len {
            self.problem(&name, len, due - len, ProblemKind::MissingText);
        }
        if let Some(seal) = scan
            .sealed()
            .filter(|seal| *seal < len && self.next.is_some())
        {
            // Nothing is written behind a seal.
            self.problem(&name, seal, len - seal, ProblemKind::CorruptText);
        }
        let mut held = scan.entries.len();
        if self.is_cut_strictly(&scan) {
            let sound = recover::sound_entries(&scan, &*text, len);
            (held, _) = sound.map_err(cannot)?;
        }
        let mut covered = 0;
        let mut hasher = scan.hash.map(|_| blake3::Hasher::new());
        for (index, entry) in scan.entries.iter().take(held).enumerate() {
            if entry.end > limit {
                break;
            }
            if entry.flags.has(Flags::BLOCK) && entry.len > 0 {
                let lines = (scan.lines(index) + 1, entry.total_lines);
                match self.block(&*text, entry, lines).map_err(cannot)? {
                    Some(block) => {
                        let _ = hasher.as_mut().map(|hasher| hasher.update(block));
                    }
                    None => hasher = None,
                }
                covered = entry.end;
            }
        }
        self.sidecar(&scan, len);
        self.tail(&*text, covered, limit, &scan).map_err(cannot)?;
        if let (Some(hash), Some(hasher)) = (scan.hash, hasher)
            && ended == Some(covered)
            && hasher.finalize() != hash
        {
            self.problem(&name, 0, covered, ProblemKind::CorruptText);
        }
        for (offset, len) in self.files.compressed_damage(self.storage)? {
            let file = self.files.name.compressed();
            self.problem(&file, offset, len, ProblemKind::CorruptCompressed);
        }
        self.report.bytes += limit;
        let before = Before {
            name: self.files.name.clone(),
            end: ended.map(|end| base + end),
            len: limit,
            log_id: scan.header.ok().map(|header| header.log_id),
            // A sidecar that was made anew has another chain than the next one was told of.
            chain: match scan.entries.last() {
                Some(last) if last.flags.has(Flags::RECOVERED) => None,
                _ => scan.header.is_ok().then(|| scan.chain(scan.entries.len())),
            },
        };
        Ok((before, scan.header.ok()))
    }

    /// Checks a block of text; gives what there is of it, or nothing if the disk cannot read it.
    fn block(
        &mut self,
        text: &dyn File,
        entry: &Entry,
        lines: (u64, u64),
    ) -> std::io::Result<Option<&[u8]>> {
        let (start, len) = (entry.end - u64::from(entry.len), entry.len as usize);
        let mut buffer = std::mem::take(&mut self.buffer);
        if buffer.len() < len {
            buffer.resize(len, 0);
        }
        let (space, _) = buffer.split_at_mut(len);
        let read = match text.read_full(space, start) {
            // A frame that zstd cannot undo is damage, and no reason to stop looking.
            Err(_) if !self.files.has_text => 0,
            Err(error) if is_damage(&error) => {
                self.buffer = buffer;
                self.problem_in_lines(entry, lines, ProblemKind::Unreadable);
                return Ok(None);
            }
            read => read?,
        };
        self.buffer = buffer;
        let (block, _) = self.buffer.split_at(read);
        (self.progress)(block.len() as u64);
        let count = count_lines(block);
        self.report.lines += count;
        let is_sound = checksum(0, block) == entry.crc
            && count == u64::from(entry.lines)
            && memchr(0, block).is_none();
        if !is_sound {
            self.problem_in_lines(entry, lines, ProblemKind::CorruptText);
        }
        let (block, _) = self.buffer.split_at(read);
        Ok(Some(block))
    }

    /// Notes what is wrong with a block of text.
    fn problem_in_lines(&mut self, entry: &Entry, lines: (u64, u64), kind: ProblemKind) {
        let (file, len) = (self.files.name.text(), u64::from(entry.len));
        let problem = Problem::new(self.storage, &file, entry.end - len, len, kind);
        let lines = Some(lines);
        self.report.problems.push(Problem { lines, ..problem });
    }

    /// Checks the sidecar itself.
    fn sidecar(&mut self, scan: &Scan, len: u64) {
        let file = self.files.name.sidecar();
        let whole = scan.whole();
        let is_last = self.next.is_none();
        let bad_header = match scan.header {
            Ok(header) => header.base != self.files.name.base,
            Err(BadHeader::Damaged | BadHeader::Version(_)) => true,
        };
        if bad_header {
            // The sidecar of an empty segment may not have come to the disk.
            if !(is_last && len == 0) {
                self.problem(&file, 0, SIZE as u64, ProblemKind::CorruptSidecar);
            }
        } else if scan.rest > 0 {
            let is_torn = is_last && !scan.is_damaged && !scan.is_ended();
            // The text is compressed only once the hash is durable.
            let is_torn_hash = self.files.has_text && scan.has_torn_hash();
            let kind = match is_torn || is_torn_hash {
                true => ProblemKind::TornTail,
                false => ProblemKind::CorruptSidecar,
            };
            self.problem(&file, whole, scan.rest as u64, kind);
        }
    }

    /// Whether recovery cuts it where its checksums end.
    fn is_cut_strictly(&self, scan: &Scan) -> bool {
        scan.is_strict() && self.next.is_none() && !scan.is_ended()
    }

    /// Looks at the text that no entry covers.
    fn tail(
        &mut self,
        text: &dyn File,
        covered: u64,
        limit: u64,
        scan: &Scan,
    ) -> std::io::Result<()> {
        self.report.uncovered += limit.saturating_sub(covered);
        let mut at = covered;
        let mut last = b'\n';
        let mut torn = None;
        while at < limit {
            let piece = match read_from(text, at, limit.min(at + (1 << 20))) {
                Err(_) if !self.files.has_text => Vec::new(),
                Err(error) if is_damage(&error) => {
                    let file = self.files.name.text();
                    self.problem(&file, at, limit - at, ProblemKind::Unreadable);
                    return Ok(());
                }
                piece => piece?,
            };
            let (Some(end), true) = (piece.last(), torn.is_none()) else {
                break;
            };
            torn = memchr(0, &piece).map(|zero| at + zero as u64);
            last = *end;
            self.report.lines += count_lines(&piece);
            at += piece.len() as u64;
            (self.progress)(piece.len() as u64);
        }
        // Where text is missing that was durable, half a line is a part of that.
        let is_short = scan.durable() > limit;
        let is_uncovered = covered < limit && self.is_cut_strictly(scan);
        let is_torn = (last != b'\n' || is_uncovered) && !is_short;
        let torn = torn.or(is_torn.then_some(covered));
        let name = self.files.name.text();
        let is_ended = scan.is_ended() && self.next.is_none();
        if torn.is_some() && self.goes_on(text, limit, scan)? {
            return Ok(());
        }
        if let Some(torn) = torn {
            let kind = match self.next.is_none() && torn >= scan.checkpoint() {
                true => ProblemKind::TornTail,
                false => ProblemKind::CorruptText,
            };
            self.problem(&name, torn, limit - torn, kind);
        } else if is_ended && covered < limit {
            // Nothing is written behind a seal.
            self.problem(&name, covered, limit - covered, ProblemKind::CorruptText);
        }
        Ok(())
    }

    /// Whether more has come to the last segment than was looked at: what was not whole at its end
    /// was being written.
    fn goes_on(&self, text: &dyn File, len: u64, scan: &Scan) -> std::io::Result<bool> {
        if self.next.is_some() || scan.is_ended() {
            return Ok(false);
        }
        for _ in 0..LOOKS {
            if text.size()? > len {
                return Ok(true);
            }
            thread::yield_now();
        }
        let sidecar = self.files.read_sidecar(self.storage);
        Ok(sidecar.is_ok_and(|sidecar| Scan::new(&sidecar).covered() > scan.covered()))
    }

    fn problem(&mut self, file: &str, offset: u64, len: u64, kind: ProblemKind) {
        let problem = Problem::new(self.storage, file, offset, len, kind);
        self.report.problems.push(problem);
    }
}
