//! What is durable in the commit ring only, after a crash: putting it back.

use std::io;
use std::sync::Arc;

use serde_json::json;

use crate::error::LogError;
use crate::events;
use crate::files::Files;
use crate::read::whole_end;
use crate::recover::{cannot, corrupt_segment, create, known_identity};
use crate::ring::{self, Frame, Outstanding, Place, Saved};
use crate::scan::Scan;
use crate::segment::{Segment, Series, Tail};
use crate::storage::Storage;

/// Removes the commit ring, of which nothing is needed: one that stays does no harm.
pub(crate) fn remove_ring(storage: &Arc<dyn Storage>) {
    match storage.remove(ring::FILE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            events::tell(&cannot("remove", storage, ring::FILE, error));
        }
        _ => {}
    }
}

/// Puts back what is durable in the commit ring only; gives how many bytes that was.
pub(crate) fn restore(
    storage: &Arc<dyn Storage>,
    series: Series,
    mut segment: Segment,
    frames: &[Frame],
    now: u64,
) -> Result<(Segment, u64), LogError> {
    let mut restored = 0;
    for frame in frames {
        if frame.place.start > segment.tail().end {
            segment = go_on_at(storage, series, segment, frame.place, now)?;
        }
        let known = segment.tail().end - frame.place.start;
        let Some((_, text)) = frame.text.split_at_checked(known as usize) else {
            continue;
        };
        let written = segment.write(text, now, now);
        written.map_err(|stopped| cannot("write", storage, &segment.name.text(), stopped.error))?;
        restored += text.len() as u64;
    }
    let name = segment.name.text();
    make_durable(&mut segment, now).map_err(|error| cannot("recover", storage, &name, error))?;
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
    let files = Files::list(storage)?;
    let Some(last) = files.segments().last() else {
        return Ok(0);
    };
    let scan = Scan::new(&last.read_sidecar(storage)?);
    let len = match scan.is_ended() {
        true => scan.covered(),
        false => {
            whole_end(storage, last, &*last.open_text(storage)?, &scan)?.max(scan.checkpoint())
        }
    };
    Ok(last.name.base + len)
}
