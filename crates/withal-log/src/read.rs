//! Reading a log, while it is written or not.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use memchr::{memchr, memrchr, memrchr_iter};

use crate::error::{LogError, LogErrorKind};
use crate::events;
use crate::files::{Files, Lost, SegmentFiles};
use crate::hole::{is_damage, next_line, read_around, whole_parts};
use crate::name::Name;
use crate::records::Records;
use crate::recover::{read_from, sound_entries, whole_lines};
use crate::restore;
use crate::ring::{self, Outstanding};
use crate::scan::Scan;
use crate::sidecar::Flags;
use crate::storage::{Disk, File, Storage};
use crate::text;
use crate::watch::Watch;

/// How much is read at a time.
const CHUNK: usize = 256 * 1024;

/// Reads a log from its start, without a lock.
///
/// It gives whole lines as they are stored; see [`decode`](crate::decode). What a writer has begun
/// and not ended is not given.
///
/// Retention does not wait for readers. A segment that it has removed before it could be read is
/// left out, [`removed`](Reader::removed) counts it, and the reader goes on with the oldest that is
/// there. Text that is missing or damaged anywhere else is an error, once: asked again, the reader
/// goes on behind the hole, see [`next_chunk`](Reader::next_chunk).
///
/// ```
/// use withal_log::{Log, Reader};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let log = Log::open(&path).open()?;
/// log.append("first")?;
/// log.append("second")?;
/// let mut reader = Reader::open(&path)?;
/// assert_eq!(reader.next_chunk()?, Some(&b"first\nsecond\n"[..]));
/// assert_eq!(reader.next_chunk()?, None); // so far
/// # log.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    storage: Arc<dyn Storage>,
    path: Option<PathBuf>,
    window: Window,
    is_durable_only: bool,
    /// The segments there are, and the next one to read.
    segments: Vec<SegmentFiles>,
    next: usize,
    current: Option<Current>,
    /// Between two segments, up to where in the log it has come; `None` at the start.
    position: Option<u64>,
    /// The segment that was entered last, or found missing.
    last: Option<Name>,
    /// Whether there was any, or it was looked whether something is missing where there is none.
    is_end_seen: bool,
    /// Up to where in the log it was told that something is missing behind all segments.
    told_to: Option<u64>,
    /// How many bytes were removed before they could be read.
    removed: u64,
    /// What has been read, and how much of it was given last.
    buffer: Vec<u8>,
    given: usize,
    watch: Option<Watch>,
}

/// Which time to read, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    since: Option<u64>,
    until: Option<u64>,
}

#[derive(Debug)]
struct Current {
    files: SegmentFiles,
    text: Box<dyn File>,
    offset: u64,
    /// Where the next segment begins, if there is one.
    end: Option<u64>,
    /// Where the window ends.
    stop: Option<u64>,
    /// Up to where the text may be given, if not all of it.
    limit: Option<u64>,
    /// Whether both, and where the window begins, are those that were asked for last.
    is_in_window: bool,
    /// Whether it has come to the end of what there is before.
    is_end_seen: bool,
}

/// What there is where nothing more can be read.
enum Then {
    /// More, by now.
    More,
    NextSegment,
    Nothing,
}

impl Reader {
    /// Reads the log in the directory `path`.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Reader, LogError> {
        let path = path.into();
        let mut reader = Reader::open_in(open_disk(&path)?)?;
        // The same place, whatever the working directory becomes.
        reader.path = Some(std::path::absolute(&path).unwrap_or(path));
        Ok(reader)
    }

    /// Reads the log in any storage: for tests.
    ///
    /// # Errors
    ///
    /// As `open`.
    #[doc(hidden)]
    pub fn open_in(storage: Arc<dyn Storage>) -> Result<Reader, LogError> {
        let segments = Files::list(&storage)?.segments().to_vec();
        Ok(Reader {
            storage,
            path: None,
            window: Window::default(),
            is_durable_only: false,
            segments,
            next: 0,
            current: None,
            position: None,
            last: None,
            is_end_seen: false,
            told_to: None,
            removed: 0,
            buffer: Vec::new(),
            given: 0,
            watch: None,
        })
    }

    /// Only lines written from `since` to `until`, in milliseconds since 1970, and those next to
    /// them: times are known of blocks of 64 KiB, not of each line.
    #[must_use]
    pub fn between(mut self, since: Option<u64>, until: Option<u64>) -> Reader {
        self.window = Window { since, until };
        if let Some(current) = &mut self.current {
            current.is_in_window = false;
        }
        self
    }

    /// Only lines that are durable: none of them ever vanishes again.
    ///
    /// How far that is is noted once a second.
    #[must_use]
    pub fn durable_only(mut self) -> Reader {
        self.is_durable_only = true;
        if let Some(current) = &mut self.current {
            current.is_in_window = false;
        }
        self
    }

    /// Only lines that are written from now on.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn skip_to_end(mut self) -> Result<Reader, LogError> {
        while let Some(last) = self.segments.len().checked_sub(1) {
            self.next = last;
            if !self.open_next()? {
                break;
            }
            if let Some(current) = &mut self.current {
                let scan = Scan::new(&current.files.read_sidecar(&self.storage)?);
                let Current { files, text, .. } = &*current;
                current.offset = whole_end(&self.storage, files, &**text, &scan)?;
            }
            if !self.is_followed()? {
                break;
            }
        }
        // What was passed over is not missed.
        self.removed = 0;
        Ok(self)
    }

    /// Only the last `count` records, and what is written from now on; of those that lie
    /// [between](Reader::between) two times, if that was asked before.
    ///
    /// A record without an end, see [`append_unended`](crate::Log::append_unended), counts as one
    /// with what was appended after it.
    ///
    /// # Errors
    ///
    /// If the log cannot be read.
    pub fn skip_to_last(mut self, count: usize) -> Result<Reader, LogError> {
        self = self.skip_to_end()?;
        let Some(current) = &mut self.current else {
            return Ok(self);
        };
        current.offset = current.offset.min(current.limit.unwrap_or(u64::MAX));
        if count == 0 {
            return Ok(self);
        }
        // The end of the record before them, too.
        let count = count.saturating_add(1);
        let mut wanted = count;
        loop {
            let Some(current) = &mut self.current else {
                return Ok(self);
            };
            let (start, stop) = self.window.part(&self.storage, &current.files)?;
            let end = current.offset.min(stop.unwrap_or(u64::MAX));
            let found = look_back(&*current.text, start..end, count, &mut wanted);
            let found =
                found.map_err(|error| cannot_read(&self.storage, &current.files.name, error))?;
            current.offset = found.unwrap_or(start.min(end));
            if found.is_some() {
                return Ok(self);
            }
            let Some(before) = self.next.checked_sub(2) else {
                return Ok(self);
            };
            let Some(files) = self.segments.get(before).cloned() else {
                return Ok(self);
            };
            let Some(text) = open_if_there(&self.storage, &files)? else {
                // What retention has removed is not among the last any more.
                return Ok(self);
            };
            self.next = before;
            self.enter(files, text)?;
            if let Some(current) = &mut self.current {
                current.offset = current.end.unwrap_or(current.offset);
            }
        }
    }

    /// The records one by one, as they were appended.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("log");
    /// let log = withal_log::Log::open(&path).open()?;
    /// log.append("two\nlines")?;
    /// for record in withal_log::Reader::open(&path)?.records() {
    ///     assert_eq!(record?, b"two\nlines");
    /// }
    /// log.close()?;
    /// # Ok::<(), withal_log::LogError>(())
    /// ```
    pub fn records(self) -> Records {
        Records::new(self)
    }

    /// How many bytes of the log retention has removed since the reader was opened, before they
    /// could be read.
    ///
    /// They are missing before what [`next_chunk`](Reader::next_chunk) gave last, or at the end.
    ///
    /// ```
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("log");
    /// let log = withal_log::Log::open(&path).open()?;
    /// let mut reader = withal_log::Reader::open(&path)?;
    /// log.append("one")?;
    /// while let Some(lines) = reader.next_chunk()? {
    ///     assert_eq!(lines, b"one\n");
    /// }
    /// assert_eq!(reader.removed(), 0);
    /// log.close()?;
    /// # Ok::<(), withal_log::LogError>(())
    /// ```
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.removed
    }

    /// What `next_chunk` gave last.
    #[must_use]
    pub fn lines(&self) -> &[u8] {
        self.buffer.get(..self.given).unwrap_or_default()
    }

    /// The next lines, some of them at once; `None` at the end of what there is now.
    ///
    /// What retention has removed is left out, and counted by [`removed`](Reader::removed).
    ///
    /// # Errors
    ///
    /// [`Corrupt`](LogErrorKind::Corrupt) where text is missing that retention has not removed, or
    /// cannot be read as it was written: it says where, and how much that is as far as that can be
    /// known. What comes before the hole was given by then, and the next call gives the next whole
    /// line behind it, so one error stands for one hole. A line of which a part is in the hole is not
    /// given.
    ///
    /// After any other error, which is what the file system said, the next call tries the same again.
    ///
    /// ```
    /// use withal_log::{Log, LogErrorKind, Reader};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("log");
    /// let log = Log::open(&path).rotate_size(1).open()?;
    /// for record in ["one", "two", "three"] {
    ///     log.append(record)?;
    /// }
    /// log.close()?;
    /// // Each is in a segment of its own, and that of "two" is lost.
    /// # for entry in std::fs::read_dir(&path)? {
    /// #     let entry = entry?;
    /// #     if entry.file_name().to_string_lossy().starts_with("00000000000000000004-") {
    /// #         std::fs::remove_file(entry.path())?;
    /// #     }
    /// # }
    /// let mut reader = Reader::open(&path)?;
    /// assert_eq!(reader.next_chunk()?, Some(&b"one\n"[..]));
    /// let hole = reader.next_chunk().unwrap_err();
    /// assert_eq!(hole.kind(), LogErrorKind::Corrupt);
    /// assert!(hole.to_string().ends_with("4 bytes are missing"), "{hole}");
    /// assert_eq!(reader.next_chunk()?, Some(&b"three\n"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, LogError> {
        drop(self.buffer.drain(..self.given));
        self.given = 0;
        loop {
            if self.current.is_none() && !self.open_next()? {
                return match std::mem::replace(&mut self.is_end_seen, true) {
                    true => Ok(None),
                    false => self.missing_behind()?.map_or(Ok(None), Err),
                };
            }
            self.is_end_seen = true;
            self.enter_window()?;
            let before = self.buffer.len();
            let read = match self.fill() {
                Ok(read) => read,
                Err(error) => return Err(self.pass_over(error)),
            };
            let is_torn = self.cut_zeros(before);
            let fresh = self.buffer.get(before..).unwrap_or_default();
            if let Some(newline) = memrchr(b'\n', fresh) {
                self.given = before + newline + 1;
                return Ok(self.buffer.get(..self.given));
            }
            if read > 0 && !is_torn {
                continue;
            }
            match self.at_end()? {
                Then::More if !is_torn => {}
                Then::NextSegment => self.current = None,
                Then::More | Then::Nothing => {
                    if let Some(error) = self.missing_at_end(is_torn)? {
                        return Err(error);
                    }
                    self.step_back();
                    return Ok(None);
                }
            }
        }
    }

    /// Waits until there may be more to read, or `limit` has passed; whether there may be.
    ///
    /// # Errors
    ///
    /// If the directory cannot be watched.
    pub fn wait(&mut self, limit: Duration) -> Result<bool, LogError> {
        let Some(path) = &self.path else {
            return Ok(true);
        };
        let cannot = |error| LogError::io(format!("cannot watch `{}`", path.display()), error);
        match &self.watch {
            Some(watch) => watch.wait(limit).map_err(cannot),
            None => {
                // What came before it was watched is not told.
                self.watch = Some(Watch::new(path).map_err(cannot)?);
                Ok(true)
            }
        }
    }

    /// Leaves out what of the current segment is not in a window that was asked for after it was
    /// entered.
    fn enter_window(&mut self) -> Result<(), LogError> {
        let Some(current) = self.current.as_mut().filter(|it| !it.is_in_window) else {
            return Ok(());
        };
        let (start, stop) = self.window.part(&self.storage, &current.files)?;
        let at = current.offset - self.buffer.len() as u64;
        current.offset = at.max(start);
        current.stop = stop;
        if current.end.is_none() {
            let Current { files, text, .. } = &*current;
            current.limit = limit(&self.storage, files, &**text, self.is_durable_only)?;
        }
        current.is_in_window = true;
        self.buffer.clear();
        Ok(())
    }

    /// Reads more of the current segment.
    fn fill(&mut self) -> io::Result<usize> {
        let Some(current) = &mut self.current else {
            return Ok(0);
        };
        let left = current.readable_to().map(|end| end - current.offset);
        let left = left.map_or(CHUNK, |left| usize::try_from(left).unwrap_or(CHUNK));
        let start = self.buffer.len();
        self.buffer.resize(start + left.min(CHUNK), 0);
        let (_, space) = self.buffer.split_at_mut(start);
        let read = current.text.read_until_damage(space, current.offset);
        self.buffer
            .truncate(start + read.as_ref().map_or(0, |read| *read));
        let read = read?;
        current.offset += read as u64;
        Ok(read)
    }

    /// Goes on behind what cannot be read, if that is damage; gives the error that tells of it.
    fn pass_over(&mut self, error: io::Error) -> LogError {
        let Some(current) = &self.current else {
            return LogError::io("cannot read the log", error);
        };
        let name = current.files.name.clone();
        if !is_damage(&error) {
            return cannot_read(&self.storage, &name, error);
        }
        let behind = current.text.behind_damage(current.offset);
        match self.skip_hole(behind, None) {
            Ok(Some(hole)) => {
                let name = self.storage.display(&name.text());
                LogError::caused(LogErrorKind::Corrupt, not_as_written(&name, &hole), error)
            }
            Ok(None) => cannot_read(&self.storage, &name, error),
            // The damage is met again.
            Err(other) => other,
        }
    }

    /// Goes on with the next whole line of the current segment behind `from`, or where it ends, for
    /// which `end` is known to be a place; gives what is passed over, or nothing where a line may yet
    /// come to its end.
    fn skip_hole(&mut self, from: u64, end: Option<u64>) -> Result<Option<Range<u64>>, LogError> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        let at = current.offset - self.buffer.len() as u64;
        let limit = current.readable_to().into_iter().chain(end).min();
        let found = next_line(&*current.text, from, limit.unwrap_or(u64::MAX));
        let found =
            found.map_err(|error| cannot_read(&self.storage, &current.files.name, error))?;
        let Some(next) = found.or(limit) else {
            return Ok(None);
        };
        current.offset = next;
        self.buffer.clear();
        Ok(Some(at..next))
    }

    /// Forgets what is behind a zero: a crash has left that, and recovery will cut it.
    fn cut_zeros(&mut self, from: usize) -> bool {
        let fresh = self.buffer.get(from..).unwrap_or_default();
        let Some(zero) = memchr(0, fresh) else {
            return false;
        };
        let behind = fresh.len() - zero;
        self.buffer.truncate(from + zero);
        if let Some(current) = &mut self.current {
            current.offset -= behind as u64;
        }
        true
    }

    /// Forgets what is not a whole line yet: it is read again.
    fn step_back(&mut self) {
        if let Some(current) = &mut self.current {
            current.offset -= self.buffer.len() as u64;
        }
        self.buffer.clear();
    }

    /// What to do where nothing more could be read.
    fn at_end(&mut self) -> Result<Then, LogError> {
        let Some(current) = &mut self.current else {
            return Ok(Then::Nothing);
        };
        let at = current.offset - self.buffer.len() as u64;
        let is_stopped = current.stop.is_some_and(|stop| at >= stop);
        if let (Some(before), None, false) = (current.limit, current.end, is_stopped) {
            let Current { files, text, .. } = &*current;
            current.limit = limit(&self.storage, files, &**text, self.is_durable_only)?;
            if current.limit > Some(before) {
                return Ok(Then::More);
            }
        }
        let was_last = current.end.is_none();
        if !self.is_followed()? {
            return Ok(Then::Nothing);
        }
        let Some(current) = &mut self.current else {
            return Ok(Then::Nothing);
        };
        // All of a segment is durable before there is a next one.
        current.limit = None;
        let base = current.files.name.base;
        let is_told = current
            .end
            .is_some_and(|end| self.told_to == Some(base + end));
        let is_left_out = is_stopped || is_told;
        let is_missing = match current.end {
            // The window leaves the rest of it out; what comes next may lie in it again.
            Some(_) if is_left_out => false,
            Some(end) if was_last && current.offset < end => return Ok(Then::More),
            Some(end) => at < end,
            None => false,
        };
        if is_missing {
            match self.look_again(at)? {
                Then::NextSegment => {}
                then => return Ok(then),
            }
        }
        let Some(current) = &self.current else {
            return Ok(Then::Nothing);
        };
        // What a failed write or sync has moved into the next segment may have been given already.
        let upto = match current.end {
            Some(end) if is_left_out => end.max(at),
            _ => at,
        };
        self.position = Some(current.files.name.base + upto);
        self.buffer.clear();
        Ok(Then::NextSegment)
    }

    /// What to do where the current segment ends at byte `at`, before the next one begins.
    fn look_again(&mut self, at: u64) -> Result<Then, LogError> {
        let Some(current) = &self.current else {
            return Ok(Then::Nothing);
        };
        let name = current.files.name.clone();
        if self.list_again(&name)? {
            return Ok(Then::NextSegment);
        }
        let following = self.segments.get(self.next);
        let end = following.map(|next| next.name.base - name.base);
        if let Some(current) = &mut self.current {
            current.end = end;
        }
        match end {
            Some(end) if at < end => match self.missing_before(end)? {
                Some(hole) => Err(hole),
                None => Ok(Then::Nothing),
            },
            Some(_) => Ok(Then::More),
            None => Ok(Then::Nothing),
        }
    }

    /// Goes on behind what is missing of the current segment before `end`; gives the error that tells
    /// of it.
    fn missing_before(&mut self, end: u64) -> Result<Option<LogError>, LogError> {
        let Some(current) = &self.current else {
            return Ok(None);
        };
        let (name, from) = (current.display(&self.storage), current.offset);
        let is_followed = current.end == Some(end);
        let hole = self.skip_hole(from, Some(end))?;
        Ok(hole.map(|hole| {
            let message = match is_followed && hole.end == end {
                true => ends_early(&name, &hole),
                false => not_as_written(&name, &hole),
            };
            LogError::new(LogErrorKind::Corrupt, message)
        }))
    }

    /// Goes on behind what is missing of the last segment, if that was durable: no crash tears it.
    fn missing_at_end(&mut self, is_torn: bool) -> Result<Option<LogError>, LogError> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        let was_seen = std::mem::replace(&mut current.is_end_seen, true);
        let at = current.offset - self.buffer.len() as u64;
        let is_stopped = current.stop.is_some_and(|stop| at >= stop);
        if (was_seen && !is_torn) || current.end.is_some() || is_stopped {
            return Ok(None);
        }
        let durable = checkpoint(&self.storage, &current.files)?;
        // It may have come since it was looked for.
        let mut byte = [0];
        let read = current.text.read_full(&mut byte, current.offset);
        let _read = read.map_err(|error| cannot_read(&self.storage, &current.files.name, error))?;
        if current.offset >= durable || byte != [0] {
            return match was_seen {
                true => Ok(None),
                false => self.missing_behind(),
            };
        }
        let missing = self.missing_before(durable)?;
        if let (Some(_), Some(current)) = (&missing, &mut self.current) {
            // More may be missing behind it.
            current.is_end_seen = false;
        }
        Ok(missing)
    }

    /// What is missing behind all text that there is.
    fn missing_behind(&mut self) -> Result<Option<LogError>, LogError> {
        let missing = missing_at_end(&self.storage)?;
        Ok(missing.map(|(error, end)| {
            self.told_to = end;
            error
        }))
    }

    /// Whether there is a segment after the current one.
    fn is_followed(&mut self) -> Result<bool, LogError> {
        let Some(current) = &mut self.current else {
            return Ok(false);
        };
        if self.next >= self.segments.len() {
            let segments = Files::list(&self.storage)?.segments().to_vec();
            let place = segments.partition_point(|files| files.name <= current.files.name);
            (self.segments, self.next) = (segments, place);
        }
        let following = self.segments.get(self.next);
        current.end = following.map(|next| next.name.base - current.files.name.base);
        Ok(current.end.is_some())
    }

    /// Lists the segments where one is missing, to go on after it. Whether retention has removed
    /// it: that takes the oldest first, so nothing before it is there any more.
    fn list_again(&mut self, missing: &Name) -> Result<bool, LogError> {
        self.segments = settled(&self.storage)?;
        self.next = self
            .segments
            .partition_point(|files| files.name <= *missing);
        Ok(self.next == 0 && !self.segments.is_empty())
    }

    /// Goes on with the next segment, if there is one.
    fn open_next(&mut self) -> Result<bool, LogError> {
        if self.next >= self.segments.len() {
            self.segments = Files::list(&self.storage)?.segments().to_vec();
            let last = self.last.as_ref();
            let is_passed = |files: &SegmentFiles| Some(&files.name) <= last;
            self.next = self.segments.partition_point(is_passed);
        }
        while let Some(files) = self.segments.get(self.next).cloned() {
            if let Some(text) = open_if_there(&self.storage, &files)? {
                self.enter(files, text)?;
                return Ok(true);
            }
            let position = *self.position.get_or_insert(files.name.base);
            if !self.list_again(&files.name)? {
                let next = self.segments.get(self.next).map(|next| next.name.base);
                // What is told of here, retention has not removed.
                self.position = next;
                self.last = Some(files.name.clone());
                let bytes = next.map(|next| next.saturating_sub(position));
                return Err(missing(&self.storage, &files.name, bytes));
            }
        }
        Ok(false)
    }

    /// Goes on with the next segment, which is `files`.
    fn enter(&mut self, files: SegmentFiles, text: Box<dyn File>) -> Result<(), LogError> {
        self.next += 1;
        let following = self.segments.get(self.next);
        let base = files.name.base;
        let end = following.map(|next| next.name.base - base);
        let (start, stop) = self.window.part(&self.storage, &files)?;
        let limit = match end {
            None => limit(&self.storage, &files, &*text, self.is_durable_only)?,
            Some(_) => None,
        };
        let position = self.position.take().unwrap_or(base);
        self.removed += base.saturating_sub(position);
        self.last = Some(files.name.clone());
        self.current = Some(Current {
            files,
            text,
            offset: start.max(position.saturating_sub(base)),
            end,
            stop,
            limit,
            is_in_window: true,
            is_end_seen: false,
        });
        Ok(())
    }
}

impl Current {
    /// Up to where it may be read, if not to the end of what there is.
    fn readable_to(&self) -> Option<u64> {
        let limits = [self.end, self.stop, self.limit];
        let limit = limits.into_iter().flatten().min();
        limit.map(|limit| limit.max(self.offset))
    }

    fn display(&self, storage: &Arc<dyn Storage>) -> String {
        storage.display(&self.files.name.text())
    }
}

impl Window {
    /// Which part of a segment's text lies in it: from where, and up to where if not to the end.
    fn part(
        self,
        storage: &Arc<dyn Storage>,
        files: &SegmentFiles,
    ) -> Result<(u64, Option<u64>), LogError> {
        let Window { since, until } = self;
        if since.is_none() && until.is_none() {
            return Ok((0, None));
        }
        let scan = Scan::new(&files.read_sidecar(storage)?);
        let blocks = || {
            scan.entries
                .iter()
                .filter(|entry| entry.flags.has(Flags::BLOCK))
        };
        let is_before = |last| since.is_some_and(|since| last < since);
        let start = blocks()
            .take_while(|block| is_before(block.last.max(block.first)))
            .last()
            .map_or(0, |block| block.end);
        // Where lines were dropped, there may be no text.
        let blocks = || blocks().filter(|block| block.len > 0);
        let is_after = |first| until.is_some_and(|until| first > until);
        let stop = blocks()
            .rev()
            .take_while(|block| is_after(block.first.min(block.last)))
            .last()
            .map(|block| block.end - u64::from(block.len));
        // Without any block, when it was made is all that is known.
        let made_after = is_after(files.name.made_ms()) && blocks().next().is_none();
        let none = made_after.then_some(0);
        Ok((start, stop.or(none)))
    }
}

pub(crate) fn open_disk(path: &Path) -> Result<Arc<dyn Storage>, LogError> {
    match Disk::open(path) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(error) => Err(LogError::io(
            format!("cannot open the log `{}`", path.display()),
            error,
        )),
    }
}

/// The text of a segment, if that was not removed since it was listed.
fn open_if_there(
    storage: &Arc<dyn Storage>,
    files: &SegmentFiles,
) -> Result<Option<Box<dyn File>>, LogError> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match files.open_text(storage) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.io_error().is_some_and(is_gone) => Ok(None),
        Err(error) => Err(error),
    }
}

fn cannot_read(storage: &Arc<dyn Storage>, name: &Name, error: io::Error) -> LogError {
    let name = storage.display(&name.text());
    LogError::io(format!("cannot read `{name}`"), error)
}

/// What is missing behind all text that there is, and where in the log that ends if it is known.
fn missing_at_end(storage: &Arc<dyn Storage>) -> Result<Option<(LogError, Option<u64>)>, LogError> {
    let files = Files::list(storage)?;
    let gone = files.gone(storage);
    let last = files.segments().last();
    let is_behind = |lost: &Lost| last.is_none_or(|last| last.name < lost.name);
    if let Some(lost) = files.missing(storage)?.into_iter().find(is_behind) {
        let error = missing(storage, &lost.name, Some(lost.len));
        return Ok(Some((error, Some(lost.name.base + lost.len))));
    }
    let Some(gone) = gone else {
        return Ok(not_restored(storage)?.map(|error| (error, None)));
    };
    // What is missed twice is missed: it may be written meanwhile.
    let is_gone = Files::list(storage)?.gone(storage).as_ref() == Some(&gone);
    Ok(is_gone.then(|| (missing(storage, &gone, None), None)))
}

/// What is in the commit ring, and not in the text that ends here.
fn not_restored(storage: &Arc<dyn Storage>) -> Result<Option<LogError>, LogError> {
    let (Outstanding { saved, .. }, _) = restore::outstanding(storage)?;
    Ok((saved > 0).then(|| {
        let ring = storage.display(ring::FILE);
        LogError::new(
            LogErrorKind::Corrupt,
            format!(
                "`{ring}` has {saved} bytes that a crash has torn from the end of the log; \
                 `withal log repair` puts them back"
            ),
        )
    }))
}

/// A segment is missing, and how many bytes with it, if that is known.
fn missing(storage: &Arc<dyn Storage>, name: &Name, bytes: Option<u64>) -> LogError {
    let name = storage.display(&name.text());
    let what = format!("`{name}` is missing, and it is not the oldest");
    let message = match bytes {
        Some(bytes) => format!("{what}: {bytes} bytes are missing"),
        None => what,
    };
    LogError::new(LogErrorKind::Corrupt, message)
}

fn ends_early(name: &str, hole: &Range<u64>) -> String {
    let Range { start, end } = hole;
    let bytes = end - start;
    format!(
        "`{name}` ends at byte {start}, and the next segment goes on after byte {end}: {bytes} bytes are missing"
    )
}

fn not_as_written(name: &str, hole: &Range<u64>) -> String {
    let bytes = hole.end - hole.start;
    let start = hole.start;
    format!("`{name}` is damaged at byte {start}: {bytes} bytes are missing")
}

/// The segments there are. A directory is not read in one piece: one that is compressed meanwhile
/// has two names, and may be seen under neither; so it is read until nothing changes.
fn settled(storage: &Arc<dyn Storage>) -> Result<Vec<SegmentFiles>, LogError> {
    let list = || Ok(Files::list(storage)?.segments().to_vec());
    let mut segments: Vec<SegmentFiles> = list()?;
    loop {
        let before = std::mem::replace(&mut segments, list()?);
        let names = |files: &SegmentFiles| files.name.clone();
        if before.iter().map(names).eq(segments.iter().map(names)) {
            return Ok(segments);
        }
    }
}

/// Up to where the text of the last segment may be given, if not all of it.
fn limit(
    storage: &Arc<dyn Storage>,
    files: &SegmentFiles,
    text: &dyn File,
    is_durable_only: bool,
) -> Result<Option<u64>, LogError> {
    if !is_durable_only && !files.is_strict(storage)? {
        return Ok(None);
    }
    let scan = Scan::new(&files.read_sidecar(storage)?);
    match is_durable_only {
        true => Ok(Some(scan.checkpoint())),
        false => sound(storage, files, text, &scan).map(Some),
    }
}

/// Up to where the text of a segment was noted to be durable.
fn checkpoint(storage: &Arc<dyn Storage>, files: &SegmentFiles) -> Result<u64, LogError> {
    Ok(Scan::new(&files.read_sidecar(storage)?).checkpoint())
}

/// Up to where the text of a strict segment is text, whatever is behind. What was durable is: damage
/// to it is for `verify` to tell, as in any segment.
fn sound(
    storage: &Arc<dyn Storage>,
    files: &SegmentFiles,
    text: &dyn File,
    scan: &Scan,
) -> Result<u64, LogError> {
    let sound = text.size().and_then(|len| sound_entries(scan, text, len));
    let (_, end) = sound.map_err(|error| cannot_read(storage, &files.name, error))?;
    Ok(end.max(scan.checkpoint()))
}

/// Goes back over the ends of records in a part of a text, until none of `count` is `wanted` any
/// more; gives what is behind that.
fn look_back(
    text: &dyn File,
    part: Range<u64>,
    count: usize,
    wanted: &mut usize,
) -> io::Result<Option<u64>> {
    let mut end = part.end;
    while end > part.start {
        let start = end.saturating_sub(CHUNK as u64).max(part.start);
        let (bytes, _damaged) = read_around(text, start, end)?;
        for newline in memrchr_iter(b'\n', &bytes) {
            let at = start + newline as u64;
            // Behind the last line there is nothing that it could go on with.
            if *wanted == count || !goes_on_at(text, at)? {
                *wanted -= 1;
                if *wanted == 0 {
                    return Ok(Some(at + 1));
                }
            }
        }
        end = start;
    }
    Ok(None)
}

/// Whether a log ends within a record, which goes on with what is appended next.
pub(crate) fn ends_in_record(storage: &Arc<dyn Storage>) -> bool {
    let last = Files::list(storage).and_then(|files| {
        for files in files.segments().iter().rev() {
            let text = files.open_text(storage)?;
            let len = text.size();
            let last = len.and_then(|len| match len.checked_sub(1) {
                Some(newline) => goes_on_at(&*text, newline).map(Some),
                None => Ok(None),
            });
            if let Some(last) = last.map_err(|error| cannot_read(storage, &files.name, error))? {
                return Ok(last);
            }
        }
        Ok(false)
    });
    last.unwrap_or_else(|error| {
        // What is told in between is then a part of that record, and no less in the log.
        events::tell(&error);
        false
    })
}

/// Whether the line that ends at `newline` goes on in the next one.
fn goes_on_at(text: &dyn File, newline: u64) -> io::Result<bool> {
    // One that is filled with marks is looked at further back, for their number.
    let mut len = 16;
    loop {
        let start = newline.saturating_sub(len);
        let (line, _damaged) = read_around(text, start, newline + 1)?;
        let is_only_marks = line.len() > 2
            && line
                .get(..line.len() - 2)
                .is_some_and(|marks| marks.iter().all(|byte| *byte == text::MARK));
        if start == 0 || !is_only_marks {
            return Ok(text::is_continued(&line) || text::is_unended(&line));
        }
        len *= 16;
    }
}

/// Where the last whole line of a segment ends.
pub(crate) fn whole_end(
    storage: &Arc<dyn Storage>,
    files: &SegmentFiles,
    text: &dyn File,
    scan: &Scan,
) -> Result<u64, LogError> {
    if scan.is_strict() {
        return sound(storage, files, text, scan);
    }
    let cannot = |error| cannot_read(storage, &files.name, error);
    let size = text.size().map_err(cannot)?;
    // What is not known to be durable, a crash may have torn.
    let durable = scan.checkpoint().min(size);
    let rest = read_from(text, durable, size).map_err(cannot)?;
    Ok(durable + whole_lines(&rest) as u64)
}

/// Reads a log from its end.
///
/// ```
/// use withal_log::{Log, ReverseReader};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("log");
/// let log = Log::open(&path).open()?;
/// log.append("first")?;
/// log.append("second")?;
/// let mut reader = ReverseReader::open(&path)?;
/// assert_eq!(reader.next_line()?.as_deref(), Some(&b"second\n"[..]));
/// assert_eq!(reader.next_line()?.as_deref(), Some(&b"first\n"[..]));
/// assert_eq!(reader.next_line()?, None);
/// # log.close()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReverseReader {
    storage: Arc<dyn Storage>,
    /// The segments not read yet, and where the one after them begins.
    segments: Vec<SegmentFiles>,
    end: Option<u64>,
    /// Whether it was looked whether something is missing at the end.
    is_end_seen: bool,
    text: Option<(Name, Box<dyn File>)>,
    /// How many bytes were removed before they could be read.
    removed: u64,
    window: Window,
    /// Which part of the text is not in the buffer yet.
    first: u64,
    left: u64,
    /// The parts of it before that, if there are holes.
    parts: Vec<Range<u64>>,
    buffer: Vec<u8>,
}

impl ReverseReader {
    /// Reads the log in the directory `path`, as it is now.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<ReverseReader, LogError> {
        ReverseReader::open_in(open_disk(path.as_ref())?)
    }

    /// Reads the log in any storage: for tests.
    ///
    /// # Errors
    ///
    /// As `open`.
    #[doc(hidden)]
    pub fn open_in(storage: Arc<dyn Storage>) -> Result<ReverseReader, LogError> {
        let segments = Files::list(&storage)?.segments().to_vec();
        Ok(ReverseReader {
            storage,
            segments,
            end: None,
            is_end_seen: false,
            text: None,
            removed: 0,
            window: Window::default(),
            first: 0,
            left: 0,
            parts: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Only lines written from `since` to `until`, as [`Reader::between`].
    #[must_use]
    pub fn between(mut self, since: Option<u64>, until: Option<u64>) -> ReverseReader {
        self.window = Window { since, until };
        self
    }

    /// How many bytes of the log retention has removed since the reader was opened, before they
    /// could be read: those that come before what was given last.
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.removed
    }

    /// The line before the one given last, as it is stored; `None` at the start of the log.
    ///
    /// What retention has removed is left out, and counted by [`removed`](ReverseReader::removed).
    ///
    /// # Errors
    ///
    /// As [`Reader::next_chunk`]: the call after [`Corrupt`](LogErrorKind::Corrupt) gives the last
    /// whole line before the hole.
    pub fn next_line(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        loop {
            let ended = self.buffer.len().saturating_sub(1);
            let before = self.buffer.get(..ended).unwrap_or_default();
            if let Some(newline) = memrchr(b'\n', before) {
                return Ok(Some(self.buffer.split_off(newline + 1)));
            }
            if self.left > self.first {
                self.fill()?;
            } else if !self.buffer.is_empty() {
                return Ok(Some(std::mem::take(&mut self.buffer)));
            } else if let Some(before) = self.parts.pop() {
                return Err(self.pass_over(before));
            } else if !self.open_before()? {
                return Ok(None);
            }
        }
    }

    /// Puts more of the text before what is in the buffer.
    fn fill(&mut self) -> Result<(), LogError> {
        let Some((_, text)) = &self.text else {
            return Ok(());
        };
        let start = self.left.saturating_sub(CHUNK as u64).max(self.first);
        match read_from(&**text, start, self.left) {
            Ok(mut bytes) if self.is_as_written(&bytes, self.left - start) => {
                bytes.append(&mut self.buffer);
                self.buffer = bytes;
                self.left = start;
                Ok(())
            }
            Err(error) if !is_damage(&error) => Err(self.cannot_read(error)),
            // Why, is found again where it is.
            Ok(_) | Err(_) => self.find_holes(),
        }
    }

    /// Whether these are the `len` bytes that were written before what is in the buffer, as far as can
    /// be seen.
    fn is_as_written(&self, bytes: &[u8], len: u64) -> bool {
        let is_ended = !self.buffer.is_empty() || bytes.ends_with(b"\n");
        bytes.len() as u64 == len && is_ended && memchr(0, bytes).is_none()
    }

    /// Goes on with the parts that are whole of what was not given yet.
    fn find_holes(&mut self) -> Result<(), LogError> {
        let Some((_, text)) = &self.text else {
            return Ok(());
        };
        let end = self.left + self.buffer.len() as u64;
        let parts = whole_parts(&**text, self.first, end);
        self.parts
            .extend(parts.map_err(|error| self.cannot_read(error))?);
        self.buffer.clear();
        if let Some(last) = self.parts.pop() {
            self.enter_part(last);
        }
        Ok(())
    }

    fn enter_part(&mut self, part: Range<u64>) {
        (self.first, self.left) = (part.start, part.end);
    }

    /// Goes on with the part `before` a hole; gives the error that tells of it.
    fn pass_over(&mut self, before: Range<u64>) -> LogError {
        let hole = before.end..self.first;
        self.enter_part(before);
        let name = self.text.as_ref().map(|(name, _)| name.text());
        let name = self.storage.display(&name.unwrap_or_default());
        LogError::new(LogErrorKind::Corrupt, not_as_written(&name, &hole))
    }

    fn cannot_read(&self, error: io::Error) -> LogError {
        match &self.text {
            Some((name, _)) => cannot_read(&self.storage, name, error),
            None => LogError::io("cannot read the log", error),
        }
    }

    fn open_before(&mut self) -> Result<bool, LogError> {
        let was_seen = std::mem::replace(&mut self.is_end_seen, true);
        if !was_seen
            && self.window.until.is_none()
            && let Some((error, _)) = missing_at_end(&self.storage)?
        {
            return Err(error);
        }
        let (files, text) = loop {
            let Some(files) = self.segments.pop() else {
                return Ok(false);
            };
            match open_if_there(&self.storage, &files)? {
                Some(text) => break (files, text),
                None => self.leave_out(&files.name)?,
            }
        };
        let end = match self.end {
            Some(end) => end - files.name.base,
            None => {
                let scan = Scan::new(&files.read_sidecar(&self.storage)?);
                let whole = whole_end(&self.storage, &files, &*text, &scan)?;
                whole.max(scan.checkpoint())
            }
        };
        let (start, stop) = self.window.part(&self.storage, &files)?;
        self.first = start;
        self.left = stop.map_or(end, |stop| stop.min(end));
        self.end = Some(files.name.base);
        self.text = Some((files.name, text));
        Ok(true)
    }

    /// Goes on without a segment that retention has removed, and all before it with it.
    fn leave_out(&mut self, name: &Name) -> Result<(), LogError> {
        let segments = settled(&self.storage)?;
        let is_oldest = segments.first().is_some_and(|first| first.name > *name);
        if !is_oldest {
            let end = self.end.replace(name.base);
            let bytes = end.map(|end| end - name.base);
            return Err(missing(&self.storage, name, bytes));
        }
        let oldest = self
            .segments
            .first()
            .map_or(name.base, |files| files.name.base);
        self.segments.clear();
        match self.end {
            Some(end) => self.removed = end - oldest,
            // Nothing was given yet: what is there now is what there is to read.
            None => self.segments = segments,
        }
        Ok(())
    }
}

/// The last `count` lines of the log in the directory `path`, as they are stored.
///
/// # Errors
///
/// As [`ReverseReader`].
pub fn last_lines(path: impl AsRef<Path>, count: usize) -> Result<Vec<u8>, LogError> {
    let mut reader = ReverseReader::open(path)?;
    let mut lines = Vec::new();
    while lines.len() < count
        && let Some(line) = reader.next_line()?
    {
        lines.push(line);
    }
    lines.reverse();
    Ok(lines.concat())
}
