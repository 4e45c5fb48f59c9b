//! Reading a log, while it is written or not.

use std::path::PathBuf;
use std::sync::Arc;

use memchr::{memchr, memrchr};

use crate::error::{LogError, LogErrorKind};
use crate::files::{Files, SegmentFiles};
use crate::storage::{Disk, File, Storage};

/// How much is read at a time.
const CHUNK: usize = 256 * 1024;

/// Reads a log from its start, without a lock.
///
/// It gives whole lines as they are stored; see [`decode`](crate::decode). What a writer has begun
/// and not ended is not given.
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
    /// The segment after the one being read.
    next: usize,
    segments: Vec<SegmentFiles>,
    current: Option<Current>,
    /// What has been read and not been given: its start, and how much of it was given last.
    buffer: Vec<u8>,
    given: usize,
}

#[derive(Debug)]
struct Current {
    text: Box<dyn File>,
    name: String,
    offset: u64,
    /// Where the next segment begins, if there is one.
    end: Option<u64>,
}

impl Reader {
    /// Reads the log in the directory `path`.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Reader, LogError> {
        let path = path.into();
        let disk = Disk::open(&path)
            .map_err(|error| LogError::io(format!("cannot open `{}`", path.display()), error))?;
        Reader::open_in(Arc::new(disk))
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
            next: 0,
            segments,
            current: None,
            buffer: Vec::new(),
            given: 0,
        })
    }

    /// The next lines, some of them at once; `None` at the end of what there is now.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](LogErrorKind::Corrupt) where text is missing, or what the file system said.
    pub fn next_chunk(&mut self) -> Result<Option<&[u8]>, LogError> {
        drop(self.buffer.drain(..self.given));
        self.given = 0;
        loop {
            if self.current.is_none() && !self.open_next()? {
                return Ok(None);
            }
            let before = self.buffer.len();
            let read = self.fill()?;
            let is_torn = self.cut_zeros(before);
            let fresh = self.buffer.get(before..).unwrap_or_default();
            if let Some(newline) = memrchr(b'\n', fresh) {
                self.given = before + newline + 1;
                return Ok(self.buffer.get(..self.given));
            }
            if read == 0 || is_torn {
                if !self.is_followed()? {
                    self.step_back();
                    return Ok(None);
                }
                self.check_ended()?;
                self.current = None;
            }
        }
    }

    /// Reads more of the current segment.
    fn fill(&mut self) -> Result<usize, LogError> {
        let Some(current) = &mut self.current else {
            return Ok(0);
        };
        let left = current
            .end
            .map_or(u64::MAX, |end| end.saturating_sub(current.offset));
        let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let start = self.buffer.len();
        self.buffer.resize(start + wanted, 0);
        let (_, space) = self.buffer.split_at_mut(start);
        let read = current.text.read_full(space, current.offset);
        let read =
            read.map_err(|error| LogError::io(format!("cannot read `{}`", current.name), error));
        let taken = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(start + taken);
        current.offset += taken as u64;
        read
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

    /// Whether there is a segment after the current one.
    fn is_followed(&mut self) -> Result<bool, LogError> {
        if self.next == self.segments.len() {
            self.segments = Files::list(&self.storage)?.segments().to_vec();
            self.next = match &self.current {
                Some(current) => self
                    .segments
                    .iter()
                    .position(|files| files.name.text() == current.name)
                    .map_or(self.segments.len(), |place| place + 1),
                None => 0,
            };
        }
        let following = self.segments.get(self.next);
        if let (Some(current), Some(following)) = (&mut self.current, following) {
            let name = current.name.trim_end_matches(".log");
            let base = name.parse().map_or(0, |name: crate::name::Name| name.base);
            current.end = Some(following.name.base - base);
            let read = current.offset - self.buffer.len() as u64;
            // More was written before the segment ended.
            return Ok(current.end == Some(read) || self.buffer.is_empty());
        }
        Ok(following.is_some())
    }

    /// Complains if the current segment ends before the next one begins.
    fn check_ended(&self) -> Result<(), LogError> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let end = current.end.unwrap_or(current.offset);
        let at = current.offset - self.buffer.len() as u64;
        if at >= end {
            return Ok(());
        }
        Err(LogError::new(
            LogErrorKind::Corrupt,
            format!(
                "`{}` ends at byte {at}, and the next segment goes on after byte {end}",
                self.storage.display(&current.name)
            ),
        ))
    }

    /// Goes on with the next segment, if there is one.
    fn open_next(&mut self) -> Result<bool, LogError> {
        let Some(files) = self.segments.get(self.next) else {
            return Ok(false);
        };
        let name = files.name.text();
        let text = self.storage.open(&name, false).map_err(|error| {
            LogError::io(
                format!("cannot open `{}`", self.storage.display(&name)),
                error,
            )
        })?;
        self.next += 1;
        let following = self.segments.get(self.next);
        self.current = Some(Current {
            text,
            name,
            offset: 0,
            end: following.map(|next| next.name.base - files.name.base),
        });
        Ok(true)
    }
}
