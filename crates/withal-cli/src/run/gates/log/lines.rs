//! Bytes into a log, line by line.

use jiff::Timestamp;
use memchr::{memchr, memrchr};
use withal_log::{Log, LogError};

use crate::log::{Format, put_stamp, stamp, whole_characters};
use crate::run::gates::Secrets;

/// A line that is longer goes to the log in parts, which are read as one.
const MOST_KEPT: usize = 1 << 20;

/// Gives a log whole lines, and keeps what is not one yet.
#[derive(Debug)]
pub(super) struct Lines {
    log: Log,
    /// What it is not to have.
    secrets: Secrets,
    /// Whether each line begins with its time.
    is_stamped: bool,
    stamped: Vec<u8>,
    /// The beginning of a line.
    kept: Vec<u8>,
    /// Whether a part of that line is in the log.
    is_begun: bool,
}

impl Lines {
    pub(super) fn new(log: Log, secrets: Secrets, is_stamped: bool) -> Lines {
        Lines {
            log,
            secrets,
            is_stamped,
            stamped: Vec::new(),
            kept: Vec::new(),
            is_begun: false,
        }
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        let mut bytes = bytes;
        if !self.kept.is_empty()
            && let Some(newline) = memchr(b'\n', bytes)
        {
            // What most blocks begin with: only this line is copied.
            let (end, rest) = bytes.split_at(newline + 1);
            self.kept.extend_from_slice(end);
            let kept = std::mem::take(&mut self.kept);
            let appended = self.append_lines(&kept);
            self.kept = kept;
            self.kept.clear();
            appended?;
            bytes = rest;
        }
        if let Some(newline) = memrchr(b'\n', bytes) {
            let (lines, rest) = bytes.split_at(newline + 1);
            self.append_lines(lines)?;
            bytes = rest;
        }
        self.kept.extend_from_slice(bytes);
        match self.kept.len() >= MOST_KEPT {
            true => self.append_part(),
            false => Ok(()),
        }
    }

    /// Makes all of it durable, a last line without its newline, too.
    pub(super) fn close(mut self) -> Result<(), LogError> {
        let kept = std::mem::take(&mut self.kept);
        let appended = match kept.is_empty() {
            true => Ok(()),
            false => self.append(&kept, |log, line| log.append_unended(line)),
        };
        let closed = self.log.close();
        appended.and(closed)
    }

    fn append_lines(&mut self, lines: &[u8]) -> Result<(), LogError> {
        self.append(lines, |log, lines| log.append_lines(lines))?;
        self.is_begun = false;
        Ok(())
    }

    fn append_part(&mut self) -> Result<(), LogError> {
        let mut kept = std::mem::take(&mut self.kept);
        let end = whole_characters(&kept, self.secrets.cut(&kept));
        let (part, _) = kept.split_at(end);
        let appended = self.append(part, |log, part| log.append_part(part));
        let _part = kept.drain(..end);
        drop(_part);
        self.kept = kept;
        self.is_begun = true;
        appended
    }

    fn append(
        &mut self,
        bytes: &[u8],
        append: impl FnOnce(&Log, &[u8]) -> Result<u64, LogError>,
    ) -> Result<(), LogError> {
        let bytes = self.secrets.mask(bytes);
        if !self.is_stamped {
            return append(&self.log, &bytes).map(drop);
        }
        let time = stamp(Format::Rfc3339, Timestamp::now());
        put_stamp(time.as_bytes(), &bytes, self.is_begun, &mut self.stamped);
        append(&self.log, &self.stamped).map(drop)
    }
}
