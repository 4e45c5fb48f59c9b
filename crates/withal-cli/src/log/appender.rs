//! Lines on their way into a log.

use withal_log::{Log, LogError, LogErrorKind, last_lines};

use super::records::goes_on;
use super::stamp::{self, Format};

/// Appends to a log, with the time before each line if that is asked for.
#[derive(Debug)]
pub(crate) struct Appender {
    log: Log,
    stamp: Option<Format>,
    stamped: Vec<u8>,
    /// Whether what comes next goes on with a line.
    is_begun: bool,
}

impl Appender {
    /// What comes first goes on with the log's last line, if that has no end.
    pub(crate) fn new(log: Log, stamp: Option<Format>) -> Result<Appender, LogError> {
        let is_begun = match stamp {
            Some(_) => match last_lines(log.path(), 1) {
                // Nothing goes on behind a hole.
                Err(error) if error.kind() == LogErrorKind::Corrupt => false,
                last => goes_on(&last?),
            },
            None => false,
        };
        Ok(Appender {
            log,
            stamp,
            stamped: Vec::new(),
            is_begun,
        })
    }

    /// Appends whole lines, and leaves `lines` empty; gives the number of the last one.
    pub(crate) fn lines(&mut self, lines: &mut Vec<u8>) -> Result<u64, LogError> {
        let is_begun = std::mem::take(&mut self.is_begun);
        let Some(format) = self.stamp else {
            return self.log.append_buffer(lines);
        };
        stamp::put(format, lines, is_begun, &mut self.stamped);
        lines.clear();
        self.log.append_buffer(&mut self.stamped)
    }

    /// Appends a part of a line: what comes next goes on with it.
    pub(crate) fn part(&mut self, part: &[u8]) -> Result<u64, LogError> {
        let appended = self.append(part, |log, part| log.append_part(part));
        self.is_begun = true;
        appended
    }

    /// Appends a last line that has no newline.
    pub(crate) fn unended(&mut self, line: &[u8]) -> Result<u64, LogError> {
        self.append(line, |log, line| log.append_unended(line))
    }

    fn append(
        &mut self,
        bytes: &[u8],
        append: impl FnOnce(&Log, &[u8]) -> Result<u64, LogError>,
    ) -> Result<u64, LogError> {
        let Some(format) = self.stamp else {
            return append(&self.log, bytes);
        };
        stamp::put(format, bytes, self.is_begun, &mut self.stamped);
        append(&self.log, &self.stamped)
    }

    /// Makes all of it durable.
    pub(crate) fn close(self) -> Result<(), LogError> {
        self.log.close()
    }
}
