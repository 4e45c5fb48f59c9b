//! Opening a log for writing, after whatever happened to it.
//!
//! A crash anywhere in here, at any number of times, leads to the same end: nothing is cut before
//! its copy is durable, and nothing is covered by the sidecar before the text is durable.

use std::io;
use std::sync::Arc;

use memchr::{memchr, memrchr};
use serde_json::json;

use crate::checksum::checksum;
use crate::error::{LogError, LogErrorKind};
use crate::events;
use crate::files::{Files, Lost, SegmentFiles, read_all};
use crate::hole::{is_damage, read_around};
use crate::options::{OnFull, Settings};
use crate::restore::{remove_ring, restore, take_back};
use crate::retention::{self, Removed};
use crate::ring::{self, Saved};
use crate::scan::Scan;
use crate::segment::{Found, Segment, Series, Tail, strict};
use crate::sidecar::{BadHeader, Flags, Header, SIZE};
use crate::storage::{File, Storage};
use crate::text::count_lines;

/// What had to be done to open a log after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovery {
    /// The segment that had not been closed.
    pub segment: String,
    /// Where in it whole lines end.
    pub end: u64,
    /// How many bytes after that were torn, and are in `quarantine/` now.
    pub cut: u64,
    /// How many bytes of whole lines had no checksum yet.
    pub uncovered: u64,
    /// How many bytes of whole lines after that were only in the [commit
    /// ring](crate::CommitRing), and are in the text now.
    pub restored: u64,
}

/// A log that has been opened for writing.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) segment: Segment,
    pub(crate) recovery: Option<Recovery>,
    /// The number of the next frame in the commit ring, if there is a ring.
    pub(crate) ring: Option<u64>,
}

/// As `open`, for a log that goes on by the rule of `series`. Where there is no space for that, the
/// oldest segments go, if `settings` say so.
pub(crate) fn open_with_room(
    storage: &Arc<dyn Storage>,
    series: Series,
    settings: &Settings,
) -> Result<Opened, LogError> {
    loop {
        let now = (settings.clock)();
        let opened = open(storage, series, now).and_then(|opened| {
            let segment = under(storage, series, opened.segment, now)?;
            Ok(Opened { segment, ..opened })
        });
        let full = match opened {
            Err(error) if error.kind() == LogErrorKind::Full => error,
            opened => return opened,
        };
        let pruned = match settings.on_full {
            OnFull::Prune => retention::prune(storage)?,
            OnFull::Block(_) | OnFull::Drop | OnFull::Fail => None,
        };
        let Some(Removed { bytes }) = pruned else {
            return Err(full);
        };
        let message = format!("the oldest segment is removed: {}", full.in_full());
        let why = LogError::new(LogErrorKind::Full, message);
        let facts = json!({ "segments": 1, "bytes": bytes });
        events::warn(storage, now, "segments pruned", &facts, &why);
    }
}

/// The segment to write to, made if there is none: all that was durable is in it, or before it.
pub(crate) fn open(
    storage: &Arc<dyn Storage>,
    series: Series,
    now: u64,
) -> Result<Opened, LogError> {
    let saved = Saved::read(storage, series.log_id)?;
    let taken = take_back(storage, &saved)?;
    let (segment, recovery) = open_text(storage, series, now)?;
    let found = segment.name.clone();
    let (segment, restored) = restore(storage, series, segment, &saved.frames, &taken, now)?;
    let recovery = match taken.is_nothing() && restored == 0 {
        true => recovery,
        false => Some(Recovery {
            segment: segment.name.text(),
            // Behind a gap there is nothing but what was restored.
            end: match segment.name == found {
                true => segment.len - restored,
                false => 0,
            },
            cut: recovery.as_ref().map_or(0, |recovery| recovery.cut) + taken.cut,
            uncovered: recovery.map_or(0, |recovery| recovery.uncovered) + taken.uncovered,
            restored,
        }),
    };
    let mut ring = saved.next();
    if let Some(at) = saved.damaged {
        let file = storage.display(ring::FILE);
        let message = format!("`{file}` cannot be read at byte {at}: it is made anew");
        let error = LogError::new(LogErrorKind::Corrupt, message);
        let facts = json!({ "file": ring::FILE, "at": at });
        events::warn(storage, now, "commit ring damaged", &facts, &error);
        remove_ring(storage)?;
        ring = None;
    }
    Ok(Opened {
        segment,
        recovery,
        ring,
    })
}

/// As `open`, without what is in the commit ring only.
fn open_text(
    storage: &Arc<dyn Storage>,
    series: Series,
    now: u64,
) -> Result<(Segment, Option<Recovery>), LogError> {
    let files = Files::list(storage)?;
    tell_of_current(storage, &files, now);
    let mut lost = None;
    for orphan in &files.orphans {
        // Its text was removed, or never made.
        let file = orphan.sidecar();
        if let Some(segment) = files.lost(storage, orphan)? {
            lost = Some(segment);
            continue;
        }
        storage
            .remove(&file)
            .map_err(|error| cannot("remove", storage, &file, error))?;
        events::note(
            storage,
            now,
            "sidecar without text removed",
            &json!({ "file": file }),
        );
    }
    let last = files.segments().last();
    // What is missed in the middle is for `verify` to tell.
    let lost = lost.filter(|lost| last.is_none_or(|last| lost.name > last.name));
    if let Some(lost) = &lost {
        // Its place stays free, so that nobody takes what comes now for what was in it.
        let facts = json!({ "segment": lost.name.text(), "bytes": lost.len });
        let error = corrupt_segment(
            storage,
            &lost.name.text(),
            "it is gone, and the log goes on behind it",
        );
        events::warn(storage, now, "segment missing", &facts, &error);
    }
    let [before @ .., last] = files.segments() else {
        let tail = after(lost, Tail::default());
        return Ok((create(storage, series, tail, now)?, None));
    };
    let is_only_compressed = last.is_compressed && !last.has_text;
    if lost.is_some() || is_only_compressed {
        let scan = Scan::new(&last.read_sidecar(storage)?);
        if let Some(tail) = ended_tail(last, &scan) {
            return Ok((create(storage, series, after(lost, tail), now)?, None));
        }
    }
    if is_only_compressed {
        return Err(corrupt(
            storage,
            last,
            "its sidecar does not say where it ends",
        ));
    }
    reopen(storage, series, last, before.last(), now)
}

/// Has the log go on by the rule with which it is opened: a segment keeps that it was begun with.
fn under(
    storage: &Arc<dyn Storage>,
    series: Series,
    segment: Segment,
    now: u64,
) -> Result<Segment, LogError> {
    match segment.tail_rule() == series.tail_rule {
        true => Ok(segment),
        false => go_on_behind(storage, series, segment, now),
    }
}

/// Ends a segment, and makes the next one.
fn go_on_behind(
    storage: &Arc<dyn Storage>,
    series: Series,
    mut segment: Segment,
    now: u64,
) -> Result<Segment, LogError> {
    let ended = segment.seal(now).and_then(|()| segment.finish());
    ended.map_err(|error| cannot("end", storage, &segment.name.text(), error))?;
    create(storage, series, segment.tail(), now)
}

/// Where the log goes on behind a segment that is lost, if there is one.
fn after(lost: Option<Lost>, tail: Tail) -> Tail {
    match lost {
        Some(lost) => Tail {
            end: tail.end.max(lost.name.base + lost.len),
            lines: tail.lines.max(lost.lines),
            ..tail
        },
        None => tail,
    }
}

/// Says so if the segment that was written last is gone, with all its files.
fn tell_of_current(storage: &Arc<dyn Storage>, files: &Files, now: u64) {
    if let Some(gone) = files.gone(storage) {
        let error = corrupt_segment(storage, &gone.text(), "it is gone");
        events::warn(
            storage,
            now,
            "segment missing",
            &json!({ "segment": gone.text() }),
            &error,
        );
    }
}

/// Where the log goes on after a segment that was ended.
fn ended_tail(files: &SegmentFiles, scan: &Scan) -> Option<Tail> {
    let end = scan.is_ended().then(|| scan.covered())?;
    let count = scan.entries.len();
    Some(Tail {
        end: files.name.base + end,
        lines: scan.lines(count),
        previous_len: end,
        chain: scan.chain(count),
    })
}

fn reopen(
    storage: &Arc<dyn Storage>,
    series: Series,
    files: &SegmentFiles,
    before: Option<&SegmentFiles>,
    now: u64,
) -> Result<(Segment, Option<Recovery>), LogError> {
    let name = files.name.text();
    let text = storage
        .open(&name, true)
        .map_err(|error| cannot("open", storage, &name, error))?;
    let len = text
        .size()
        .map_err(|error| cannot("read", storage, &name, error))?;
    let mut scan = Scan::new(&files.read_sidecar(storage)?);
    if let Err(BadHeader::Version(version)) = scan.header {
        return Err(LogError::new(
            LogErrorKind::Version,
            format!(
                "`{}` is of version {version} of the format: use a later withal",
                storage.display(&files.name.sidecar())
            ),
        ));
    }
    if scan
        .header
        .is_ok_and(|header| header.base != files.name.base)
    {
        scan = Scan::new(&[]);
    }
    if let Some(tail) = ended_tail(files, &scan) {
        if scan.covered() > len {
            return Err(missing(storage, files, &scan, len));
        }
        // Who has written it may have been killed before that was durable.
        let file = files.name.sidecar();
        let synced = storage.open(&file, true).and_then(|file| file.sync_data());
        synced.map_err(|error| cannot("sync", storage, &file, error))?;
        return Ok((create(storage, series, tail, now)?, None));
    }
    if scan.durable() > len {
        return Err(missing(storage, files, &scan, len));
    }
    if is_damaged(&scan, len) {
        return leave(storage, series, files, before, &scan, &*text, now);
    }
    let header = match scan.header {
        Ok(header) => header,
        Err(_) => new_header(storage, series, files, before)?,
    };
    let cannot_read = |error| cannot("read", storage, &name, error);
    let (kept, covered) = sound_entries(&scan, &*text, len).map_err(cannot_read)?;
    let rest = read_from(&*text, covered, len).map_err(cannot_read)?;
    let whole = kept_lines(&scan, &rest);
    let end = covered + whole as u64;
    // What the disk cannot read is no newline.
    let (last, _damaged) = read_around(&*text, end.saturating_sub(1), end).map_err(cannot_read)?;
    let clean = kept == scan.entries.len() && scan.rest == 0 && scan.header.is_ok();
    let sidecar = mend_sidecar(storage, files, &header, kept, scan.header.is_ok())
        .map_err(|error| cannot("mend", storage, &files.name.sidecar(), error))?;
    if end < len {
        cut(storage, files, &*text, &rest, end)?;
    }
    let mut segment = Segment::at(Found {
        name: files.name.clone(),
        text,
        sidecar,
        made: files.name.made_ms(),
        covered,
        lines: match scan.header {
            Ok(_) => scan.lines(kept),
            Err(_) => header.base_lines,
        },
        chain: match scan.header {
            Ok(_) => scan.chain(kept),
            Err(_) => crate::sidecar::chain(&header.encode()),
        },
        sidecar_len: (SIZE + kept * SIZE) as u64,
        checkpoint: scan.checkpoint().min(covered),
        strict: strict(&header),
    });
    let (lines, _) = rest.split_at(whole);
    // Who has made it may have been killed before its name was durable.
    storage
        .sync()
        .map_err(|error| cannot("sync", storage, "", error))?;
    let mended = mend_text(&mut segment, lines, now);
    mended.map_err(|error| cannot("recover", storage, &name, error))?;
    storage
        .point("current", &name)
        .map_err(|error| cannot("make", storage, "current", error))?;
    if !matches!(last[..], [] | [b'\n']) {
        let facts = json!({ "segment": name, "end": end });
        let how = "its end is damaged, and the log goes on in a new segment";
        let error = corrupt_segment(storage, &name, how);
        events::warn(storage, now, "text damaged", &facts, &error);
        // What comes next would go on in the damaged line, and be lost with it.
        segment = go_on_behind(storage, series, segment, now)?;
    }
    let recovery = Recovery {
        segment: name,
        end,
        cut: len - end,
        uncovered: whole as u64,
        restored: 0,
    };
    if clean && recovery.cut == 0 && recovery.uncovered == 0 {
        return Ok((segment, None));
    }
    let facts = json!({
        "segment": recovery.segment, "end": end, "cut": recovery.cut, "uncovered": whole,
    });
    events::note(storage, now, "recovered", &facts);
    Ok((segment, Some(recovery)))
}

/// Whether a sidecar is damaged as no crash damages it. Its header is durable before there is text.
pub(crate) fn is_damaged(scan: &Scan, len: u64) -> bool {
    scan.is_damaged || (scan.header.is_err() && len > 0)
}

/// Goes on behind a segment whose sidecar is damaged as no crash damages it. What it tells of the
/// text is all that can still be checked, so it is left as it is.
fn leave(
    storage: &Arc<dyn Storage>,
    series: Series,
    files: &SegmentFiles,
    before: Option<&SegmentFiles>,
    scan: &Scan,
    text: &dyn File,
    now: u64,
) -> Result<(Segment, Option<Recovery>), LogError> {
    let name = files.name.text();
    let cannot_read = |error| cannot("read", storage, &name, error);
    let len = text.size().map_err(cannot_read)?;
    let durable = scan.durable();
    let seal = scan
        .behind
        .iter()
        .find(|entry| entry.flags.has(Flags::SEAL));
    let rest = read_from(text, durable, len).map_err(cannot_read)?;
    let whole = match scan.is_strict() {
        true => sound_end(scan, text, len).map_err(cannot_read)? - durable,
        false => whole_lines(&rest) as u64,
    };
    let end = seal.map_or(durable + whole, |seal| seal.end);
    let known = scan.furthest().filter(|entry| entry.end <= end);
    let (from, lines) = match known {
        Some(entry) => (entry.end, entry.total_lines),
        None => (0, new_header(storage, series, files, before)?.base_lines),
    };
    let uncounted = read_from(text, from, end).map_err(cannot_read)?;
    if seal.is_none() && end < len {
        cut(storage, files, text, &rest, end)?;
    }
    let synced = text.sync_data();
    synced.map_err(|error| cannot("sync", storage, &name, error))?;
    let facts = json!({ "file": files.name.sidecar(), "end": end });
    let error = corrupt_segment(
        storage,
        &files.name.sidecar(),
        "it is damaged; its segment is left as it is, and the log goes on in a new one",
    );
    events::warn(storage, now, "sidecar damaged", &facts, &error);
    let tail = Tail {
        end: files.name.base + end,
        lines: lines + count_lines(&uncounted),
        previous_len: end,
        chain: scan.chain(scan.entries.len()),
    };
    let recovery = Recovery {
        segment: name,
        end,
        cut: if seal.is_some() { 0 } else { len - end },
        uncovered: 0,
        restored: 0,
    };
    Ok((create(storage, series, tail, now)?, Some(recovery)))
}

/// Has the sidecar of the last segment tell of no more text than there is, which is less than was
/// durable; what it told before is copied to `quarantine/`. Gives how many bytes are missing.
pub(crate) fn shorten(
    storage: &Arc<dyn Storage>,
    files: &SegmentFiles,
    scan: &Scan,
    len: u64,
    now: u64,
) -> Result<u64, LogError> {
    let file = files.name.sidecar();
    let kept = scan.entries.iter().take_while(|entry| entry.end <= len);
    let kept = kept.count();
    let copy = format!("quarantine/{file}");
    let whole = files.read_sidecar(storage)?;
    storage
        .replace(&copy, &whole)
        .map_err(|error| cannot("write", storage, &copy, error))?;
    let sidecar = storage.open(&file, true);
    let shortened = sidecar.and_then(|sidecar| {
        sidecar.truncate((SIZE + kept * SIZE) as u64)?;
        sidecar.sync_data()
    });
    shortened.map_err(|error| cannot("shorten", storage, &file, error))?;
    let missing = scan.durable() - len;
    let facts = json!({ "segment": files.name.text(), "end": len, "missing": missing });
    events::note(storage, now, "durable text is gone", &facts);
    Ok(missing)
}

/// How many entries hold, and up to where they reach: those beyond the checkpoint may cover text
/// that never came to the disk.
///
/// In a strict segment that may look like anything, so one that does not match is a tear there.
pub(crate) fn sound_entries(scan: &Scan, text: &dyn File, len: u64) -> io::Result<(usize, u64)> {
    let checkpoint = scan.checkpoint();
    let mut covered = 0;
    for (index, entry) in scan.entries.iter().enumerate() {
        if entry.end > len {
            return Ok((index, covered));
        }
        if entry.end > checkpoint && entry.flags.has(Flags::BLOCK) {
            let block = read_from(text, entry.end - u64::from(entry.len), entry.end)?;
            // Zeros are a tear. Anything else is damage that we cannot tell from a tear, so it
            // stays, and `verify` names it.
            let is_tear = || scan.is_strict() || memchr(0, &block).is_some();
            if checksum(0, &block) != entry.crc && is_tear() {
                return Ok((index, covered));
            }
        }
        covered = entry.end;
    }
    Ok((scan.entries.len(), covered))
}

/// Where the last block ends that matches its checksum, or what was durable: in a strict segment
/// whose sidecar is damaged.
pub(crate) fn sound_end(scan: &Scan, text: &dyn File, len: u64) -> io::Result<u64> {
    let mut end = scan.durable();
    for entry in scan.entries.iter().chain(&scan.behind) {
        let is_further = entry.end > end && entry.end <= len;
        if is_further && entry.flags.has(Flags::BLOCK) {
            let start = entry.end.saturating_sub(u64::from(entry.len));
            let block = read_from(text, start, entry.end)?;
            if checksum(0, &block) == entry.crc {
                end = entry.end;
            }
        }
    }
    Ok(end)
}

/// How much is kept of the text behind the last block that holds.
pub(crate) fn kept_lines(scan: &Scan, rest: &[u8]) -> usize {
    match scan.is_strict() {
        true => 0,
        false => whole_lines(rest),
    }
}

/// How much of `rest` is whole lines, before the first zero.
pub(crate) fn whole_lines(rest: &[u8]) -> usize {
    let (text, _) = rest.split_at(memchr(0, rest).unwrap_or(rest.len()));
    memrchr(b'\n', text).map_or(0, |newline| newline + 1)
}

/// Copies what is torn to `quarantine/`, durably, then cuts it off.
pub(crate) fn cut(
    storage: &Arc<dyn Storage>,
    files: &SegmentFiles,
    text: &dyn File,
    rest: &[u8],
    end: u64,
) -> Result<(), LogError> {
    let name = files.name.text();
    let len = text
        .size()
        .map_err(|error| cannot("read", storage, &name, error))?;
    let torn = usize::try_from(len - end).map_or(rest.len(), |torn| torn.min(rest.len()));
    let (_, torn) = rest.split_at(rest.len() - torn);
    let copy = format!("quarantine/{}.{end:020}.torn", files.name);
    storage
        .replace(&copy, torn)
        .map_err(|error| cannot("write", storage, &copy, error))?;
    text.truncate(end)
        .map_err(|error| cannot("cut", storage, &name, error))
}

/// Makes the text durable, then covers what had no checksum.
fn mend_text(segment: &mut Segment, lines: &[u8], now: u64) -> io::Result<()> {
    segment.sync_found()?;
    segment.recovered(lines, now);
    segment.note_all_durable(now);
    segment.flush()?;
    segment.sync_sidecar()
}

/// The sidecar, cut behind the entries that hold, or made anew.
fn mend_sidecar(
    storage: &Arc<dyn Storage>,
    files: &SegmentFiles,
    header: &Header,
    kept: usize,
    has_header: bool,
) -> io::Result<Box<dyn File>> {
    let file = files.name.sidecar();
    if !has_header {
        storage.replace(&file, &header.encode())?;
    }
    let sidecar = storage.open(&file, true)?;
    let len = (SIZE + kept * SIZE) as u64;
    if sidecar.size()? != len {
        sidecar.truncate(len)?;
    }
    Ok(sidecar)
}

/// The header of a segment whose sidecar is lost, from the one before it.
pub(crate) fn new_header(
    storage: &Arc<dyn Storage>,
    series: Series,
    files: &SegmentFiles,
    before: Option<&SegmentFiles>,
) -> Result<Header, LogError> {
    let mut header = Header {
        log_id: series.log_id,
        tail_rule: series.tail_rule,
        base: files.name.base,
        base_lines: 0,
        previous_len: 0,
        previous_chain: 0,
    };
    if let Some(before) = before {
        let scan = Scan::new(&before.read_sidecar(storage)?);
        if let Some(tail) = ended_tail(before, &scan) {
            header.base_lines = tail.lines;
            header.previous_len = tail.previous_len;
            header.previous_chain = tail.chain;
        }
    }
    Ok(header)
}

/// Makes the first segment after `tail`.
pub(crate) fn create(
    storage: &Arc<dyn Storage>,
    series: Series,
    tail: Tail,
    now: u64,
) -> Result<Segment, LogError> {
    Segment::create(storage, series, tail, now)
        .map_err(|error| cannot("make a segment in", storage, "", error))
}

/// The text between two offsets, as far as there is any.
pub(crate) fn read_from(text: &dyn File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let len = usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = text.read_full(&mut bytes, start)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// The file that identifies a log.
pub(crate) const META: &str = "META";

/// What identifies a log, from its `META`, which is made if there is none.
pub(crate) fn identity(storage: &Arc<dyn Storage>) -> Result<u128, LogError> {
    match read_meta(storage)? {
        None => {
            let id = first_id(storage)?.unwrap_or_else(random_id);
            let meta = json!({ "format": 1, "id": format!("{id:032x}") });
            storage
                .replace(META, format!("{meta}\n").as_bytes())
                .map_err(|error| cannot("write", storage, META, error))?;
            Ok(id)
        }
        Some(bytes) => sound_id(storage, &bytes)?.ok_or_else(|| {
            LogError::new(
                LogErrorKind::Corrupt,
                format!(
                    "`{}` is damaged: `withal log repair` makes it again",
                    storage.display(META)
                ),
            )
        }),
    }
}

/// What identifies a log, if it has begun; that is looked at only.
pub(crate) fn known_identity(storage: &Arc<dyn Storage>) -> Result<Option<u128>, LogError> {
    let meta = read_meta(storage)?;
    match meta.and_then(|meta| parse_meta(&meta)) {
        Some(id) => Ok(Some(id)),
        None => first_id(storage),
    }
}

/// How long the `META` is that cannot be used, if that is so.
pub(crate) fn damaged_identity(storage: &Arc<dyn Storage>) -> Result<Option<u64>, LogError> {
    let Some(bytes) = read_meta(storage)? else {
        return Ok(None);
    };
    let id = sound_id(storage, &bytes)?;
    Ok(id.is_none().then_some(bytes.len() as u64))
}

fn read_meta(storage: &Arc<dyn Storage>) -> Result<Option<Vec<u8>>, LogError> {
    match storage.open(META, false).and_then(|file| read_all(&*file)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // It can be made again.
        Err(error) if is_damage(&error) => Ok(Some(Vec::new())),
        Err(error) => Err(cannot("read", storage, META, error)),
    }
}

/// The identity in a `META`, unless the segments have another.
fn sound_id(storage: &Arc<dyn Storage>, meta: &[u8]) -> Result<Option<u128>, LogError> {
    let id = parse_meta(meta);
    let first = first_id(storage)?;
    Ok(id.filter(|id| first.is_none_or(|first| first == *id)))
}

fn parse_meta(bytes: &[u8]) -> Option<u128> {
    let meta: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    u128::from_str_radix(meta.get("id")?.as_str()?, 16).ok()
}

/// The identity that the segments of a log without `META` have.
pub(crate) fn first_id(storage: &Arc<dyn Storage>) -> Result<Option<u128>, LogError> {
    for files in Files::list(storage)?.segments() {
        // Where one cannot be read, others may tell.
        if let Ok(header) = Scan::new(&files.readable_sidecar(storage)?).header {
            return Ok(Some(header.log_id));
        }
    }
    Ok(None)
}

fn random_id() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(std::process::id()));
    half() << 64 | half()
}

pub(crate) fn cannot(
    doing: &str,
    storage: &Arc<dyn Storage>,
    file: &str,
    error: io::Error,
) -> LogError {
    LogError::io(format!("cannot {doing} `{}`", storage.display(file)), error)
}

fn missing(storage: &Arc<dyn Storage>, files: &SegmentFiles, scan: &Scan, len: u64) -> LogError {
    let end = due(scan);
    let how = format!("it was durable up to byte {end}, and has {len} bytes");
    match scan.is_ended() || is_damaged(scan, len) {
        true => corrupt_segment(
            storage,
            &files.name.text(),
            &format!(
                "it has lost durable content: {how}; `withal log repair --reindex` keeps what is there"
            ),
        ),
        false => corrupt(storage, files, &how),
    }
}

/// How much text there should be at least.
pub(crate) fn due(scan: &Scan) -> u64 {
    match scan.is_ended() {
        true => scan.covered(),
        false => scan.durable(),
    }
}

pub(crate) fn corrupt_segment(storage: &Arc<dyn Storage>, file: &str, how: &str) -> LogError {
    LogError::new(
        LogErrorKind::Corrupt,
        format!(
            "`{}`: {how}; `withal log verify` shows what is wrong",
            storage.display(file)
        ),
    )
}

fn corrupt(storage: &Arc<dyn Storage>, files: &SegmentFiles, how: &str) -> LogError {
    LogError::new(
        LogErrorKind::Corrupt,
        format!(
            "`{}` has lost durable content: {how}; `withal log repair` keeps what is there",
            storage.display(&files.name.text())
        ),
    )
}
