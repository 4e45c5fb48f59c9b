//! What is durable in the commit ring only, after a crash: putting it back.

use std::io;
use std::sync::Arc;

use serde_json::json;

use crate::error::LogError;
use crate::events;
use crate::files::{Files, SegmentFiles, remove_durably};
use crate::read::whole_end;
use crate::recover::{
    self, cannot, corrupt_segment, create, cut, known_identity, read_from, sound_entries,
    whole_lines,
};
use crate::ring::{self, Frame, Outstanding, Place, Saved};
use crate::scan::Scan;
use crate::segment::{Segment, Series, Tail};
use crate::storage::Storage;

/// Removes the commit ring, of which nothing is needed, durably: what it tells is no longer so.
pub(crate) fn remove_ring(storage: &Arc<dyn Storage>) -> Result<(), LogError> {
    match remove_durably(storage, &[ring::FILE.to_owned()]) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(|error| cannot("remove", storage, ring::FILE, error)),
    }
}

/// What was taken back from the end of a text, for it to be written again.
#[derive(Debug, Default)]
pub(crate) struct TakenBack {
    /// How much of what the ring has the text had, too.
    known: u64,
    /// The whole lines behind what the ring has.
    behind: Vec<u8>,
    /// How many bytes after them were torn, and are in `quarantine/` now.
    pub(crate) cut: u64,
    /// How many bytes of the whole lines had no checksum.
    pub(crate) uncovered: u64,
}

impl TakenBack {
    /// Whether there is nothing to tell of it.
    pub(crate) fn is_nothing(&self) -> bool {
        self.cut == 0 && self.uncovered == 0
    }
}

/// Takes back from the last text what may be durable in the ring only.
///
/// A sync of it may have failed, and whoever was told of that was killed: the next one would say that
/// it is durable. So it is to be written again, from the ring; behind that there is nothing that
/// anybody was promised. A crash before it is written leaves it in the ring.
pub(crate) fn take_back(storage: &Arc<dyn Storage>, saved: &Saved) -> Result<TakenBack, LogError> {
    let unsynced = saved.unsynced();
    if unsynced.is_empty() {
        return Ok(TakenBack::default());
    }
    let files = Files::list(storage)?;
    let last = files.segments().last().filter(|last| last.has_text);
    let Some(last) = last.filter(|last| unsynced.end > last.name.base) else {
        return Ok(TakenBack::default());
    };
    let (base, name) = (last.name.base, last.name.text());
    let cannot_read = |error| cannot("read", storage, &name, error);
    let scan = Scan::new(&last.read_sidecar(storage)?);
    let text = storage.open(&name, true).map_err(cannot_read)?;
    let len = text.size().map_err(cannot_read)?;
    let from = scan.durable().max(unsynced.start.saturating_sub(base));
    let is_there = from < len && base + from < unsynced.end && saved.has_all_from(base + from);
    let is_other = scan.is_ended() || scan.is_strict() || recover::is_damaged(&scan, len);
    if !is_there || is_other {
        return Ok(TakenBack::default());
    }
    // What it told before, such as where a failed sync has ended it, must not come back.
    let sidecar = last.name.sidecar();
    let synced = storage
        .open(&sidecar, true)
        .and_then(|file| file.sync_data());
    synced.map_err(|error| cannot("sync", storage, &sidecar, error))?;
    let (_, covered) = sound_entries(&scan, &*text, len).map_err(cannot_read)?;
    let rest = read_from(&*text, from, len).map_err(cannot_read)?;
    let whole = whole_lines(&rest);
    let end = from + whole as u64;
    if end < len {
        cut(storage, last, &*text, &rest, end)?;
    }
    text.truncate(from)
        .map_err(|error| cannot("cut", storage, &name, error))?;
    let (lines, _) = rest.split_at(whole);
    let known = (unsynced.end - base - from).min(whole as u64);
    Ok(TakenBack {
        known,
        behind: lines.split_at(known as usize).1.to_vec(),
        cut: len - end,
        uncovered: end.saturating_sub(covered),
    })
}

/// Puts back what is durable in the commit ring only, and what was taken back behind it; gives how
/// many bytes of that the text had not.
pub(crate) fn restore(
    storage: &Arc<dyn Storage>,
    series: Series,
    mut segment: Segment,
    frames: &[Frame],
    taken: &TakenBack,
    now: u64,
) -> Result<(Segment, u64), LogError> {
    let mut restored = 0;
    let write = |segment: &mut Segment, text: &[u8]| {
        // A write asks for space, be there anything to write or not.
        if text.is_empty() {
            return Ok(());
        }
        let written = segment.write(text, now, now);
        written.map_err(|stopped| cannot("write", storage, &segment.name.text(), stopped.error))
    };
    for frame in frames {
        if frame.place.start > segment.tail().end {
            segment = go_on_at(storage, series, segment, frame.place, now)?;
        }
        let known = segment.tail().end - frame.place.start;
        let Some((_, text)) = frame.text.split_at_checked(known as usize) else {
            continue;
        };
        write(&mut segment, text)?;
        restored += text.len() as u64;
    }
    write(&mut segment, &taken.behind)?;
    let name = segment.name.text();
    make_durable(&mut segment, now).map_err(|error| cannot("recover", storage, &name, error))?;
    let restored = restored.saturating_sub(taken.known);
    if restored > 0 {
        let facts = json!({ "segment": name, "end": segment.len, "bytes": restored });
        events::note(storage, now, "restored from the commit ring", &facts);
    }
    Ok((segment, restored))
}

/// Ends a segment behind which durable text is gone: the place of that stays free, so that nobody
/// takes what comes now for what was there.
fn go_on_at(
    storage: &Arc<dyn Storage>,
    series: Series,
    mut segment: Segment,
    place: Place,
    now: u64,
) -> Result<Segment, LogError> {
    let (name, tail) = (segment.name.text(), segment.tail());
    let facts = json!({ "segment": name, "bytes": place.start - tail.end });
    let how = "durable text behind it is gone, and the log goes on behind that";
    let error = corrupt_segment(storage, &name, how);
    events::warn(storage, now, "text missing", &facts, &error);
    let ended = make_durable(&mut segment, now)
        .and_then(|()| segment.seal(now))
        .and_then(|()| segment.finish());
    ended.map_err(|error| cannot("end", storage, &name, error))?;
    let tail = Tail {
        end: place.start,
        lines: place.lines,
        ..segment.tail()
    };
    create(storage, series, tail, now)
}

/// Makes text durable that was put back, and says so in the sidecar.
fn make_durable(segment: &mut Segment, now: u64) -> io::Result<()> {
    if segment.durable == segment.len {
        return Ok(());
    }
    segment.sync()?;
    segment.note_checkpoint(now);
    segment.flush()?;
    segment.sync_sidecar()
}

/// What the ring of a log has that its text has not, and where in the log that ends.
///
/// It is nothing while the log is written: then the text has all that the ring has.
pub(crate) fn outstanding(storage: &Arc<dyn Storage>) -> Result<(Outstanding, u64), LogError> {
    let Some(log_id) = known_identity(storage)? else {
        return Ok(Default::default());
    };
    // In this order: it is written the other way round.
    let saved = Saved::read(storage, log_id)?;
    if saved.frames.is_empty() {
        return Ok(Default::default());
    }
    let end = end(storage)?;
    Ok((saved.outstanding(end), end))
}

/// Where the text of a log ends, in all of its segments.
fn end(storage: &Arc<dyn Storage>) -> Result<u64, LogError> {
    let mut files = Files::list(storage)?;
    loop {
        let Some(last) = files.segments().last() else {
            return Ok(0);
        };
        let is_gone = |error: &LogError| {
            let error = error.io_error();
            error.is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        match end_of(storage, last) {
            // Others have followed since it was listed, and retention has removed it.
            Err(error) if is_gone(&error) => {
                let again = Files::list(storage)?;
                if again.segments().last().map(|last| &last.name) == Some(&last.name) {
                    return Err(error);
                }
                files = again;
            }
            len => return Ok(last.name.base + len?),
        }
    }
}

/// Where the text of the last segment ends.
fn end_of(storage: &Arc<dyn Storage>, last: &SegmentFiles) -> Result<u64, LogError> {
    let scan = Scan::new(&last.read_sidecar(storage)?);
    if scan.sealed().is_some() {
        return Ok(scan.covered());
    }
    // What is behind the end of one that a failed sync has ended, is being written to the next one.
    let whole = whole_end(storage, last, &*last.open_text(storage)?, &scan)?;
    Ok(whole.max(recover::due(&scan)))
}
