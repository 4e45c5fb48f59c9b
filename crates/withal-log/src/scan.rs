//! Reading a sidecar, however damaged.

use crate::options::TailRule;
use crate::sidecar::{self, BadHeader, Entry, Flags, Header, Raw, SIZE};

/// What a sidecar tells, as far as it is whole.
#[derive(Debug)]
pub(crate) struct Scan {
    pub(crate) header: Result<Header, BadHeader>,
    /// The longest whole chain of entries, without the hash.
    pub(crate) entries: Vec<Entry>,
    /// The checksums that the entry after each of them must chain to; the header's first.
    chains: Vec<u32>,
    /// The hash of a sealed segment.
    pub(crate) hash: Option<blake3::Hash>,
    /// How many bytes lie behind what is whole.
    pub(crate) rest: usize,
    /// Entries that are whole, and stand behind what is not.
    pub(crate) behind: Vec<Entry>,
    /// Whether something is broken as no crash breaks it: the header, which is durable before there
    /// is any text, or an entry that was written, for none lies in two sectors. In a strict segment a
    /// crash breaks any that was not synced, so then something behind it must be a checkpoint.
    pub(crate) is_damaged: bool,
}

impl Scan {
    /// Of a sidecar's bytes.
    pub(crate) fn new(bytes: &[u8]) -> Scan {
        let (raws, torn) = bytes.as_chunks::<SIZE>();
        let mut raws = raws.iter();
        let header = raws.next().map_or(Err(BadHeader::Damaged), |raw| {
            Header::decode(raw).map(|header| (header, raw))
        });
        let mut scan = Scan {
            header: header.map(|(header, _)| header),
            entries: Vec::new(),
            chains: Vec::new(),
            hash: None,
            rest: 0,
            behind: Vec::new(),
            is_damaged: false,
        };
        let Ok((header, raw)) = header else {
            scan.rest = bytes.len();
            scan.look_behind(raws.as_slice());
            scan.is_damaged = !scan.behind.is_empty();
            return scan;
        };
        scan.chains.push(sidecar::chain(raw));
        let mut lines = header.base_lines;
        for raw in raws.by_ref() {
            if !scan.take(raw, &mut lines) {
                scan.rest = SIZE;
                scan.look_behind(raws.as_slice());
                scan.is_damaged = match scan.is_strict() {
                    true => scan.behind.iter().any(Entry::is_checkpoint),
                    false => *raw != [0; SIZE],
                };
                break;
            }
        }
        scan.rest += raws.len() * SIZE + torn.len();
        scan
    }

    /// Takes an entry, if it is whole and goes on where the last one ended.
    fn take(&mut self, raw: &Raw, lines: &mut u64) -> bool {
        let chain = self.chain(self.entries.len());
        if self.is_ended() {
            self.hash = self.hash.or_else(|| sidecar::decode_hash(raw, chain));
            return self.hash.is_some();
        }
        let Some(entry) = Entry::decode(raw, chain).filter(|entry| self.owns(entry)) else {
            return false;
        };
        let start = self.covered();
        let goes_on = if entry.flags.has(Flags::BLOCK) {
            entry.end.checked_sub(u64::from(entry.len)) == Some(start)
                && lines.checked_add(u64::from(entry.lines)) == Some(entry.total_lines)
        } else if entry.flags.has(Flags::POISONED) {
            entry.end <= start && entry.total_lines <= *lines
        } else {
            entry.end == start && entry.total_lines == *lines
        };
        if goes_on {
            *lines = entry.total_lines;
            self.entries.push(entry);
            self.chains.push(sidecar::chain(raw));
        }
        goes_on
    }

    /// Looks for whole entries behind what is broken.
    fn look_behind(&mut self, raws: &[Raw]) {
        let entries = raws.iter().filter_map(Entry::decode_alone);
        let entries = entries.map(|(entry, _)| entry);
        let own = entries.filter(|entry| self.owns(entry)).collect();
        self.behind = own;
    }

    /// Whether an entry was written into this sidecar, as far as one can tell.
    fn owns(&self, entry: &Entry) -> bool {
        !self.is_strict() || entry.header == self.chain(0)
    }

    /// Whether the text ends where its checksums do.
    pub(crate) fn is_strict(&self) -> bool {
        let rule = self.header.map(|header| header.tail_rule);
        rule == Ok(TailRule::Strict)
    }

    /// The furthest entry of all that are whole.
    pub(crate) fn furthest(&self) -> Option<&Entry> {
        let entries = self.entries.iter().chain(&self.behind);
        entries.max_by_key(|entry| entry.end)
    }

    /// Up to where the text was durable, as any whole entry says.
    pub(crate) fn durable(&self) -> u64 {
        let says = self.behind.iter().filter(|entry| entry.is_checkpoint());
        let behind = says.map(Entry::durable);
        behind.fold(self.checkpoint(), u64::max)
    }

    /// Up to where in the text the entries reach.
    pub(crate) fn covered(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.end)
    }

    /// The checksum to chain to after the first `count` entries.
    pub(crate) fn chain(&self, count: usize) -> u32 {
        self.chains.get(count).copied().unwrap_or_default()
    }

    /// How many lines the log has after the first `count` entries.
    pub(crate) fn lines(&self, count: usize) -> u64 {
        let entry = count.checked_sub(1).and_then(|last| self.entries.get(last));
        match (entry, self.header) {
            (Some(entry), _) => entry.total_lines,
            (None, Ok(header)) => header.base_lines,
            (None, Err(_)) => 0,
        }
    }

    /// Up to where the text was durable when the sidecar was last written.
    pub(crate) fn checkpoint(&self) -> u64 {
        let of = |entry: &&Entry| entry.flags.has(Flags::CHECKPOINT);
        self.entries.iter().rev().find(of).map_or(0, Entry::durable)
    }

    /// Where the segment was sealed, if it was.
    pub(crate) fn sealed(&self) -> Option<u64> {
        let last = self.entries.last();
        last.filter(|entry| entry.flags.has(Flags::SEAL))
            .map(|entry| entry.end)
    }

    /// Whether what lies behind a seal may be a hash that a crash has torn.
    pub(crate) fn has_torn_hash(&self) -> bool {
        self.hash.is_none() && (1..=SIZE).contains(&self.rest) && self.sealed().is_some()
    }

    /// How long the sidecar is as far as it is whole.
    pub(crate) fn whole(&self) -> u64 {
        let hash = usize::from(self.hash.is_some());
        (SIZE + (self.entries.len() + hash) * SIZE) as u64
    }

    /// Whether the segment was ended, by a seal or a failed sync.
    pub(crate) fn is_ended(&self) -> bool {
        self.entries
            .last()
            .is_some_and(|entry| entry.flags.has(Flags::SEAL) || entry.flags.has(Flags::POISONED))
    }
}
