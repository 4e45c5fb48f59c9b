//! Group commit: who appends, who writes, who waits for what.
//!
//! Whoever has to wait first writes for all: it takes what has come together, writes and syncs it
//! outside of the lock, and wakes those it did that for. What comes meanwhile is the next batch,
//! and one of those who wait for it goes on. So there is no delay but the sync itself, and no
//! thread in between; a worker thread looks after timers and after those who cannot block.
//!
//! Those who were woken often come back at once with the next record, but after the next batch has
//! begun: then each sync has only half of them. So whoever leads lets them run first ([`Patience`]).

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::PoisonError;
use std::task::Waker;
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::error::{LogError, LogErrorKind, nested};
use crate::options::{Durability, OnFull};
use crate::patience::Patience;
use crate::sync::{Mutex, MutexGuard, Signal, ThreadId, thread};
use crate::text::{self, End};
use crate::writer::Writer;

/// From how much on a buffer is written without being asked.
const BUFFER: usize = 64 * 1024;
/// How long a buffered line may lie.
const FLUSH: Duration = Duration::from_millis(100);
/// How long readers may not know what is durable.
const NOTE: Duration = Duration::from_secs(1);
/// From how much on appending waits until some of it is written.
const MOST_PENDING: usize = 8 * 1024 * 1024;

/// How far a line has to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Written,
    Durable,
}

#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Those who wait for what is being written, and those who wait for what comes next. Which is
    /// which changes with every batch.
    waiting: [Signal; 2],
    /// The worker thread.
    worker: Signal,
    /// Those who want to know how far it has come, and do nothing for it.
    watching: Signal,
    writer: Mutex<Writer>,
    durability: Durability,
    on_full: OnFull,
    max_line: usize,
    clock: fn() -> u64,
}

#[derive(Debug, Default)]
struct State {
    pending: Batch,
    /// How many lines have come, are or were being written, are written, are durable.
    next: u64,
    taken: u64,
    written: u64,
    durable: u64,
    /// How many of them are in the log, and durable there: what was refused is not.
    in_log: (u64, u64),
    /// Which of `waiting` is for what is being written.
    turn: usize,
    /// Who writes for all, if anybody does.
    leader: Option<ThreadId>,
    wants_sync: bool,
    patience: Patience,
    /// Lines that came and are not in the log.
    refused: Vec<(Range<u64>, LogError)>,
    /// How many of them were dropped, as was asked for.
    dropped: u64,
    /// Lines that nobody waits for, until they are written.
    unattended: Vec<Range<u64>>,
    /// Why some of them are not in the log, and how many, until somebody has heard of it.
    unheard: Option<(LogError, u64)>,
    failed: Option<LogError>,
    closed: bool,
    /// Nobody has the log any more: the worker closes it.
    abandoned: bool,
    /// Futures that wait.
    wakers: Vec<Waker>,
    pending_since: Option<Instant>,
    unsynced_since: Option<Instant>,
    /// Since when more is durable than is noted for readers, where nothing else is to be done.
    unnoted_since: Option<Instant>,
    /// When the worker wakes by itself.
    alarm: Option<Instant>,
    /// A buffer to use again.
    spare: Vec<u8>,
}

/// How many ranges of refused lines are remembered: far more than can be waited for at once.
const REFUSED: usize = 1024;

impl State {
    /// Whether the last of `lines` has come as far as `level`; an error if it never will.
    fn reached(
        &self,
        lines: &Range<u64>,
        level: Level,
        drops: bool,
    ) -> Option<Result<(), LogError>> {
        let last = lines.end - 1;
        let refusal = self.refusal(last).filter(|_| !lines.is_empty());
        let Some(error) = refusal else {
            return self.passed(last, level);
        };
        if drops && level == Level::Written {
            return Some(Ok(()));
        }
        Some(Err(error.clone()))
    }

    /// Whether all up to `line` have come as far as `level` that were not refused; an error if they
    /// never will.
    fn passed(&self, line: u64, level: Level) -> Option<Result<(), LogError>> {
        let far = match level {
            Level::Written => self.written,
            Level::Durable => self.durable,
        };
        match far >= line {
            true => Some(Ok(())),
            false => self.failed.clone().map(Err),
        }
    }

    /// As `reached` for `Durable`, but an error is left to be heard by who appends.
    fn watched(&self, line: u64) -> Option<Result<(), LogError>> {
        if let Some(error) = self.refusal(line) {
            return Some(Err(error.clone()));
        }
        let never_comes = self.closed && line > self.next;
        let passed = self.passed(line, Level::Durable);
        passed.or_else(|| never_comes.then(|| Err(closed())))
    }

    /// Why a line is not in the log, if it was refused.
    fn refusal(&self, line: u64) -> Option<&LogError> {
        let mut refused = self.refused.iter();
        let refusal = refused.find(|(lines, _)| lines.contains(&line));
        refusal.map(|(_, error)| error)
    }

    /// Nobody waits for these lines.
    fn leave(&mut self, lines: &Range<u64>) {
        match self.unattended.last_mut() {
            Some(last) if last.end == lines.start => last.end = lines.end,
            _ => self.unattended.push(lines.clone()),
        }
    }

    /// These lines are not in the log: of those that nobody waits for, whoever comes next hears.
    fn miss(&mut self, lines: &Range<u64>, error: &LogError) {
        let count: u64 = self
            .unattended
            .iter()
            .map(|left| overlap(left, lines))
            .sum();
        if count > 0 {
            let (_, unheard) = self.unheard.get_or_insert_with(|| (error.clone(), 0));
            *unheard += count;
        }
    }

    /// Takes the refusal that nobody has heard of, as an error that counts the lines.
    fn take_unheard(&mut self) -> Result<(), LogError> {
        let unheard = self.unheard.take();
        unheard.map_or(Ok(()), |(error, lines)| Err(error.of_earlier(lines)))
    }

    /// What the log does while it is written can call it again, for example by a notice.
    fn may_wait(&self) -> Result<(), LogError> {
        if self
            .leader
            .is_some_and(|leader| leader == thread::current().id())
        {
            return Err(nested("this thread is writing the log"));
        }
        Ok(())
    }

    fn accepts(&self) -> Result<(), LogError> {
        self.may_wait()?;
        match &self.failed {
            Some(failed) => Err(failed.clone()),
            None if self.closed => Err(closed()),
            None => Ok(()),
        }
    }
}

/// How many lines two ranges have in common.
fn overlap(one: &Range<u64>, other: &Range<u64>) -> u64 {
    let (start, end) = (one.start.max(other.start), one.end.min(other.end));
    end.saturating_sub(start)
}

fn closed() -> LogError {
    LogError::new(LogErrorKind::Closed, "the log has been closed")
}

impl Queue {
    pub(crate) fn new(writer: Writer) -> Queue {
        let lines = writer.lines();
        Queue {
            state: Mutex::new(State {
                next: lines,
                taken: lines,
                written: lines,
                durable: lines,
                in_log: (lines, lines),
                ..State::default()
            }),
            waiting: Default::default(),
            worker: Signal::default(),
            watching: Signal::default(),
            durability: writer.settings.durability,
            on_full: writer.settings.on_full,
            max_line: writer.settings.max_line,
            clock: writer.settings.clock,
            writer: Mutex::new(writer),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self, which: usize) -> &Signal {
        let [even, odd] = &self.waiting;
        if which == 0 { even } else { odd }
    }

    /// How far an acknowledged line has come.
    pub(crate) fn level(&self) -> Option<Level> {
        match self.durability {
            Durability::Buffered => None,
            Durability::Interval(_) => Some(Level::Written),
            Durability::Batch { .. } | Durability::Always => Some(Level::Durable),
        }
    }

    /// Appends a record and waits until it has come as far as `level`; gives the number of its
    /// last line.
    pub(crate) fn append(
        &self,
        record: &[u8],
        end: End,
        level: Option<Level>,
    ) -> Result<u64, LogError> {
        self.append_with(level, |into| {
            u64::from(text::encode(into, record, self.max_line, end))
        })
    }

    /// Appends many records, each with its newline, and waits for the last of them.
    pub(crate) fn append_lines(
        &self,
        records: &[u8],
        level: Option<Level>,
    ) -> Result<u64, LogError> {
        self.append_with(level, |into| {
            text::encode_lines(into, records, self.max_line)
        })
    }

    /// As `append_lines`, and leaves `records` empty: what need not be copied is not.
    pub(crate) fn append_buffer(
        &self,
        records: &mut Vec<u8>,
        level: Option<Level>,
    ) -> Result<u64, LogError> {
        self.append_with(level, |into| text::move_lines(into, records, self.max_line))
    }

    /// Appends records, and waits for the last of them.
    pub(crate) fn append_all(
        &self,
        records: &[impl AsRef<[u8]>],
        level: Option<Level>,
    ) -> Result<u64, LogError> {
        self.append_with(level, |into| {
            let records = records.iter().map(AsRef::as_ref);
            records
                .map(|record| u64::from(text::encode(into, record, self.max_line, End::Newline)))
                .sum()
        })
    }

    fn append_with(
        &self,
        level: Option<Level>,
        encode: impl FnOnce(&mut Vec<u8>) -> u64,
    ) -> Result<u64, LogError> {
        let mut state = self.lock();
        while state.leader.is_some() && state.pending.bytes.len() >= MOST_PENDING {
            state.may_wait()?;
            state = self.wait_for(state, u64::MAX);
        }
        if level.is_none() {
            state.take_unheard()?;
        }
        let lines = self.add(&mut state, encode)?;
        let line = lines.end - 1;
        if level.is_none() {
            state.leave(&lines);
        }
        match level {
            Some(level) => {
                self.wake_for_pending(&mut state);
                self.wait(state, &lines, level)?;
            }
            None if state.pending.bytes.len() >= BUFFER && state.leader.is_none() => {
                drop(self.lead(state, false));
            }
            None => self.wake_for_pending(&mut state),
        }
        Ok(line)
    }

    /// Appends a record if there is room for it now; nobody waits for it, so the worker writes it.
    pub(crate) fn append_unattended(&self, record: &[u8]) -> Option<Result<u64, LogError>> {
        let mut state = self.lock();
        if let Err(error) = state.take_unheard() {
            return Some(Err(error));
        }
        if state.pending.bytes.len() >= MOST_PENDING {
            return None;
        }
        let added = self.add(&mut state, |into| {
            u64::from(text::encode(into, record, self.max_line, End::Newline))
        });
        if let Ok(lines) = &added {
            state.leave(lines);
        }
        self.wake_for_pending(&mut state);
        let is_much = self.is_much(&state);
        if added.is_ok() && (state.pending_since.is_none() || (is_much && state.leader.is_none())) {
            let since = *state.pending_since.get_or_insert_with(Instant::now);
            self.wake_by(
                &mut state,
                Some(if is_much { since } else { since + FLUSH }),
            );
        }
        Some(added.map(|lines| lines.end - 1))
    }

    /// Appends a record if there is room for it now; gives its lines.
    pub(crate) fn try_append(
        &self,
        record: &[u8],
        waker: &Waker,
    ) -> Option<Result<Range<u64>, LogError>> {
        let mut state = self.lock();
        if self.level().is_none()
            && let Err(error) = state.take_unheard()
        {
            return Some(Err(error));
        }
        if state.leader.is_some() && state.pending.bytes.len() >= MOST_PENDING {
            remember(&mut state.wakers, waker);
            return None;
        }
        let added = self.add(&mut state, |into| {
            u64::from(text::encode(into, record, self.max_line, End::Newline))
        });
        if let (Ok(lines), None) = (&added, self.level()) {
            state.leave(lines);
        }
        self.wake_for_pending(&mut state);
        Some(added)
    }

    /// Whoever has waited for these lines does so no more, and has not heard what became of them.
    pub(crate) fn leave(&self, lines: &Range<u64>) {
        let mut state = self.lock();
        state.leave(lines);
        if self.on_full != OnFull::Drop
            && let Some(error) = state.refusal(lines.end - 1).cloned()
        {
            state.miss(lines, &error);
        }
    }

    /// Adds records to what is pending; gives their lines.
    fn add(
        &self,
        state: &mut State,
        encode: impl FnOnce(&mut Vec<u8>) -> u64,
    ) -> Result<Range<u64>, LogError> {
        state.accepts()?;
        let now = (self.clock)();
        if state.pending.is_empty() {
            state.pending.first = now;
            if self.delay().is_some() {
                state.pending_since = Some(Instant::now());
            }
        }
        state.pending.last = now;
        let lines = encode(&mut state.pending.bytes);
        state.pending.lines += lines;
        state.next += lines;
        state.patience.record_has_come();
        Ok(state.next + 1 - lines..state.next + 1)
    }

    /// Whether so much is pending that it is written without being asked.
    fn is_much(&self, state: &State) -> bool {
        let much = match self.durability {
            Durability::Batch { bytes, .. } => bytes.min(MOST_PENDING),
            _ => BUFFER,
        };
        state.pending.bytes.len() >= much
    }

    /// How long lines may lie before somebody writes them, where they lie at all.
    fn delay(&self) -> Option<Duration> {
        match self.durability {
            Durability::Buffered => Some(FLUSH),
            Durability::Batch { delay, .. } => Some(delay),
            Durability::Interval(_) | Durability::Always => None,
        }
    }

    /// Has the worker look after what lies. Not for who writes it at once: the worker would wake for
    /// each large block, wait for it to be written, and find nothing to do.
    fn wake_for_pending(&self, state: &mut MutexGuard<'_, State>) {
        if let (Some(since), Some(delay)) = (state.pending_since, self.delay()) {
            self.wake_by(state, since.checked_add(delay));
        }
    }

    /// Has the worker look what is due at `at`, if it ever is: to wake it for each batch would cost
    /// more than writing it.
    fn wake_by(&self, state: &mut MutexGuard<'_, State>, at: Option<Instant>) {
        if let Some(at) = at
            && state.alarm.is_none_or(|alarm| alarm > at)
        {
            state.alarm = Some(at);
            self.worker.notify_one(state);
        }
    }

    /// Waits until the last of `lines` has come as far as `level`, and writes for all if nobody does.
    fn wait<'q>(
        &'q self,
        state: MutexGuard<'q, State>,
        lines: &Range<u64>,
        level: Level,
    ) -> Result<(), LogError> {
        let drops = self.on_full == OnFull::Drop;
        let reached = |state: &State| state.reached(lines, level, drops);
        self.wait_until(state, lines.end - 1, level, reached)
    }

    /// Waits until all that has come is durable but for what is refused, and writes for all if nobody
    /// does; then tells of what was refused, if nobody has heard of it.
    fn wait_for_all(&self, state: MutexGuard<'_, State>) -> Result<(), LogError> {
        let last = state.next;
        let passed = |state: &State| state.passed(last, Level::Durable);
        let waited = self.wait_until(state, last, Level::Durable, passed);
        let unheard = self.lock().take_unheard();
        match (waited, unheard) {
            (Err(error), Err(unheard)) => Err(error.of_earlier(unheard.earlier())),
            (waited, unheard) => waited.and(unheard),
        }
    }

    /// Waits for `reached`, which is to be when `line` has come as far as `level`.
    fn wait_until<'q>(
        &'q self,
        mut state: MutexGuard<'q, State>,
        line: u64,
        level: Level,
        reached: impl Fn(&State) -> Option<Result<(), LogError>>,
    ) -> Result<(), LogError> {
        let mut yields = 0;
        loop {
            if let Some(reached) = reached(&state) {
                return reached;
            }
            let sync = level == Level::Durable;
            if state.leader.is_some() || !self.may_lead(&state, sync) {
                state.wants_sync |= sync && state.leader.is_some();
                state = self.wait_for(state, line);
            } else if sync && state.patience.lets_run(yields) {
                yields += 1;
                state = self.let_run(state);
            } else {
                state = self.lead(state, sync);
            }
        }
    }

    /// Lets others run.
    fn let_run<'q>(&'q self, state: MutexGuard<'q, State>) -> MutexGuard<'q, State> {
        drop(state);
        let since = Instant::now();
        thread::yield_now();
        let took = since.elapsed();
        let mut state = self.lock();
        state.patience.yielded(took);
        state
    }

    /// Waits until `line` is durable, without asking for that.
    pub(crate) fn wait_durable(&self, line: u64) -> Result<(), LogError> {
        let mut state = self.lock();
        loop {
            if let Some(reached) = state.watched(line) {
                return reached;
            }
            state.may_wait()?;
            state = self.watching.wait(state);
        }
    }

    /// Whether it is time: batches wait for others.
    fn may_lead(&self, state: &State, sync: bool) -> bool {
        match self.durability {
            Durability::Batch { .. } if sync && !state.wants_sync && !state.closed => {
                self.is_much(state)
            }
            _ => true,
        }
    }

    fn wait_for<'q>(&self, state: MutexGuard<'q, State>, line: u64) -> MutexGuard<'q, State> {
        let which = if line <= state.taken {
            state.turn
        } else {
            1 - state.turn
        };
        self.waiting(which).wait(state)
    }

    /// Writes what is pending, and syncs if asked.
    fn lead<'q>(&'q self, mut state: MutexGuard<'q, State>, sync: bool) -> MutexGuard<'q, State> {
        state.leader = Some(thread::current().id());
        let batch = std::mem::take(&mut state.pending);
        state.pending.bytes = std::mem::take(&mut state.spare);
        state.pending_since = None;
        state.patience.batch_begins();
        state.taken = state.next;
        let sync = std::mem::take(&mut state.wants_sync) || sync;
        // Whoever has something to write has no time to look at the clock, and need not.
        let unnoted = state.unnoted_since.filter(|_| batch.is_empty());
        let is_note = unnoted.is_some_and(|since| since.elapsed() >= NOTE);
        let (turn, upto) = (state.turn, state.taken);
        drop(state);

        let committed = self.with_writer(|writer| {
            if is_note {
                writer.note_durable();
            }
            let written = writer.commit(batch, sync);
            (
                written,
                writer.is_dirty(),
                writer.is_unnoted(),
                writer.lines(),
            )
        });

        let mut state = self.lock();
        state.leader = None;
        state.turn = 1 - turn;
        let mut panic = None;
        match committed {
            Ok((Ok(written), is_dirty, is_unnoted, lines)) => {
                state.spare = written.spare;
                state.written = upto;
                state.in_log.0 = lines;
                if !is_dirty {
                    state.durable = upto;
                    state.in_log.1 = lines;
                    state.unsynced_since = None;
                } else if state.unsynced_since.is_none() {
                    let since = Instant::now();
                    state.unsynced_since = Some(since);
                    if let Durability::Interval(every) = self.durability {
                        self.wake_by(&mut state, since.checked_add(every));
                    }
                }
                // What is dirty is noted with its sync.
                match is_unnoted && !is_dirty {
                    true if state.unnoted_since.is_none() => {
                        let since = Instant::now();
                        state.unnoted_since = Some(since);
                        self.wake_by(&mut state, Some(since + NOTE));
                    }
                    true => {}
                    false => state.unnoted_since = None,
                }
                if let Some((lines, error)) = written.refused {
                    self.refuse(&mut state, upto - lines + 1..upto + 1, error);
                }
            }
            Ok((Err(error), ..)) => state.failed = Some(error),
            Err(payload) => {
                let message = "writing the log panicked: it is stopped";
                state.failed = Some(LogError::new(LogErrorKind::Stopped, message));
                panic = Some(payload);
            }
        }
        if let Some(failed) = state.failed.clone() {
            let never_written = state.written + 1..state.next + 1;
            state.miss(&never_written, &failed);
            state.unattended.clear();
        }
        state.unattended.retain(|lines| lines.end > upto + 1);
        let woken = self.waiting(turn).waiting(&state);
        state.patience.batch_has_woken(woken);
        self.waiting(turn).notify_all(&mut state);
        self.watching.notify_all(&mut state);
        match self.durability {
            // Not all of those may go on.
            Durability::Batch { .. } => {
                self.waiting(1 - turn).notify_all(&mut state);
                if self.is_much(&state) {
                    // Perhaps nobody waits for it.
                    self.worker.notify_one(&mut state);
                }
            }
            _ if state.failed.is_some() => self.waiting(1 - turn).notify_all(&mut state),
            _ => self.waiting(1 - turn).notify_one(&mut state),
        }
        if !state.wakers.is_empty() {
            state.wakers.drain(..).for_each(Waker::wake);
            self.worker.notify_one(&mut state);
        }
        match panic {
            Some(payload) => {
                drop(state);
                resume_unwind(payload)
            }
            None => state,
        }
    }

    /// For whoever is the leader: outside of the lock, and a panic is for later.
    fn with_writer<T>(&self, work: impl FnOnce(&mut Writer) -> T) -> std::thread::Result<T> {
        catch_unwind(AssertUnwindSafe(|| {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut writer)
        }))
    }

    fn refuse(&self, state: &mut State, lines: Range<u64>, error: LogError) {
        match self.on_full {
            OnFull::Drop => state.dropped += lines.end - lines.start,
            _ => state.miss(&lines, &error),
        }
        if let Some((last, _)) = state.refused.last_mut()
            && last.end == lines.start
        {
            last.end = lines.end;
            return;
        }
        if state.refused.len() == REFUSED {
            // Whoever asks so late for what lies between them is told that it may not be there.
            let (oldest, _) = state.refused.remove(0);
            if let Some((next, _)) = state.refused.first_mut() {
                next.start = oldest.start;
            }
        }
        state.refused.push((lines, error));
    }

    /// Whether the lines of a future have come far enough; if not, `waker` is woken when it may have.
    pub(crate) fn poll(
        &self,
        lines: &Range<u64>,
        level: Level,
        waker: &Waker,
    ) -> Option<Result<(), LogError>> {
        let mut state = self.lock();
        let reached = state.reached(lines, level, self.on_full == OnFull::Drop);
        if reached.is_none() {
            remember(&mut state.wakers, waker);
            self.worker.notify_one(&mut state);
        }
        reached
    }

    /// Makes everything appended so far durable.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        let mut state = self.lock();
        state.may_wait()?;
        state.wants_sync = true;
        self.wait_for_all(state)
    }

    /// Whether this thread may wait for the log; an error if it is the one that writes it.
    pub(crate) fn may_wait(&self) -> Result<(), LogError> {
        self.lock().may_wait()
    }

    /// Leaves it to the worker, whose thread this is, to close the log once it has written.
    pub(crate) fn abandon(&self) {
        self.lock().abandoned = true;
    }

    /// What the worker thread does until the log is closed; what came of that if it had to do it.
    pub(crate) fn work(&self) -> Option<Result<(), LogError>> {
        let mut state = self.lock();
        while !state.closed && state.failed.is_none() && !state.abandoned {
            let due = self.due(&state);
            state.alarm = due.map(|(at, _)| at);
            state = match due {
                Some((at, sync)) if at <= Instant::now() && state.leader.is_none() => {
                    self.lead(state, sync)
                }
                // Whoever leads wakes us.
                Some((at, _)) => {
                    let wait = at.saturating_duration_since(Instant::now());
                    let wait = wait.max(Duration::from_micros(100));
                    self.worker.wait_timeout(state, wait)
                }
                None => self.worker.wait(state),
            };
        }
        let is_abandoned = state.abandoned;
        drop(state);
        is_abandoned.then(|| self.close())
    }

    /// When something has to be written, and whether to sync then.
    fn due(&self, state: &State) -> Option<(Instant, bool)> {
        let is_much = self.is_much(state);
        let is_awaited = !state.wakers.is_empty();
        let pending = state.pending_since.filter(|_| !state.pending.is_empty());
        let pending = |delay| match is_much {
            true => pending,
            false => pending.and_then(|since| since.checked_add(delay)),
        };
        let awaited = |sync| is_awaited.then(|| (Instant::now(), sync));
        // Whoever writes has no time for it, so it is looked again whether anybody still does.
        let earliest = match state.pending.is_empty() {
            true => None,
            false => Some(Instant::now() + FLUSH),
        };
        let unnoted = state.unnoted_since.map(|since| since + NOTE);
        let note = unnoted.map(|at| (earliest.map_or(at, |earliest| at.max(earliest)), false));
        let work = match self.durability {
            Durability::Buffered => awaited(false).or(pending(FLUSH).map(|at| (at, false))),
            Durability::Interval(every) => {
                let write = match state.pending.is_empty() {
                    true => None,
                    false => awaited(false).or(pending(FLUSH).map(|at| (at, false))),
                };
                let sync = state.unsynced_since;
                let sync = sync.and_then(|since| since.checked_add(every));
                write.into_iter().chain(sync.map(|at| (at, true))).min()
            }
            Durability::Batch { delay, .. } => pending(delay).map(|at| (at, true)),
            Durability::Always => awaited(true).or(pending(FLUSH).map(|at| (at, true))),
        };
        work.into_iter().chain(note).min()
    }

    /// Takes no more, and makes durable what it has.
    pub(crate) fn close(&self) -> Result<(), LogError> {
        let mut state = self.lock();
        if state.closed {
            return Ok(());
        }
        state.may_wait()?;
        state.closed = true;
        self.worker.notify_one(&mut state);
        // Lines that will not come any more.
        self.watching.notify_all(&mut state);
        let synced = self.wait_for_all(state);
        let ended = self.end();
        let mut state = self.lock();
        match &ended {
            Ok(lines) => {
                state.durable = state.written;
                state.in_log = (*lines, *lines);
            }
            Err(error) => {
                let _first = state.failed.get_or_insert_with(|| error.clone());
            }
        }
        self.watching.notify_all(&mut state);
        state.wakers.drain(..).for_each(Waker::wake);
        synced.and(ended.map(|_lines| ()))
    }

    /// Lets the writer leave the log, as its leader: what is told of meanwhile may call again. Gives
    /// how many lines that has.
    fn end(&self) -> Result<u64, LogError> {
        let mut state = self.lock();
        while state.leader.is_some() {
            state = self.wait_for(state, u64::MAX);
        }
        state.leader = Some(thread::current().id());
        drop(state);
        let ended = self.with_writer(|writer| {
            let ended = writer.close();
            writer.dismiss_threads();
            ended.map(|()| writer.lines())
        });
        let mut state = self.lock();
        state.leader = None;
        // One who waited for another leader may have been woken in vain.
        for waiting in &self.waiting {
            waiting.notify_all(&mut state);
        }
        drop(state);
        ended.unwrap_or_else(|payload| resume_unwind(payload))
    }

    /// Whether a line has come to the log, or was refused.
    #[cfg(feature = "tracing")]
    pub(crate) fn came(&self, line: u64) -> Option<bool> {
        let state = self.lock();
        match state.refusal(line) {
            Some(_) => Some(false),
            None => (state.written >= line).then_some(true),
        }
    }

    /// How many lines the log has, and how many of them are durable.
    pub(crate) fn progress(&self) -> (u64, u64) {
        self.lock().in_log
    }

    /// How many lines were dropped because the disk was full.
    pub(crate) fn dropped(&self) -> u64 {
        self.lock().dropped
    }
}

fn remember(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}
