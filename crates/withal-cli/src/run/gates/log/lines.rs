//! Bytes into a log, line by line.

use std::borrow::Cow;

use withal_log::{Log, LogError};

use crate::log::{Appender, Format, split_lines, whole_characters};
use crate::run::gates::Secrets;

/// A line that is longer goes to the log in parts, which are read as one.
const MOST_KEPT: usize = 1 << 20;

/// Gives a log whole lines.
#[derive(Debug)]
pub(super) struct Lines {
    log: Appender,
    /// What it is not to have.
    secrets: Secrets,
}

impl Lines {
    pub(super) fn new(log: Log, secrets: Secrets, is_stamped: bool) -> Result<Lines, LogError> {
        let log = Appender::new(log, is_stamped.then_some(Format::Rfc3339))?;
        Ok(Lines { log, secrets })
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
            false => self.log.unended(&self.secrets.mask(last)).map(drop),
        };
        let closed = self.log.close();
        appended.and(closed)
    }

    /// Leaves `lines` empty.
    fn append_lines(&mut self, lines: &mut Vec<u8>) -> Result<(), LogError> {
        if let Cow::Owned(masked) = self.secrets.mask(lines) {
            *lines = masked;
        }
        self.log.lines(lines).map(drop)
    }

    fn append_part(&mut self, buffer: &mut Vec<u8>) -> Result<(), LogError> {
        let end = whole_characters(buffer, self.secrets.cut(buffer));
        let (part, _) = buffer.split_at(end);
        let _line = self.log.part(&self.secrets.mask(part))?;
        drop(buffer.drain(..end));
        Ok(())
    }
}
