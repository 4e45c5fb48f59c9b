//! The sidecar of a segment: one header and entries of 64 bytes, each with its checksum.
//!
//! `docs/log-format.md` specifies it byte by byte. All numbers are little-endian.

use std::ops::{BitOr, BitOrAssign};

use crate::checksum::checksum;
use crate::options::TailRule;

/// The size of the header and of each entry: none straddles a sector.
pub(crate) const SIZE: usize = 64;

/// The header's or an entry's bytes.
pub(crate) type Raw = [u8; SIZE];

const MAGIC: [u8; 8] = *b"withalix";
const VERSION: u16 = 1;
/// The checksum of a header or an entry is of all bytes before it.
const CHECKED: usize = 60;

/// What a sidecar says of its segment as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The same in all segments of a log.
    pub(crate) log_id: u128,
    /// How many bytes of the log lie before this segment.
    pub(crate) base: u64,
    /// How many lines do.
    pub(crate) base_lines: u64,
    /// How many bytes the segment before it has; 0 for the first.
    pub(crate) previous_len: u64,
    /// The checksum of the last entry of the segment before it.
    pub(crate) previous_chain: u32,
    /// How its text is written, and where it ends after a crash.
    pub(crate) tail_rule: TailRule,
}

/// The flag of a header whose segment is written strictly.
const STRICT: u16 = 1;

/// Why a header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Torn, flipped, or no sidecar at all.
    Damaged,
    /// Whole, but written by a version that we do not know.
    Version(u16),
}

impl Header {
    pub(crate) fn encode(&self) -> Raw {
        let mut raw = Writer::new();
        raw.put(&MAGIC);
        raw.put(&VERSION.to_le_bytes());
        let flags = match self.tail_rule {
            TailRule::Text => 0,
            TailRule::Strict => STRICT,
        };
        raw.put(&flags.to_le_bytes());
        raw.put(&self.previous_chain.to_le_bytes());
        raw.put(&self.log_id.to_le_bytes());
        raw.put(&self.base.to_le_bytes());
        raw.put(&self.previous_len.to_le_bytes());
        raw.put(&self.base_lines.to_le_bytes());
        raw.put(&[0; 4]);
        raw.finish(CHECKED)
    }

    pub(crate) fn decode(raw: &Raw) -> Result<Header, BadHeader> {
        let mut fields = Fields(raw);
        if fields.take::<8>() != MAGIC || !is_whole(raw, CHECKED) {
            return Err(BadHeader::Damaged);
        }
        let version = u16::from_le_bytes(fields.take());
        if version != VERSION {
            return Err(BadHeader::Version(version));
        }
        let flags = u16::from_le_bytes(fields.take());
        Ok(Header {
            tail_rule: match flags & STRICT {
                0 => TailRule::Text,
                _ => TailRule::Strict,
            },
            previous_chain: u32::from_le_bytes(fields.take()),
            log_id: u128::from_le_bytes(fields.take()),
            base: u64::from_le_bytes(fields.take()),
            previous_len: u64::from_le_bytes(fields.take()),
            base_lines: u64::from_le_bytes(fields.take()),
        })
    }
}

/// What an entry is about.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flags(u32);

impl Flags {
    /// It has the checksum of a block of text.
    pub(crate) const BLOCK: Flags = Flags(1);
    /// The text up to its end was durable before it was written.
    pub(crate) const CHECKPOINT: Flags = Flags(1 << 1);
    /// The segment ends here.
    pub(crate) const SEAL: Flags = Flags(1 << 2);
    /// It holds the BLAKE3 hash of the sealed segment.
    pub(crate) const HASH: Flags = Flags(1 << 3);
    /// Written by recovery, from text that nobody had checksummed before.
    pub(crate) const RECOVERED: Flags = Flags(1 << 4);
    /// A sync failed: the text counts up to its end only, and goes on in the next segment.
    pub(crate) const POISONED: Flags = Flags(1 << 5);
    /// Lines were dropped before it, because the disk was full.
    pub(crate) const DROPPED: Flags = Flags(1 << 6);
    /// The clock stepped back in it: its lines are not in the order of time.
    pub(crate) const CLOCK_STEP: Flags = Flags(1 << 7);

    pub(crate) fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Flags) {
        self.0 |= other.0;
    }
}

impl std::fmt::Debug for Flags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// One entry: a block of text, or something that happened at an offset of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Where in the segment what it is about ends.
    pub(crate) end: u64,
    /// How many bytes of text it covers: those before `end`. How many of them were not durable, if
    /// it is a checkpoint.
    pub(crate) len: u32,
    /// The checksum of what it covers.
    pub(crate) crc: u32,
    /// When its first and last lines were written, in milliseconds since 1970.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// How many lines it covers.
    pub(crate) lines: u32,
    pub(crate) flags: Flags,
    /// How many lines the log has up to `end`.
    pub(crate) total_lines: u64,
    /// How many lines were dropped just before it.
    pub(crate) dropped: u32,
    /// In a strict segment the checksum of its header, by which the entry is known from what other
    /// files have left on the disk; else 0.
    pub(crate) header: u32,
}

/// The offset of `flags`, which stand at the same place in every kind of entry.
const FLAGS: usize = 36;

impl Entry {
    /// Its bytes after the entry, or the header, whose checksum is `chain`.
    pub(crate) fn encode(&self, chain: u32) -> Raw {
        let mut raw = Writer::new();
        raw.put(&self.end.to_le_bytes());
        raw.put(&self.len.to_le_bytes());
        raw.put(&self.crc.to_le_bytes());
        raw.put(&self.first.to_le_bytes());
        raw.put(&self.last.to_le_bytes());
        raw.put(&self.lines.to_le_bytes());
        raw.put(&self.flags.0.to_le_bytes());
        raw.put(&self.total_lines.to_le_bytes());
        raw.put(&chain.to_le_bytes());
        raw.put(&self.dropped.to_le_bytes());
        raw.put(&self.header.to_le_bytes());
        raw.finish(CHECKED)
    }

    /// The entry in `raw`, if it is whole and follows what has the checksum `chain`.
    pub(crate) fn decode(raw: &Raw, chain: u32) -> Option<Entry> {
        let (entry, before) = Entry::decode_alone(raw)?;
        (before == chain).then_some(entry)
    }

    /// The entry in `raw`, if it is whole, and the checksum of what it follows.
    pub(crate) fn decode_alone(raw: &Raw) -> Option<(Entry, u32)> {
        if !is_whole(raw, CHECKED) || flags(raw).has(Flags::HASH) {
            return None;
        }
        let mut fields = Fields(raw);
        let mut entry = Entry {
            end: u64::from_le_bytes(fields.take()),
            len: u32::from_le_bytes(fields.take()),
            crc: u32::from_le_bytes(fields.take()),
            first: u64::from_le_bytes(fields.take()),
            last: u64::from_le_bytes(fields.take()),
            lines: u32::from_le_bytes(fields.take()),
            flags: Flags(u32::from_le_bytes(fields.take())),
            total_lines: u64::from_le_bytes(fields.take()),
            ..Entry::default()
        };
        let before = u32::from_le_bytes(fields.take());
        entry.dropped = u32::from_le_bytes(fields.take());
        entry.header = u32::from_le_bytes(fields.take());
        Some((entry, before))
    }

    /// Whether it tells how much of the text was durable before it was written.
    pub(crate) fn is_checkpoint(&self) -> bool {
        self.flags.has(Flags::CHECKPOINT) || self.flags.has(Flags::SEAL)
    }

    /// Up to where that was, if it is a checkpoint.
    pub(crate) fn durable(&self) -> u64 {
        self.end.saturating_sub(u64::from(self.len))
    }
}

/// The entry that holds a sealed segment's hash, after what has the checksum `chain`.
pub(crate) fn encode_hash(hash: &blake3::Hash, chain: u32) -> Raw {
    let mut raw = Writer::new();
    raw.put(hash.as_bytes());
    raw.put(&[0; 4]);
    raw.put(&Flags::HASH.0.to_le_bytes());
    raw.put(&[0; 8]);
    raw.put(&chain.to_le_bytes());
    raw.put(&[0; 8]);
    raw.finish(CHECKED)
}

/// The hash in `raw`, if it is a whole entry with one that follows `chain`.
pub(crate) fn decode_hash(raw: &Raw, chain: u32) -> Option<blake3::Hash> {
    if !is_whole(raw, CHECKED) || !flags(raw).has(Flags::HASH) {
        return None;
    }
    let mut fields = Fields(raw);
    let hash: [u8; 32] = fields.take();
    let _: [u8; 16] = fields.take();
    (u32::from_le_bytes(fields.take()) == chain).then(|| hash.into())
}

/// The checksum that the next entry chains to.
pub(crate) fn chain(raw: &Raw) -> u32 {
    let mut fields = Fields(raw.split_at(CHECKED).1);
    u32::from_le_bytes(fields.take())
}

pub(crate) fn flags(raw: &Raw) -> Flags {
    let mut fields = Fields(raw.split_at(FLAGS).1);
    Flags(u32::from_le_bytes(fields.take()))
}

fn is_whole(raw: &Raw, checked: usize) -> bool {
    let (content, _) = raw.split_at(checked);
    checksum(0, content) == chain(raw)
}

struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Writer {
        Writer(Vec::with_capacity(SIZE))
    }

    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(mut self, checked: usize) -> Raw {
        debug_assert_eq!(self.0.len(), checked);
        let crc = checksum(0, &self.0);
        self.put(&crc.to_le_bytes());
        let mut raw = [0; SIZE];
        raw.copy_from_slice(&self.0);
        raw
    }
}

/// Takes fields off the front; there are never more than bytes.
pub(crate) struct Fields<'r>(pub(crate) &'r [u8]);

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk().expect("fields fit an entry");
        self.0 = rest;
        *field
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        log_id: 7,
        base: 1 << 40,
        base_lines: 3,
        previous_len: 2,
        previous_chain: 9,
        tail_rule: TailRule::Text,
    };

    fn entry() -> Entry {
        Entry {
            end: 70,
            len: 70,
            crc: 1,
            first: 2,
            last: 3,
            lines: 4,
            flags: Flags::BLOCK | Flags::RECOVERED,
            total_lines: 5,
            dropped: 6,
            header: 7,
        }
    }

    #[test]
    fn headers_and_entries_come_back() {
        let raw = HEADER.encode();
        assert_eq!(Header::decode(&raw), Ok(HEADER));
        let strict = Header {
            tail_rule: TailRule::Strict,
            ..HEADER
        };
        assert_eq!(Header::decode(&strict.encode()), Ok(strict));
        let raw = entry().encode(chain(&raw));
        assert_eq!(Entry::decode(&raw, chain(&HEADER.encode())), Some(entry()));
        assert!(flags(&raw).has(Flags::BLOCK));
        let hash = blake3::hash(b"text");
        let raw = encode_hash(&hash, 8);
        assert_eq!(decode_hash(&raw, 8), Some(hash));
        assert_eq!(decode_hash(&raw, 9), None);
    }

    #[test]
    fn any_flipped_bit_is_found() {
        for bit in 0..SIZE * 8 {
            let flip = |mut raw: Raw| {
                raw[bit / 8] ^= 1 << (bit % 8);
                raw
            };
            assert_eq!(
                Header::decode(&flip(HEADER.encode())),
                Err(BadHeader::Damaged)
            );
            assert_eq!(Entry::decode(&flip(entry().encode(1)), 1), None);
            assert_eq!(
                decode_hash(&flip(encode_hash(&blake3::hash(b""), 1)), 1),
                None
            );
        }
    }

    #[test]
    fn entries_of_another_place_are_refused() {
        assert_eq!(Entry::decode(&entry().encode(1), 2), None);
        assert_eq!(Entry::decode(&[0; SIZE], 0), None);
    }
}
