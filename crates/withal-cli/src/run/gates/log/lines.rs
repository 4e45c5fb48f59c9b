//! Bytes into a log, line by line.

use std::borrow::Cow;

use withal_log::{Log, LogError};

use crate::log::{Format, put_stamps, split_lines, whole_characters};
use crate::run::gates::Secrets;

/// A line that is longer goes to the log in parts, which are read as one.
const MOST_KEPT: usize = 1 << 20;

/// Gives a log whole lines.
#[derive(Debug)]
pub(super) struct Lines {
    log: Log,
    /// What it is not to have.
    secrets: Secrets,
    /// Whether each line begins with its time.
    is_stamped: bool,
    stamped: Vec<u8>,
    /// Whether a part of the next line is in the log.
    is_begun: bool,
}

impl Lines {
    pub(super) fn new(log: Log, secrets: Secrets, is_stamped: bool) -> Lines {
        Lines {
            log,
            secrets,
            is_stamped,
            stamped: Vec::new(),
            is_begun: false,
        }
    }

    /// Takes whole lines out of `buffer`, of which no line ends before `searched`.
    pub(super) fn take(&mut self, buffer: &mut Vec<u8>, searched: usize) -> Result<(), LogError> {
        if let Some(rest) = split_lines(buffer, searched) {
            self.append_lines(buffer)?;
            buffer.extend_from_slice(&rest);
        }
        match buffer.len() >= MOST_KEPT {
            true => self.append_part(buffer),
            false => Ok(()),
        }
    }

    /// Makes all of it durable, a last line without its newline, too.
    pub(super) fn close(mut self, last: &[u8]) -> Result<(), LogError> {
        let appended = match last.is_empty() {
            true => Ok(()),
            false => self.append(last, |log, last| log.append_unended(last)),
        };
        let closed = self.log.close();
        appended.and(closed)
    }

    /// Leaves `lines` empty.
    fn append_lines(&mut self, lines: &mut Vec<u8>) -> Result<(), LogError> {
        if let Cow::Owned(masked) = self.secrets.mask(lines) {
            *lines = masked;
        }
        let is_begun = std::mem::take(&mut self.is_begun);
        if self.is_stamped {
            put_stamps(Format::Rfc3339, lines, is_begun, &mut self.stamped);
            lines.clear();
            return self.log.append_buffer(&mut self.stamped).map(drop);
        }
        self.log.append_buffer(lines).map(drop)
    }

    fn append_part(&mut self, buffer: &mut Vec<u8>) -> Result<(), LogError> {
        let end = whole_characters(buffer, self.secrets.cut(buffer));
        let (part, _) = buffer.split_at(end);
        self.append(part, |log, part| log.append_part(part))?;
        drop(buffer.drain(..end));
        self.is_begun = true;
        Ok(())
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
        put_stamps(Format::Rfc3339, &bytes, self.is_begun, &mut self.stamped);
        append(&self.log, &self.stamped).map(drop)
    }
}
