//! Writes batches into segments: rotation, full disks, failed syncs.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::batch::Batch;
use crate::drop_line::DropLine;
use crate::error::{LogError, LogErrorKind, is_full};
use crate::events::{self, Tally};
use crate::keeper::Keeper;
use crate::options::{Durability, OnFull, Settings, TailRule};
use crate::restore::remove_ring;
use crate::retention::Removed;
use crate::ring::{self, Place, Ring};
use crate::segment::{Segment, Series, Stopped, Tail};
use crate::storage::Storage;
use crate::text::count_lines;
use crate::writeback::{Mark, Receipt, Writeback};

/// How much may be written and not synced: it is kept in memory until it is.
const UNSYNCED: u64 = 8 * 1024 * 1024;
/// Up to how much of it is kept in one piece, if there is no room for more already.
const MERGED: usize = 96 * 1024;
/// A buffer that has become larger is given back.
const LARGEST_SPARE: usize = 2 * 1024 * 1024;
/// How long an entry may wait for others before it is written to the sidecar, in milliseconds.
const FLUSH_EVERY: u64 = 1_000;
/// How often a checkpoint is noted, in milliseconds.
const CHECKPOINT_EVERY: u64 = 1_000;
/// How long to wait for space before looking again: the first time, and at most.
const WAIT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What became of a batch.
#[derive(Debug, Default)]
pub(crate) struct Written {
    /// How many lines at its end are not in the log, and why.
    pub(crate) refused: Option<(u64, LogError)>,
    /// An empty buffer to use again.
    pub(crate) spare: Vec<u8>,
}

/// Whether there is a commit ring.
#[derive(Debug)]
pub(crate) enum Rings {
    None,
    Later {
        /// The number of its next frame.
        next: u64,
        /// After how many syncs within a second it is opened, and how many there were.
        due: u32,
        syncs: u32,
    },
    One(Ring),
    /// It could not be written, and is removed once nothing in it is needed.
    Failed,
}

impl Rings {
    /// For a log whose ring, if it has one, goes on with the frame of this number.
    pub(crate) fn new(
        storage: &Arc<dyn Storage>,
        series: Series,
        settings: &Settings,
        next: Option<u64>,
    ) -> Rings {
        let is_of_use =
            settings.durability == Durability::Always && series.tail_rule == TailRule::Text;
        let due = settings.commit_ring.due().filter(|_| is_of_use);
        match (due, next) {
            (None, None) => Rings::None,
            (None, Some(_)) => {
                // All is durable without it, and a checkpoint says so: it may stay.
                if let Err(error) = remove_ring(storage) {
                    events::tell(&error);
                }
                Rings::None
            }
            (Some(_), Some(next)) => Rings::later(0, next),
            (Some(due), None) => Rings::later(due, 1),
        }
    }

    fn later(due: u32, next: u64) -> Rings {
        Rings::Later {
            next,
            due,
            syncs: 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) settings: Settings,
    series: Series,
    segment: Segment,
    keeper: Keeper,
    /// What has been written and is not durable, should it have to be written again; without a
    /// promise to be durable soon it is not kept, but read back.
    unsynced: VecDeque<Batch>,
    unsynced_bytes: u64,
    /// How much has been written since a sync last began.
    dirty_bytes: u64,
    /// The sync that runs beside the writing, and how many batches of `unsynced` it is for.
    writeback: Option<Writeback>,
    syncing: usize,
    ring: Rings,
    /// Empty buffers to use again: new ones cost a page fault for each page.
    spares: Vec<Vec<u8>>,
    last_checkpoint: u64,
    last_flush: u64,
    /// When the last line came.
    last_line: u64,
    dropped: Tally,
    drop_line: DropLine,
    pruned: Tally,
    stepped_back: Tally,
    stopped: Option<LogError>,
}

impl Writer {
    /// A log that goes on in `segment`; `is_begun` tells whether it ends within a record.
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        settings: Settings,
        series: Series,
        segment: Segment,
        ring: Rings,
        keeper: Keeper,
        is_begun: bool,
    ) -> Writer {
        Writer {
            last_checkpoint: (settings.clock)(),
            last_flush: 0,
            drop_line: DropLine::new(settings.drop_line.clone(), settings.max_line, is_begun),
            storage,
            settings,
            series,
            segment,
            keeper,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            dirty_bytes: 0,
            writeback: None,
            syncing: 0,
            ring,
            spares: Vec::new(),
            last_line: 0,
            dropped: Tally::new("lines dropped", ["lines", "times"]),
            pruned: Tally::new("segments pruned", ["segments", "bytes"]),
            stepped_back: Tally::new("clock stepped back", ["times", "milliseconds"]),
            stopped: None,
        }
    }

    /// How many lines the log has.
    pub(crate) fn lines(&self) -> u64 {
        self.segment.lines
    }

    /// Whether there is anything that is not durable.
    pub(crate) fn is_dirty(&self) -> bool {
        self.segment.committed.0 < self.segment.len
    }

    /// Writes a batch, and with `sync` makes everything so far durable.
    ///
    /// An error is final: nothing that was not durable can be promised any more.
    pub(crate) fn commit(&mut self, batch: Batch, sync: bool) -> Result<Written, LogError> {
        if let Some(stopped) = &self.stopped {
            return Err(stopped.clone());
        }
        let written = match batch.is_empty() {
            true => Written::default(),
            false => self.put(batch)?,
        };
        match sync {
            true => self.make_durable()?,
            false => self.sync_beside()?,
        }
        Ok(written)
    }

    /// Makes everything written so far durable, here or in the commit ring.
    fn make_durable(&mut self) -> Result<(), LogError> {
        let now = (self.settings.clock)();
        if self.is_checkpoint_due(now) {
            if let Rings::Later { syncs, .. } = &mut self.ring {
                *syncs = 0;
            }
            return self.sync();
        }
        match self.commit_to_ring()? {
            true => Ok(()),
            false => self.sync(),
        }
    }

    /// Makes everything durable in the commit ring, if there is one and it has room; says so.
    fn commit_to_ring(&mut self) -> Result<bool, LogError> {
        self.open_ring_if_due();
        if !matches!(self.ring, Rings::One(_)) {
            return Ok(false);
        }
        if let Some(receipt) = self
            .writeback
            .as_mut()
            .and_then(|beside| beside.receipt(false))
        {
            self.accept(receipt)?;
        }
        let Rings::One(ring) = &mut self.ring else {
            return Ok(false);
        };
        let segment = &mut self.segment;
        let base = segment.name.base;
        let (committed, lines) = segment.committed;
        let len = segment.len - committed;
        if len == 0 {
            return Ok(true);
        }
        if !ring.has_room(len) {
            return Ok(false);
        }
        let place = Place {
            start: base + committed,
            lines,
            synced: base + segment.durable,
        };
        let text = last_bytes(&self.unsynced, segment.len - segment.durable - len);
        if let Err(error) = ring.write(place, len, text) {
            self.ring_failed(error);
            return Ok(false);
        }
        segment.all_committed();
        if ring.is_half_full() && self.is_idle() {
            self.begin_sync();
        }
        Ok(true)
    }

    /// Does without the commit ring from now on.
    fn ring_failed(&mut self, error: io::Error) {
        self.ring = Rings::Failed;
        let name = self.storage.display(ring::FILE);
        let error = LogError::io(format!("cannot write `{name}`, so it is left"), error);
        let now = (self.settings.clock)();
        events::warn(&self.storage, now, "commit ring failed", &json!({}), &error);
    }

    /// Has the commit ring tell that all is durable without it, before anybody relies on that:
    /// whoever opens the log after a crash writes again what may be durable in the ring only.
    fn note_synced(&mut self) -> Result<(), LogError> {
        let tail = self.segment.tail();
        let place = Place {
            start: tail.end,
            lines: tail.lines,
            synced: tail.end,
        };
        if let Rings::One(ring) = &mut self.ring
            && ring.is_needed()
            && let Err(error) = ring.write(place, 0, [].into_iter())
        {
            self.ring_failed(error);
        }
        if !matches!(self.ring, Rings::Failed) {
            return Ok(());
        }
        self.ring = Rings::None;
        remove_ring(&self.storage).map_err(|error| {
            let name = self.storage.display(ring::FILE);
            let doing = "can neither be written nor removed: the log is stopped";
            let message = format!("`{name}` {doing}: {}", error.in_full());
            let stopped = LogError::new(LogErrorKind::Stopped, message);
            self.stopped = Some(stopped.clone());
            stopped
        })
    }

    /// Opens the commit ring once it is worth that.
    fn open_ring_if_due(&mut self) {
        let Rings::Later { next, due, syncs } = &mut self.ring else {
            return;
        };
        if *syncs < *due {
            *syncs += 1;
            return;
        }
        self.ring = match Ring::open(
            &self.storage,
            self.settings.ring_size,
            self.series.log_id,
            *next,
        ) {
            Ok(ring) => ring.map_or(Rings::None, Rings::One),
            Err(error) => {
                let name = self.storage.display(ring::FILE);
                let doing = format!("cannot make `{name}`: each record waits for a sync");
                events::tell(&LogError::io(doing, error));
                Rings::None
            }
        };
    }

    fn put(&mut self, batch: Batch) -> Result<Written, LogError> {
        self.look_at_clock(&batch);
        // What finds no room for that comes behind it in any case.
        if let Some(error) = self.tell_dropped(batch.first)? {
            return Ok(self.refuse(&batch, error));
        }
        match self.write(batch)? {
            Ok(spare) => Ok(Written {
                refused: None,
                spare,
            }),
            Err((rest, error)) => Ok(self.refuse(&rest, error)),
        }
    }

    /// Writes what is to stand where lines were dropped, if any were; why there is no room for it.
    fn tell_dropped(&mut self, now: u64) -> Result<Option<LogError>, LogError> {
        let Some(line) = self.drop_line.due(now) else {
            return Ok(None);
        };
        match self.write(line)? {
            Ok(_spare) => {
                self.drop_line.told();
                Ok(None)
            }
            Err((_, error)) => Ok(Some(error)),
        }
    }

    /// Writes a batch; gives an empty buffer to use again, or what has found no room, and why.
    fn write(&mut self, mut batch: Batch) -> Result<Result<Vec<u8>, (Batch, LogError)>, LogError> {
        let mut waited = Waiting::default();
        loop {
            let written = self.ready_segment().map_or_else(
                |error| Err(Stopped { written: 0, error }),
                |()| {
                    let (piece, _) = batch.bytes.split_at(self.fitting(&batch.bytes));
                    let written = self.segment.write(piece, batch.first, batch.last);
                    written.map(|()| piece.len())
                },
            );
            let (written, stopped) = match written {
                Ok(all) if all == batch.bytes.len() => break,
                Ok(piece) => (piece, None),
                Err(Stopped { written, error }) => (written, Some(error)),
            };
            let rest = self.split(&mut batch, written);
            self.drop_line.written(&batch.bytes);
            drop(self.keep(std::mem::replace(&mut batch, rest)));
            let Some(error) = stopped else {
                continue; // in the next segment
            };
            if let Some(stopped) = &self.stopped {
                return Err(stopped.clone());
            }
            if !is_full(&error) {
                let doing = format!("cannot write `{}`", self.display());
                self.relocate(LogError::io(doing, error))?;
                continue;
            }
            if self.make_room(&mut waited) {
                continue;
            }
            let error = LogError::io(format!("no space to write `{}`", self.display()), error);
            return Ok(Err((batch, error)));
        }
        self.drop_line.written(&batch.bytes);
        self.flush_sidecar_if_due(batch.last);
        self.note_tallies(batch.last, false);
        self.dirty_bytes += batch.bytes.len() as u64;
        Ok(Ok(self.keep(batch)))
    }

    fn look_at_clock(&mut self, batch: &Batch) {
        let back = self.last_line.saturating_sub(batch.first);
        let back = back.max(batch.first.saturating_sub(batch.last));
        if back > 0 {
            self.stepped_back.add([1, back]);
        }
        self.last_line = batch.last;
    }

    fn note_tallies(&mut self, now: u64, at_end: bool) {
        for tally in [&mut self.dropped, &mut self.pruned, &mut self.stepped_back] {
            let _is_noted = tally.note(&self.storage, now, at_end);
        }
    }

    /// Has what was written made durable beside the writing, once that is worth it. Waits only if
    /// more is not durable than may be.
    fn sync_beside(&mut self) -> Result<(), LogError> {
        self.segment.start_writeback(self.settings.sync_beside / 4);
        loop {
            let is_too_much = self.unsynced_bytes >= UNSYNCED;
            let writeback = self.writeback.as_mut();
            let receipt = writeback.and_then(|writeback| writeback.receipt(is_too_much));
            match receipt {
                Some(receipt) => self.accept(receipt)?,
                None if is_too_much && self.is_idle() => return self.sync(),
                None => break,
            }
        }
        if self.dirty_bytes >= self.settings.sync_beside && self.is_idle() {
            self.begin_sync();
        }
        Ok(())
    }

    /// Whether no sync runs beside the writing.
    fn is_idle(&self) -> bool {
        !self.writeback.as_ref().is_some_and(Writeback::is_busy)
    }

    fn begin_sync(&mut self) {
        if self.writeback.is_none() {
            self.writeback = match self.keeper.is_inline() {
                false => Writeback::start(&self.storage),
                true => Some(Writeback::inline(&self.storage)),
            };
        }
        if let Some(writeback) = &mut self.writeback {
            writeback.begin(Mark {
                segment: self.segment.name.clone(),
                len: self.segment.len,
                lines: self.segment.lines,
                is_strict: self.segment.is_strict(),
            });
            self.syncing = self.unsynced.len();
        }
        self.dirty_bytes = 0;
    }

    /// Takes note of what became of a sync.
    fn accept(&mut self, receipt: Receipt) -> Result<(), LogError> {
        let Receipt { mark, result } = receipt;
        let synced = std::mem::take(&mut self.syncing);
        // One that has ended was synced by the writer itself.
        if mark.segment != self.segment.name {
            return Ok(());
        }
        if let Err(error) = result {
            let doing = format!("cannot sync `{}`", self.display());
            return self.relocate(LogError::io(doing, error));
        }
        self.segment.durable_to(mark.len, mark.lines);
        self.note_durable_if_far();
        for batch in self.unsynced.drain(..synced) {
            self.unsynced_bytes -= batch.bytes.len() as u64;
            self.spares.push(emptied(batch.bytes));
        }
        Ok(())
    }

    /// Splits off what is not written.
    fn split(&self, batch: &mut Batch, written: usize) -> Batch {
        let bytes = batch.bytes.split_off(written);
        let lines = count_lines(&bytes);
        batch.lines -= lines;
        Batch {
            bytes,
            lines,
            ..*batch
        }
    }

    /// Keeps what has been written until it is durable; gives back a buffer to use again.
    fn keep(&mut self, batch: Batch) -> Vec<u8> {
        if self.settings.durability == Durability::Buffered {
            return emptied(batch.bytes);
        }
        self.unsynced_bytes += batch.bytes.len() as u64;
        let is_syncing = self.syncing == self.unsynced.len();
        match self.unsynced.back_mut() {
            Some(last) if last.has_room(batch.bytes.len(), MERGED) && !is_syncing => {
                last.bytes.extend_from_slice(&batch.bytes);
                last.lines += batch.lines;
                last.last = batch.last;
                emptied(batch.bytes)
            }
            _ => {
                if !batch.is_empty() {
                    self.unsynced.push_back(batch);
                }
                self.spares.pop().unwrap_or_default()
            }
        }
    }

    /// Keeps no more of what has become durable.
    fn forget_unsynced(&mut self) {
        let buffers = self.unsynced.drain(..).map(|batch| emptied(batch.bytes));
        self.spares.extend(buffers);
        self.unsynced_bytes = 0;
        self.syncing = 0;
    }

    /// Rotates, if that is due; after it the segment can be written.
    fn ready_segment(&mut self) -> io::Result<()> {
        if self.segment.sealed {
            return self.next_segment();
        }
        let now = (self.settings.clock)();
        if self.is_due(now) {
            // The one before must be durable before the next one exists (R3).
            self.sync().map_err(io::Error::other)?;
        }
        // A failed sync has begun a new one.
        if self.is_due(now) {
            self.segment.seal(now)?;
            return self.next_segment();
        }
        Ok(())
    }

    /// How much of whole lines goes into this segment: up to the line with which it is full.
    fn fitting(&self, lines: &[u8]) -> usize {
        let room = self.settings.rotate_size.saturating_sub(self.segment.len);
        let before = usize::try_from(room).unwrap_or(usize::MAX).max(1) - 1;
        let Some((_, rest)) = lines.split_at_checked(before) else {
            return lines.len();
        };
        memchr::memchr(b'\n', rest).map_or(lines.len(), |end| before + end + 1)
    }

    fn is_due(&self, now: u64) -> bool {
        let age = u128::from(now.saturating_sub(self.segment.made));
        let every = self.settings.rotate_every;
        let is_old = every.is_some_and(|every| age >= every.as_millis());
        self.segment.len > 0 && (self.segment.len >= self.settings.rotate_size || is_old)
    }

    fn next_segment(&mut self) -> io::Result<()> {
        self.segment.finish()?;
        let now = (self.settings.clock)();
        let mut next = Segment::create(&self.storage, self.series, self.segment.tail(), now)?;
        next.dropped(self.segment.dropped_behind());
        let ended = std::mem::replace(&mut self.segment, next).name;
        self.keeper.ended(&ended);
        Ok(())
    }

    /// Whether it is worth trying again, after a wait that is told of when it begins.
    fn make_room(&mut self, waited: &mut Waiting) -> bool {
        let limit = match self.settings.on_full {
            OnFull::Drop | OnFull::Fail => return false,
            OnFull::Prune => match self.keeper.prune() {
                Ok(Some(Removed { bytes })) => {
                    self.pruned.add([1, bytes]);
                    let now = (self.settings.clock)();
                    if self.pruned.note(&self.storage, now, false) {
                        let doing = "no space: the oldest segments are removed to write";
                        let doing = format!("{doing} `{}`", self.display());
                        events::tell(&LogError::new(LogErrorKind::Full, doing));
                    }
                    return true;
                }
                Ok(None) => None,
                Err(error) => {
                    waited.tell_once(|| error);
                    None
                }
            },
            OnFull::Block(limit) => limit,
        };
        waited.tell_once(|| {
            let waiting = format!("waiting for space to write `{}`", self.display());
            LogError::new(LogErrorKind::Full, waiting)
        });
        waited.again(limit)
    }

    fn refuse(&mut self, batch: &Batch, error: LogError) -> Written {
        if self.settings.on_full == OnFull::Drop {
            let lines = u32::try_from(batch.lines).unwrap_or(u32::MAX);
            self.segment.dropped(lines);
            self.dropped.add([batch.lines, 1]);
            self.drop_line.dropped(batch);
            self.note_tallies(batch.last, false);
        }
        Written {
            refused: Some((batch.lines, error)),
            spare: Vec::new(),
        }
    }

    /// Makes everything written so far durable.
    pub(crate) fn sync(&mut self) -> Result<(), LogError> {
        // A failure that the other sync was told of, this one might not be.
        while let Some(receipt) = self
            .writeback
            .as_mut()
            .and_then(|beside| beside.receipt(true))
        {
            self.accept(receipt)?;
        }
        if let Err(error) = self.segment.sync() {
            let doing = format!("cannot sync `{}`", self.display());
            self.relocate(LogError::io(doing, error))?;
        }
        self.forget_unsynced();
        self.dirty_bytes = 0;
        self.note_synced()?;
        let now = (self.settings.clock)();
        match self.is_checkpoint_due(now) {
            true => self.checkpoint(now),
            false => self.note_durable_if_far(),
        }
        Ok(())
    }

    /// Notes how much is durable if that is much more than was noted: all behind the last checkpoint
    /// has to be read when the log is opened after a crash.
    fn note_durable_if_far(&mut self) {
        let far = self.settings.sync_beside / 2;
        if self.segment.durable - self.segment.checkpoint >= far {
            self.segment.note_durable((self.settings.clock)());
        }
    }

    fn is_checkpoint_due(&self, now: u64) -> bool {
        // A clock that steps back must not end the checkpoints.
        now.abs_diff(self.last_checkpoint) >= CHECKPOINT_EVERY
    }

    /// Whether more is durable than readers can know.
    pub(crate) fn is_unnoted(&self) -> bool {
        self.segment.checkpoint < self.segment.committed.0
    }

    /// Notes how much is durable, if that is all there is to do.
    pub(crate) fn note_durable(&mut self) {
        if self.stopped.is_some() || self.is_dirty() || !self.is_unnoted() {
            return;
        }
        // What the commit ring has is to be durable in the text first; if that cannot be, the log is
        // stopped, and says so to whoever comes next.
        if self.segment.durable == self.segment.len || self.sync().is_ok() {
            self.checkpoint((self.settings.clock)());
        }
    }

    fn checkpoint(&mut self, now: u64) {
        self.segment.note_checkpoint(now);
        self.last_checkpoint = now;
        self.flush_sidecar();
    }

    /// An entry alone is not worth a write, but readers look for it.
    fn flush_sidecar_if_due(&mut self, now: u64) {
        if self.segment.is_sidecar_behind() || now.abs_diff(self.last_flush) >= FLUSH_EVERY {
            self.flush_sidecar();
            self.last_flush = now;
        }
    }

    /// The sidecar can be made again from the text: a failure is no failure of the log.
    fn flush_sidecar(&mut self) {
        if let Err(error) = self.segment.flush() {
            let name = self.storage.display(&self.segment.name.sidecar());
            let error = LogError::io(format!("cannot write `{name}` yet"), error);
            // On a full disk it would be said for each block.
            if error.kind() != LogErrorKind::Full {
                let now = (self.settings.clock)();
                let facts = json!({ "file": name });
                events::warn(&self.storage, now, "sidecar behind", &facts, &error);
            }
        }
    }

    /// After a failed write or sync: never touches that segment's text again, and writes what is
    /// not durable into a new one. A second failure is the end.
    fn relocate(&mut self, error: LogError) -> Result<(), LogError> {
        let now = (self.settings.clock)();
        let facts = json!({
            "segment": self.segment.name.text(),
            "durable": self.segment.durable,
            "bytes to write again": self.segment.len - self.segment.durable,
        });
        events::warn(&self.storage, now, "segment poisoned", &facts, &error);
        let unsynced = match self.settings.durability {
            Durability::Buffered => self.segment.reread(),
            _ => Ok(std::mem::take(&mut self.unsynced)),
        };
        let sidecar_len = self.segment.sidecar_len();
        let dropped = self.segment.untold_drops();
        let (tail, _told) = self.segment.poison(now);
        let moved = unsynced.and_then(|unsynced| self.move_to_next(tail, &unsynced, dropped, now));
        match moved {
            Ok(next) => {
                self.segment = next;
                self.unsynced_bytes = 0;
                self.syncing = 0;
                self.note_synced()
            }
            Err(second) => {
                // What is acknowledged once it is durable, nobody was promised.
                let is_promised = !matches!(
                    self.settings.durability,
                    Durability::Always | Durability::Batch { .. }
                );
                if let Err(error) = self.segment.unpoison(sidecar_len, is_promised) {
                    let doing = format!("cannot mend the sidecar of `{}`", self.display());
                    events::tell(&LogError::io(doing, error));
                }
                let doing = format!(
                    "{error}, nor could its records be written to `{}`: the log is stopped",
                    self.display()
                );
                let stopped = LogError::caused(LogErrorKind::Stopped, doing, second);
                self.stopped = Some(stopped.clone());
                events::warn(&self.storage, now, "stopped", &json!({}), &stopped);
                Err(stopped)
            }
        }
    }

    /// Makes the next segment, with what was not durable in this one, and lines dropped before it.
    fn move_to_next(
        &self,
        tail: Tail,
        unsynced: &VecDeque<Batch>,
        dropped: u32,
        now: u64,
    ) -> io::Result<Segment> {
        let mut next = Segment::create(&self.storage, self.series, tail, now)?;
        next.dropped(dropped);
        let written = unsynced.iter().try_for_each(|batch| {
            let write = next.write(&batch.bytes, batch.first, batch.last);
            write.map_err(|stopped| stopped.error)
        });
        match written.and_then(|()| next.sync()) {
            Ok(()) => Ok(next),
            Err(error) => {
                // The lines are in the one before, whose end must not be where this one begins.
                let removed = next.remove(&self.storage);
                let pointed = self.storage.point("current", &self.segment.name.text());
                if let Err(error) = removed.and(pointed) {
                    let doing = format!("cannot remove the segment after `{}`", self.display());
                    events::tell(&LogError::io(doing, error));
                }
                Err(error)
            }
        }
    }

    /// Lets the keeper end, and waits for what is written back.
    pub(crate) fn dismiss_threads(&mut self) {
        self.keeper.dismiss();
        if let Some(writeback) = self.writeback.take() {
            writeback.end();
        }
    }

    /// Leaves the log so that it is opened again without reading any text.
    pub(crate) fn close(&mut self) -> Result<(), LogError> {
        let told = match &self.stopped {
            None => self.tell_dropped((self.settings.clock)()),
            Some(_) => Ok(None),
        };
        let synced = told.and_then(|_no_room| match &self.stopped {
            None => self.sync(),
            Some(stopped) => Err(stopped.clone()),
        });
        self.note_tallies((self.settings.clock)(), true);
        synced?;
        if self.segment.sealed
            && self.segment.dropped_behind() > 0
            && let Err(error) = self.next_segment()
        {
            // How many were dropped is told by `events.jsonl` alone.
            let doing = format!("cannot make a segment after `{}`", self.display());
            events::tell(&LogError::io(doing, error));
        }
        self.segment.note_dropped((self.settings.clock)());
        self.checkpoint((self.settings.clock)());
        let doing = format!("cannot end `{}`", self.display());
        let ended = self
            .segment
            .flush()
            .and_then(|()| self.segment.release())
            .and_then(|()| self.segment.sync_sidecar());
        ended.map_err(|error| LogError::io(doing, error))
    }

    fn display(&self) -> String {
        self.storage.display(&self.segment.name.text())
    }
}

/// What comes behind the first `skip` bytes of some batches.
fn last_bytes(batches: &VecDeque<Batch>, skip: u64) -> impl Iterator<Item = &[u8]> {
    let mut skip = usize::try_from(skip).unwrap_or(usize::MAX);
    batches.iter().map(move |batch| {
        let (_, bytes) = batch.bytes.split_at(skip.min(batch.bytes.len()));
        skip -= batch.bytes.len() - bytes.len();
        bytes
    })
}

/// The buffer without its content, to use again.
fn emptied(mut buffer: Vec<u8>) -> Vec<u8> {
    buffer.clear();
    buffer.shrink_to(LARGEST_SPARE);
    buffer
}

/// Waiting for space, longer each time.
#[derive(Default)]
struct Waiting {
    since: Option<Instant>,
    next: Duration,
}

impl Waiting {
    /// Says why, before the first wait.
    fn tell_once(&self, why: impl FnOnce() -> LogError) {
        if self.since.is_none() {
            events::tell(&why());
        }
    }

    /// Waits; false if it has taken longer than `limit`.
    fn again(&mut self, limit: Option<Duration>) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        if limit.is_some_and(|limit| since.elapsed() >= limit) {
            return false;
        }
        let (first, most) = WAIT;
        self.next = (self.next * 2).clamp(first, most);
        let left = limit.map(|limit| limit.saturating_sub(since.elapsed()));
        park_timeout(left.map_or(self.next, |left| left.min(self.next)));
        true
    }
}
