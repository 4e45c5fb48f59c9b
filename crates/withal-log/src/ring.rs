//! The commit ring: a small file in which records become durable by one write.
//!
//! To sync a text that grows, the disk writes the text, and then how long it is. The ring has its
//! length from the start, and what is in it is replaced where it lies, so one write of it is all
//! there is to wait for. What is in the ring is in the text, too: that is synced once a second, and
//! beside the writing when the ring is half full. What is durable there, the ring need not keep.
//!
//! `docs/log-format.md` specifies it byte by byte.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::checksum::checksum;
use crate::error::LogError;
use crate::hole::read_around;
use crate::sidecar::Fields;
use crate::storage::{Overwrite, PAGE, Storage};

/// What the file is called, and how long it is made.
pub(crate) const FILE: &str = "ring";
pub(crate) const SIZE: u64 = 4 << 20;
/// How much is looked at of one that is longer.
const LONGEST: u64 = 64 << 20;
/// How much text a frame has at most: to write more than that twice takes longer than to sync it.
const MOST: u64 = 256 << 10;

const MAGIC: [u8; 8] = *b"withalrg";
/// How long a frame's header is, and how much of it is before the checksum.
const HEADER: usize = 64;
const CHECKED: usize = 60;

/// Where in the log a frame's text stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    /// How many bytes and lines the log has before it.
    pub(crate) start: u64,
    pub(crate) lines: u64,
    /// Up to where the log was durable without the ring.
    pub(crate) synced: u64,
}

/// The ring of a log that is being written.
#[derive(Debug)]
pub(crate) struct Ring {
    file: Box<dyn Overwrite>,
    size: u64,
    log_id: u128,
    pages: Pages,
    /// The number of the next frame, and where it goes.
    next: u64,
    at: u64,
    /// The last frame and those before it that it does not tell to be durable without the ring: where
    /// each begins, and where in the log it ends. All of them stay until the next one tells more: a
    /// power loss may leave less of that than was overwritten for it.
    needed: VecDeque<(u64, u64)>,
    /// What the last frame tells to be durable without the ring.
    synced: u64,
}

impl Ring {
    /// Opens the ring of a log, made if there is none of this size; `None` where it would be of no
    /// use. Its next frame has the number `next`.
    pub(crate) fn open(
        storage: &Arc<dyn Storage>,
        size: u64,
        log_id: u128,
        next: u64,
    ) -> io::Result<Option<Ring>> {
        let file = storage.overwritten(FILE, size)?;
        Ok(file.map(|file| Ring {
            file,
            size,
            log_id,
            pages: Pages::new(frame_len(MOST).min(size)),
            next,
            at: 0,
            needed: VecDeque::new(),
            synced: 0,
        }))
    }

    /// Whether so much text can be written now, and after it a frame without text.
    pub(crate) fn has_room(&self, len: u64) -> bool {
        len <= MOST && self.room_for(frame_len(len) + PAGE).is_some()
    }

    /// Where a frame of so many bytes overwrites nothing that is needed.
    fn room_for(&self, len: u64) -> Option<u64> {
        let (at_start, behind) = match self.needed.front() {
            None => (self.size, self.size),
            Some((oldest, _)) if *oldest < self.at => (*oldest, self.size),
            Some((oldest, _)) => (0, *oldest),
        };
        if self.at + len <= behind {
            return Some(self.at);
        }
        (len <= at_start).then_some(0)
    }

    /// Makes `len` bytes of text durable, for which there is room.
    ///
    /// After an error nothing is known of them.
    pub(crate) fn write<'t>(
        &mut self,
        place: Place,
        len: u64,
        text: impl Iterator<Item = &'t [u8]>,
    ) -> io::Result<()> {
        let room = self.room_for(frame_len(len));
        let at = room.ok_or(io::ErrorKind::StorageFull)?;
        let frame = self.pages.frame(self.log_id, self.next, place, len, text);
        self.file.overwrite(frame, at)?;
        self.at = at + frame.len() as u64;
        self.next += 1;
        self.synced = place.synced;
        while self
            .needed
            .front()
            .is_some_and(|(_, end)| *end <= self.synced)
        {
            let _ = self.needed.pop_front();
        }
        self.needed.push_back((at, place.start + len));
        Ok(())
    }

    /// Whether, as it tells, something may be durable in it only.
    pub(crate) fn is_needed(&self) -> bool {
        let last = self.needed.back();
        last.is_some_and(|(_, end)| *end > self.synced)
    }

    /// Whether it is time to make the text durable, lest there be no room.
    pub(crate) fn is_half_full(&self) -> bool {
        let oldest = self.needed.front();
        let used = oldest.map_or(0, |(oldest, _)| (self.at + self.size - oldest) % self.size);
        used >= self.size / 2
    }
}

/// How much of the ring a frame takes with so much text.
fn frame_len(text: u64) -> u64 {
    (HEADER as u64 + text).next_multiple_of(PAGE)
}

/// Memory from which a disk takes whole pages: it begins with one.
#[derive(Debug)]
struct Pages {
    bytes: Vec<u8>,
    start: usize,
}

impl Pages {
    /// For frames of up to `len` bytes.
    fn new(len: u64) -> Pages {
        let bytes = vec![0; (len + PAGE) as usize];
        let start = bytes.as_ptr().align_offset(PAGE as usize);
        Pages { bytes, start }
    }

    fn frame<'t>(
        &mut self,
        log_id: u128,
        number: u64,
        place: Place,
        len: u64,
        text: impl Iterator<Item = &'t [u8]>,
    ) -> &[u8] {
        let Pages { bytes, start } = self;
        // It never grows beyond what it was made for, so it stays where it is.
        bytes.truncate(*start);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&log_id.to_le_bytes());
        bytes.extend_from_slice(&place.start.to_le_bytes());
        bytes.extend_from_slice(&place.lines.to_le_bytes());
        bytes.extend_from_slice(&place.synced.to_le_bytes());
        bytes.extend_from_slice(&(len as u32).to_le_bytes());
        bytes.extend_from_slice(&[0; HEADER - CHECKED]);
        text.for_each(|text| bytes.extend_from_slice(text));
        let (_, frame) = bytes.split_at_mut(*start);
        let (header, text) = frame.split_at_mut(HEADER);
        debug_assert_eq!(text.len() as u64, len);
        let (checked, crc) = header.split_at_mut(CHECKED);
        crc.copy_from_slice(&checksum(checksum(0, checked), text).to_le_bytes());
        bytes.resize(*start + frame_len(len) as usize, 0);
        bytes.split_at(*start).1
    }
}

/// Text that was made durable at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Frames are numbered as they are written.
    number: u64,
    pub(crate) place: Place,
    pub(crate) text: Vec<u8>,
}

impl Frame {
    /// The frame that begins with `bytes`, if there is a whole one of this log.
    fn decode(bytes: &[u8], log_id: u128) -> Option<Frame> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
        let mut fields = Fields(header);
        if fields.take() != MAGIC {
            return None;
        }
        let number = u64::from_le_bytes(fields.take());
        let is_ours = u128::from_le_bytes(fields.take()) == log_id;
        let place = Place {
            start: u64::from_le_bytes(fields.take()),
            lines: u64::from_le_bytes(fields.take()),
            synced: u64::from_le_bytes(fields.take()),
        };
        let len = u32::from_le_bytes(fields.take());
        let crc = u32::from_le_bytes(fields.take());
        let text = rest.get(..len as usize)?;
        let (checked, _) = header.split_at(CHECKED);
        let is_whole = checksum(checksum(0, checked), text) == crc;
        // No log has come so far, and none has more lines than bytes.
        let is_possible =
            number.max(place.start) < u64::MAX / 2 && place.lines.max(place.synced) <= place.start;
        (is_ours && is_whole && is_possible).then(|| Frame {
            number,
            place,
            text: text.to_vec(),
        })
    }

    /// Where in the log its text ends.
    pub(crate) fn end(&self) -> u64 {
        self.place.start + self.text.len() as u64
    }
}

/// What the ring of a log holds that is being opened or read.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    /// What may be durable in the ring only, in the order of the log.
    pub(crate) frames: Vec<Frame>,
    /// Where a part of it cannot be read.
    pub(crate) damaged: Option<u64>,
    is_there: bool,
}

impl Saved {
    /// Reads the ring, if there is one.
    pub(crate) fn read(storage: &Arc<dyn Storage>, log_id: u128) -> Result<Saved, LogError> {
        let cannot =
            |error| LogError::io(format!("cannot read `{}`", storage.display(FILE)), error);
        let file = match storage.open(FILE, false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Saved::default()),
            Err(error) => return Err(cannot(error)),
        };
        let len = file.size().map_err(cannot)?.min(LONGEST);
        let (bytes, damaged) = match read_around(&*file, 0, len) {
            // Whatever it is, it is no ring.
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                return Ok(Saved::default());
            }
            read => read.map_err(cannot)?,
        };
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let frame = Frame::decode(rest, log_id);
            let len = frame
                .as_ref()
                .map_or(PAGE, |frame| frame_len(frame.text.len() as u64));
            rest = rest.get(len as usize..).unwrap_or_default();
            frames.extend(frame);
        }
        Ok(Saved {
            frames: needed(frames),
            damaged,
            is_there: true,
        })
    }

    /// The number of the frame after all that are there, if there is a ring.
    pub(crate) fn next(&self) -> Option<u64> {
        let next = self.frames.last().map_or(1, |last| last.number + 1);
        self.is_there.then_some(next)
    }

    /// The part of the log that may be durable in it only.
    pub(crate) fn unsynced(&self) -> Range<u64> {
        let last = self.frames.last();
        last.map_or(0..0, |last| last.place.synced..last.end())
    }

    /// Whether it has all of the log from there on that may be durable in it only.
    pub(crate) fn has_all_from(&self, start: u64) -> bool {
        let mut at = start;
        for frame in &self.frames {
            if frame.place.start > at {
                return false;
            }
            at = at.max(frame.end());
        }
        true
    }

    /// What it has behind `end`, where the text ends.
    pub(crate) fn outstanding(&self, end: u64) -> Outstanding {
        let mut outstanding = Outstanding::default();
        let mut at = end;
        for frame in &self.frames {
            let start = frame.place.start.max(at);
            outstanding.gone += start - at;
            outstanding.saved += frame.end().saturating_sub(start);
            at = start.max(frame.end());
        }
        outstanding
    }
}

/// What was durable and is not in the text of a log, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outstanding {
    /// What the ring has of it.
    pub(crate) saved: u64,
    /// What it has not.
    pub(crate) gone: u64,
}

/// The last frame, and those before it that may be durable in the ring only.
///
/// The last one tells up to where the log was durable without it. None is overwritten before that is
/// behind it, so all are there; others are left of what the ring was used for before.
fn needed(mut frames: Vec<Frame>) -> Vec<Frame> {
    frames.sort_by_key(|frame| frame.number);
    let last = frames.pop();
    let synced = last.as_ref().map_or(0, |last| last.place.synced);
    frames.retain(|frame| frame.end() > synced);
    frames.extend(last);
    frames
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        start: 1 << 40,
        lines: 3,
        synced: 5,
    };

    fn encoded() -> Vec<u8> {
        let text: [&[u8]; 2] = [b"one\n", b"two\n"];
        let mut pages = Pages::new(PAGE);
        pages.frame(7, 9, PLACE, 8, text.into_iter()).to_vec()
    }

    #[test]
    fn frames_come_back() {
        let frame = Frame {
            number: 9,
            place: PLACE,
            text: b"one\ntwo\n".to_vec(),
        };
        assert_eq!(encoded().len() as u64, PAGE);
        assert_eq!(Frame::decode(&encoded(), 7), Some(frame));
        assert_eq!(Frame::decode(&encoded(), 8), None, "of another log");
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for bit in 0..(HEADER + 8) * 8 {
            let mut bytes = encoded();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Frame::decode(&bytes, 7), None, "bit {bit}");
        }
    }

    #[test]
    fn frames_lie_where_a_disk_takes_them_from() {
        let mut pages = Pages::new(4 * PAGE);
        for len in [0, 1, PAGE - 64, PAGE, 4 * PAGE - 64] {
            let text = vec![b'x'; len as usize];
            let frame = pages.frame(7, 9, PLACE, len, [&text[..]].into_iter());
            assert_eq!(frame.as_ptr().addr() % PAGE as usize, 0);
            assert_eq!(frame.len() as u64, frame_len(len));
        }
    }
}
