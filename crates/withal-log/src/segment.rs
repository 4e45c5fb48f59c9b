//! The segment that is being written: its text, and the sidecar that goes with it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use memchr::{memchr, memrchr};

use crate::batch::Batch;
use crate::checksum::checksum;
use crate::name::{self, Name};
use crate::options::TailRule;
use crate::recover::read_from;
use crate::sidecar::{self, Entry, Flags, Header};
use crate::storage::{File, Storage};
use crate::text::count_lines;

/// How much text an entry of the sidecar covers: the least that is read to find one line.
pub(crate) const BLOCK: usize = 64 * 1024;
/// How much disk space is set aside at a time at most, so that a full disk is met between records.
const RESERVE: u64 = 4 * 1024 * 1024;
/// How many entries wait for each other before they are written: the text that no entry in the
/// sidecar covers is read whole when the log is opened after a crash.
const MOST_WAITING: usize = 16;
/// Below this much, space is not set aside but used.
const LEAST_RESERVE: u64 = 4 * 1024;

/// Where a log goes on: after a segment, or at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// How many bytes and lines the log has.
    pub(crate) end: u64,
    pub(crate) lines: u64,
    /// How long its last segment is, and the checksum of its sidecar's last entry.
    pub(crate) previous_len: u64,
    pub(crate) chain: u32,
}

/// What all segments have in common that a writer makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Series {
    pub(crate) log_id: u128,
    pub(crate) tail_rule: TailRule,
}

/// The last segment of a log, open for writing.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: Name,
    text: Box<dyn File>,
    sidecar: Box<dyn File>,
    /// When it was made, in milliseconds since 1970.
    pub(crate) made: u64,
    /// How many bytes of text it has, and how many of them are durable.
    pub(crate) len: u64,
    pub(crate) durable: u64,
    /// The same for the lines of the log.
    pub(crate) lines: u64,
    pub(crate) durable_lines: u64,
    /// How many bytes, and lines of the log, are durable here or in the commit ring.
    pub(crate) committed: (u64, u64),
    /// In a strict segment, the checksum of its header: each of its entries has it.
    strict: Option<u32>,
    /// The text after the last entry; in a strict segment there is none.
    block: Block,
    /// The blocks before it that are not durable.
    unsynced: Vec<Block>,
    /// What to say of every block.
    marks: Flags,
    /// The checksum of the last entry.
    chain: u32,
    /// Entries that are not in the sidecar yet, and how long that is.
    entries: Vec<u8>,
    sidecar_len: u64,
    /// Up to which byte and line the entries reach that are in the sidecar, and all of them.
    told: (u64, u64),
    pushed: (u64, u64),
    /// Up to where there is a checkpoint.
    pub(crate) checkpoint: u64,
    /// Up to where disk space was set aside; `None` where that cannot be done.
    reserved: Option<u64>,
    /// Up to where the disk was told to begin.
    started: u64,
    pub(crate) sealed: bool,
}

/// Text that no entry covers yet.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    len: u32,
    crc: u32,
    lines: u32,
    first: u64,
    last: u64,
    flags: Flags,
    dropped: u32,
}

/// What recovery found in a segment that it opens again.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: Name,
    pub(crate) text: Box<dyn File>,
    pub(crate) sidecar: Box<dyn File>,
    pub(crate) made: u64,
    pub(crate) covered: u64,
    pub(crate) lines: u64,
    pub(crate) chain: u32,
    pub(crate) sidecar_len: u64,
    pub(crate) checkpoint: u64,
    /// In a strict segment, the checksum of its header.
    pub(crate) strict: Option<u32>,
}

/// How far a segment had come before a write.
#[derive(Clone, Copy, Debug)]
struct Snapshot {
    len: u64,
    lines: u64,
    block: Block,
    unsynced: usize,
    chain: u32,
    entries: usize,
    pushed: (u64, u64),
}

/// Writing stopped part of the way.
#[derive(Debug)]
pub(crate) struct Stopped {
    /// How many bytes, whole records, are written.
    pub(crate) written: usize,
    pub(crate) error: io::Error,
}

impl Segment {
    /// Makes the segment that follows `tail`, durably. `now` is in milliseconds since 1970.
    pub(crate) fn create(
        storage: &Arc<dyn Storage>,
        series: Series,
        tail: Tail,
        now: u64,
    ) -> io::Result<Segment> {
        let header = Header {
            log_id: series.log_id,
            tail_rule: series.tail_rule,
            base: tail.end,
            base_lines: tail.lines,
            previous_len: tail.previous_len,
            previous_chain: tail.chain,
        };
        let raw = header.encode();
        let now_or_later = match tail.previous_len {
            // The one before begins here, too: names are in the order of the log whatever the clock
            // says.
            0 => after_all(storage, tail.end, now)?,
            _ => now,
        };
        let (name, sidecar) = create_sidecar(storage, tail.end, now_or_later)?;
        let begin = || {
            sidecar.append_all(&raw).map_err(|(_, error)| error)?;
            sidecar.sync_data()?;
            let text = storage.create(&name.text())?;
            storage.sync()?;
            storage.point("current", &name.text())?;
            Ok(text)
        };
        let text = begin().inspect_err(|_: &io::Error| {
            // It is tried again while the disk is full: each time would leave its files.
            let _ = storage.remove(&name.text());
            let _ = storage.remove(&name.sidecar());
        })?;
        Ok(Segment::at(Found {
            name,
            text,
            sidecar,
            made: now,
            covered: 0,
            lines: tail.lines,
            chain: sidecar::chain(&raw),
            sidecar_len: raw.len() as u64,
            checkpoint: 0,
            strict: strict(&header),
        }))
    }

    /// The segment as it was found, all of its text durable.
    pub(crate) fn at(found: Found) -> Segment {
        Segment {
            name: found.name,
            text: found.text,
            sidecar: found.sidecar,
            made: found.made,
            len: found.covered,
            durable: found.covered,
            lines: found.lines,
            durable_lines: found.lines,
            committed: (found.covered, found.lines),
            strict: found.strict,
            block: Block::default(),
            unsynced: Vec::new(),
            marks: Flags::default(),
            chain: found.chain,
            entries: Vec::new(),
            sidecar_len: found.sidecar_len,
            told: (found.covered, found.lines),
            pushed: (found.covered, found.lines),
            checkpoint: found.checkpoint,
            reserved: Some(0),
            started: found.covered,
            sealed: false,
        }
    }

    /// Adds whole lines, written between `first` and `last`.
    pub(crate) fn write(&mut self, lines: &[u8], first: u64, last: u64) -> Result<(), Stopped> {
        match self.strict {
            None => self.append(lines, first, last),
            Some(_) => self.append_covered(lines, first, last),
        }
    }

    /// As `append`, and has the sidecar cover them, or takes them back: after a crash text counts
    /// only as far as it is covered.
    fn append_covered(&mut self, lines: &[u8], first: u64, last: u64) -> Result<(), Stopped> {
        let before = self.snapshot();
        let appended = self.append(lines, first, last);
        self.cut(self.len);
        let Err(error) = self.flush() else {
            return appended;
        };
        let taken_back = self.take_back(before);
        let error = taken_back.err().unwrap_or(error);
        Err(Stopped { written: 0, error })
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            len: self.len,
            lines: self.lines,
            block: self.block,
            unsynced: self.unsynced.len(),
            chain: self.chain,
            entries: self.entries.len(),
            pushed: self.pushed,
        }
    }

    /// Removes what was added since a snapshot.
    fn take_back(&mut self, then: Snapshot) -> io::Result<()> {
        self.len = then.len;
        self.lines = then.lines;
        self.block = then.block;
        self.unsynced.truncate(then.unsynced);
        self.chain = then.chain;
        self.entries.truncate(then.entries);
        self.pushed = then.pushed;
        self.release()
    }

    fn append(&mut self, lines: &[u8], first: u64, last: u64) -> Result<(), Stopped> {
        if let Err(error) = self.reserve(lines.len() as u64) {
            return Err(Stopped { written: 0, error });
        }
        match self.text.append_all(lines) {
            Ok(()) => {
                self.absorb(lines, first, last);
                Ok(())
            }
            Err((taken, error)) => {
                let whole = lines
                    .get(..taken)
                    .and_then(|taken| memrchr(b'\n', taken))
                    .map_or(0, |newline| newline + 1);
                let (written, _) = lines.split_at(whole);
                self.absorb(written, first, last);
                if taken > whole {
                    // Half a record must not stay: the next one would go on in its line.
                    self.text.truncate(self.len).map_err(|error| Stopped {
                        written: whole,
                        error,
                    })?;
                    self.reserved = self.reserved.map(|_| self.len);
                }
                Err(Stopped {
                    written: whole,
                    error,
                })
            }
        }
    }

    /// Sets disk space aside for `more` bytes.
    fn reserve(&mut self, more: u64) -> io::Result<()> {
        let Some(reserved) = self.reserved else {
            return Ok(());
        };
        let needed = self.len + more;
        if needed <= reserved {
            return Ok(());
        }
        let ample = self.len.next_power_of_two().clamp(BLOCK as u64, RESERVE);
        for unit in [ample, LEAST_RESERVE] {
            let end = needed.next_multiple_of(unit);
            match self.text.reserve(self.len, end - self.len) {
                Ok(()) => {
                    self.reserved = Some(end);
                    return Ok(());
                }
                Err(error) if crate::error::is_full(&error) && unit == ample => {}
                Err(error) if crate::error::is_full(&error) => return Err(error),
                // Not here: a full disk is then met by the write.
                Err(_) => {
                    self.reserved = None;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Has the disk begin with what was written, if that is `much`: it is busy then while more is
    /// written, and the next sync finds less to do.
    pub(crate) fn start_writeback(&mut self, much: u64) {
        let from = self.started.max(self.durable);
        let len = self.len.saturating_sub(from);
        if len >= much.max(1) {
            self.text.start_writeback(from, len);
            self.started = self.len;
        }
    }

    /// Counts what has been written, and cuts it into blocks at the ends of lines.
    fn absorb(&mut self, lines: &[u8], first: u64, last: u64) {
        self.len += lines.len() as u64;
        let mut rest = lines;
        while !rest.is_empty() {
            if self.block.len == 0 {
                self.block.first = first;
            }
            let missing = BLOCK.saturating_sub(self.block.len as usize).max(1);
            let end = rest
                .get(missing - 1..)
                .and_then(|from| memchr(b'\n', from))
                .map_or(rest.len(), |newline| missing + newline);
            let (piece, more) = rest.split_at(end);
            let count = count_lines(piece) as u32;
            self.block.crc = checksum(self.block.crc, piece);
            self.block.len += piece.len() as u32;
            self.block.lines += count;
            self.block.last = last;
            if last < self.block.first {
                self.block.flags |= Flags::CLOCK_STEP;
            }
            self.lines += u64::from(count);
            rest = more;
            if self.block.len as usize >= BLOCK {
                self.cut(self.len - rest.len() as u64);
            }
        }
    }

    /// Lines that should stand here were dropped.
    pub(crate) fn dropped(&mut self, lines: u32) {
        if lines == 0 {
            return;
        }
        self.block.dropped = self.block.dropped.saturating_add(lines);
        self.block.flags |= Flags::DROPPED;
    }

    /// Ends the block at `end`, if there is one.
    fn cut(&mut self, end: u64) {
        let block = std::mem::take(&mut self.block);
        if block.len == 0 && block.dropped == 0 {
            return;
        }
        self.unsynced.push(block);
        self.push(Entry {
            end,
            len: block.len,
            crc: block.crc,
            first: block.first,
            last: block.last,
            lines: block.lines,
            flags: Flags::BLOCK | block.flags | self.marks,
            total_lines: self.lines,
            dropped: block.dropped,
            ..Entry::default()
        });
    }

    fn push(&mut self, mut entry: Entry) {
        entry.header = self.strict.unwrap_or_default();
        let raw = entry.encode(self.chain);
        self.chain = sidecar::chain(&raw);
        self.entries.extend_from_slice(&raw);
        self.pushed = (entry.end, entry.total_lines);
    }

    /// Covers `lines`, found by recovery at the end of the text.
    pub(crate) fn recovered(&mut self, lines: &[u8], when: u64) {
        self.marks = Flags::RECOVERED;
        self.absorb(lines, when, when);
        self.cut(self.len);
        self.marks = Flags::default();
    }

    /// Makes the text durable, and what covers it if it counts only so far.
    ///
    /// After an error the segment must be poisoned: a second sync would lie.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.durable < self.len {
            self.text.sync_data()?;
            if self.is_strict() {
                self.sidecar.sync_data()?;
            }
            self.all_durable();
        }
        Ok(())
    }

    fn all_durable(&mut self) {
        self.durable = self.len;
        self.durable_lines = self.lines;
        self.all_committed();
        self.unsynced.clear();
    }

    /// Takes note that the commit ring has all that is not durable here.
    pub(crate) fn all_committed(&mut self) {
        self.committed = (self.len, self.lines);
    }

    /// Takes note that its text is durable up to here.
    pub(crate) fn durable_to(&mut self, len: u64, lines: u64) {
        if len <= self.durable {
            return;
        }
        self.durable = len;
        self.durable_lines = lines;
        self.committed = self.committed.max((len, lines));
        let mut end = self.uncovered_from();
        self.unsynced.retain(|block| {
            end += u64::from(block.len);
            end > len
        });
    }

    /// Where the oldest block begins that is not durable.
    fn uncovered_from(&self) -> u64 {
        let blocks = self.unsynced.iter().chain([&self.block]);
        self.len - blocks.map(|block| u64::from(block.len)).sum::<u64>()
    }

    /// Reads back what is not durable, and makes sure that it is what was written: after a failed
    /// sync it may be so only as long as the system remembers it.
    pub(crate) fn reread(&self) -> io::Result<VecDeque<Batch>> {
        let mut at = self.uncovered_from();
        let mut batches = VecDeque::new();
        for block in self.unsynced.iter().chain([&self.block]) {
            let end = at + u64::from(block.len);
            let mut bytes = read_from(&*self.text, at, end)?;
            if bytes.len() as u64 != end - at || checksum(0, &bytes) != block.crc {
                let lost = "what was written to it is not there any more";
                return Err(io::Error::new(io::ErrorKind::InvalidData, lost));
            }
            let durable = self.durable.saturating_sub(at).min(u64::from(block.len));
            drop(bytes.drain(..durable as usize));
            batches.push_back(Batch {
                lines: count_lines(&bytes),
                bytes,
                first: block.first,
                last: block.last,
            });
            at = end;
        }
        Ok(batches)
    }

    /// Notes in the sidecar how much is durable.
    pub(crate) fn note_checkpoint(&mut self, now: u64) {
        if self.checkpoint < self.durable && self.durable == self.len {
            self.push_checkpoint(Flags::CHECKPOINT, now);
        }
    }

    /// Has the sidecar tell of lines that were dropped behind all text, before it is left.
    pub(crate) fn note_dropped(&mut self, now: u64) {
        if self.block.dropped > 0 && self.durable == self.len && !self.sealed {
            self.push_checkpoint(Flags::CHECKPOINT, now);
        }
    }

    /// Notes in the sidecar how much is durable, behind what that covers already.
    ///
    /// Not in a strict segment, as nothing before a checkpoint may be less durable there.
    pub(crate) fn note_durable(&mut self, now: u64) {
        let (covered, total_lines) = self.pushed;
        let durable = self.durable.min(covered);
        let Ok(len) = u32::try_from(covered - durable) else {
            return;
        };
        if self.is_strict() || durable <= self.checkpoint {
            return;
        }
        self.push(Entry {
            end: covered,
            len,
            first: now,
            last: now,
            flags: Flags::CHECKPOINT,
            total_lines,
            ..Entry::default()
        });
        self.checkpoint = durable;
    }

    /// Notes that all text is durable.
    fn push_checkpoint(&mut self, flags: Flags, now: u64) {
        if self.block.len == 0 {
            (self.block.first, self.block.last) = (now, now);
        }
        let dropped = self.cut_for_checkpoint();
        self.push(Entry {
            end: self.len,
            first: now,
            last: now,
            flags: flags | told(dropped),
            total_lines: self.lines,
            dropped,
            ..Entry::default()
        });
        self.checkpoint = self.len;
    }

    /// Ends the block before a checkpoint or a seal; gives how many dropped lines that has to tell of.
    ///
    /// In a strict segment nothing may stand before a checkpoint that was not synced: if that came to
    /// the disk alone, what is torn before it would be taken for damage.
    fn cut_for_checkpoint(&mut self) -> u32 {
        if self.is_strict() {
            return std::mem::take(&mut self.block).dropped;
        }
        self.cut(self.len);
        0
    }

    /// Whether so many entries are not in the sidecar that it is worth writing them.
    pub(crate) fn is_sidecar_behind(&self) -> bool {
        self.entries.len() >= MOST_WAITING * sidecar::SIZE
    }

    /// Writes the entries that are due into the sidecar.
    ///
    /// The sidecar is derived from the text, so a failure loses nothing: the entries are kept.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        match self.sidecar.append_all(&self.entries) {
            Ok(()) => {
                self.sidecar_len += self.entries.len() as u64;
                self.entries.clear();
                self.told = self.pushed;
                Ok(())
            }
            Err((taken, error)) => {
                if taken > 0 {
                    self.sidecar.truncate(self.sidecar_len)?;
                }
                Err(error)
            }
        }
    }

    /// Ends the segment, whose text is durable. `finish` makes that durable, too.
    pub(crate) fn seal(&mut self, now: u64) -> io::Result<()> {
        debug_assert_eq!(self.durable, self.len);
        if self.is_strict() {
            // As before a checkpoint, nothing before a seal may be less durable than that.
            self.flush()?;
            self.sidecar.sync_data()?;
        }
        self.push_checkpoint(Flags::CHECKPOINT | Flags::SEAL, now);
        // Nothing may come behind it, if there is no space for the next segment yet.
        self.sealed = true;
        Ok(())
    }

    /// Makes the end of a sealed segment durable. It can be tried again.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.flush()?;
        self.text.truncate(self.len)?;
        self.sidecar.sync_data()
    }

    /// Ends the segment where it was last durable, after a failed write or sync.
    ///
    /// Says so in its sidecar if that can be done; where the next segment begins says it, too.
    pub(crate) fn poison(&mut self, now: u64) -> (Tail, io::Result<()>) {
        if self.sealed && self.entries.is_empty() {
            // All of it is durable, and its seal is in the sidecar: what failed came after that.
            return (self.tail(), Ok(()));
        }
        // Entries that are only in memory may cover what is not durable.
        self.entries.clear();
        self.block = Block::default();
        self.sealed = true;
        let chain = self.chain;
        let told = self.reread_chain().and_then(|()| {
            self.cover_durable(now)?;
            self.push(Entry {
                end: self.durable,
                first: now,
                last: now,
                flags: Flags::POISONED,
                total_lines: self.durable_lines,
                ..Entry::default()
            });
            self.flush()?;
            self.sidecar.sync_data()
        });
        if told.is_err() {
            self.chain = chain;
        }
        let tail = Tail {
            end: self.name.base + self.durable,
            lines: self.durable_lines,
            previous_len: self.durable,
            chain: self.chain,
        };
        (tail, told)
    }

    /// Covers the text that is durable, and that no entry in the sidecar covers.
    fn cover_durable(&mut self, now: u64) -> io::Result<()> {
        let (covered, lines) = self.told;
        if covered >= self.durable {
            return Ok(());
        }
        let bytes = read_from(&*self.text, covered, self.durable)?;
        let too_many = |_| io::Error::from(io::ErrorKind::InvalidData);
        self.push(Entry {
            end: self.durable,
            len: u32::try_from(bytes.len()).map_err(too_many)?,
            crc: checksum(0, &bytes),
            first: self.made,
            last: now,
            lines: u32::try_from(self.durable_lines - lines).map_err(too_many)?,
            flags: Flags::BLOCK,
            total_lines: self.durable_lines,
            ..Entry::default()
        });
        Ok(())
    }

    /// Takes back that the segment ended where it was durable: there can be no other. `len` is how
    /// long the sidecar was.
    ///
    /// What is behind that end is left only if it was promised to be there: the next sync would say
    /// that it is durable. What the commit ring has comes from there.
    pub(crate) fn unpoison(&mut self, len: u64, is_promised: bool) -> io::Result<()> {
        self.sidecar.truncate(len)?;
        match is_promised {
            true => Ok(()),
            false => self.text.truncate(self.durable),
        }
    }

    /// How long its sidecar is.
    pub(crate) fn sidecar_len(&self) -> u64 {
        self.sidecar_len
    }

    /// Removes its files.
    pub(crate) fn remove(self, storage: &Arc<dyn Storage>) -> io::Result<()> {
        storage.remove(&self.name.text())?;
        storage.remove(&self.name.sidecar())
    }

    /// The checksum of the last entry that is in the sidecar.
    fn reread_chain(&mut self) -> io::Result<()> {
        let mut raw = [0; sidecar::SIZE];
        let last = self.sidecar_len.saturating_sub(sidecar::SIZE as u64);
        let _ = self.sidecar.read_full(&mut raw, last)?;
        self.chain = sidecar::chain(&raw);
        Ok(())
    }

    /// Makes text durable that recovery found, and what covers it if it counts only so far.
    pub(crate) fn sync_found(&self) -> io::Result<()> {
        self.text.sync_data()?;
        match self.is_strict() {
            true => self.sidecar.sync_data(),
            false => Ok(()),
        }
    }

    /// Where its text ends after a crash.
    pub(crate) fn tail_rule(&self) -> TailRule {
        match self.strict {
            Some(_) => TailRule::Strict,
            None => TailRule::Text,
        }
    }

    /// Whether its text counts only as far as the sidecar covers it.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict.is_some()
    }

    /// Notes that everything is durable: recovery has made sure of it.
    pub(crate) fn note_all_durable(&mut self, now: u64) {
        self.all_durable();
        self.note_checkpoint(now);
    }

    /// Makes the sidecar durable.
    pub(crate) fn sync_sidecar(&self) -> io::Result<()> {
        self.sidecar.sync_data()
    }

    /// Gives back what was set aside.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        self.reserved = self.reserved.map(|_| self.len);
        self.text.truncate(self.len)
    }

    /// How many lines were dropped after it was sealed: the next one says so.
    pub(crate) fn dropped_behind(&self) -> u32 {
        self.block.dropped
    }

    /// How many lines were dropped that its sidecar does not tell of.
    pub(crate) fn untold_drops(&self) -> u32 {
        let (raws, _) = self.entries.as_chunks::<{ sidecar::SIZE }>();
        let waiting = raws.iter().filter_map(Entry::decode_alone);
        let drops = waiting.map(|(entry, _)| entry.dropped);
        drops.fold(self.block.dropped, u32::saturating_add)
    }

    /// Where the log goes on after it.
    pub(crate) fn tail(&self) -> Tail {
        Tail {
            end: self.name.base + self.len,
            lines: self.lines,
            previous_len: self.len,
            chain: self.chain,
        }
    }
}

/// What each entry has in a strict segment, whose header this is.
pub(crate) fn strict(header: &Header) -> Option<u32> {
    let is_strict = header.tail_rule == TailRule::Strict;
    is_strict.then(|| sidecar::chain(&header.encode()))
}

/// The flags of an entry that tells of so many dropped lines.
fn told(dropped: u32) -> Flags {
    match dropped {
        0 => Flags::default(),
        _ => Flags::BLOCK | Flags::DROPPED,
    }
}

/// A time that is later than that of each segment which begins at `base`, and no earlier than `now`.
fn after_all(storage: &Arc<dyn Storage>, base: u64, now: u64) -> io::Result<u64> {
    let files = storage.list()?;
    let names = files.iter().filter_map(|file| name::parse(file));
    let same = names.filter(|(name, _)| name.base == base);
    let latest = same.map(|(name, _)| name.made_ms() + 1_000).max();
    Ok(latest.map_or(now, |latest| latest.max(now)))
}

/// Makes the sidecar of a new segment under a name that is free.
fn create_sidecar(
    storage: &Arc<dyn Storage>,
    base: u64,
    now: u64,
) -> io::Result<(Name, Box<dyn File>)> {
    let mut made = timestamp(now);
    loop {
        let name = Name::new(base, made);
        match storage.create(&name.sidecar()) {
            Ok(sidecar) => return Ok((name, sidecar)),
            // One of the same second, that failed: names must not depend on luck.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                made = made
                    .checked_add(jiff::SignedDuration::from_secs(1))
                    .map_err(io::Error::other)?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// A time in milliseconds since 1970; one that no calendar has counts as 1970.
pub(crate) fn timestamp(milliseconds: u64) -> jiff::Timestamp {
    i64::try_from(milliseconds)
        .ok()
        .and_then(|milliseconds| jiff::Timestamp::from_millisecond(milliseconds).ok())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}
