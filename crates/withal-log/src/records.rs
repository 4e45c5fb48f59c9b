//! Reading a log record by record.

use std::mem::take;

use memchr::memchr;

use crate::error::{LogError, LogErrorKind};
use crate::read::Reader;
use crate::text::{decode, is_continued, is_unended};

/// The records of a log, one by one, as they were appended; made by [`Reader::records`].
///
/// At the end of what there is now it gives `None`; on a log that is being written, ask again.
/// Where retention has removed segments, see [`Reader::removed`], a record that is stored as several
/// lines may lack its beginning or its end.
///
/// A record is given when its last line is whole; of one that is being written, nothing is. What
/// [`append_unended`](crate::Log::append_unended) has appended is a record with an end of its own kind:
/// nobody knows whether more comes, so it does not wait for that, and
/// [`is_unended`](Records::is_unended) tells it from a line.
///
/// A hole is one error, of the kind [`Corrupt`](LogErrorKind::Corrupt), and the next call goes on
/// behind it, see [`Reader::next_chunk`]. A record that is stored as several lines may lack what lies
/// in the hole: its beginning comes before the error, its end behind it.
#[derive(Debug)]
#[must_use = "iterators do nothing until they are asked"]
pub struct Records {
    reader: Reader,
    /// How much of the reader's current lines was given.
    given: usize,
    /// The lines so far of a record that is stored as several.
    record: Vec<u8>,
    is_unended: bool,
    /// A hole behind the record that was given last.
    hole: Option<LogError>,
}

impl Records {
    pub(crate) fn new(reader: Reader) -> Records {
        Records {
            reader,
            given: 0,
            record: Vec::new(),
            is_unended: false,
            hole: None,
        }
    }

    /// How many bytes of the log were removed before they could be read: [`Reader::removed`].
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.reader.removed()
    }

    /// Whether the record that was given last had no newline behind it when it was written: with the
    /// next one it makes one line, as `withal log cat` prints it.
    ///
    /// ```
    /// use withal_log::{Log, Reader};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("log");
    /// let log = Log::open(&path).open()?;
    /// log.append_unended("half of ")?;
    /// log.append("a line")?;
    /// # log.close()?;
    /// let mut records = Reader::open(&path)?.records();
    /// let mut line = Vec::new();
    /// while let Some(record) = records.next() {
    ///     line.extend(record?);
    ///     if !records.is_unended() {
    ///         assert_eq!(line, b"half of a line");
    ///         line.clear();
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_unended(&self) -> bool {
        self.is_unended
    }

    fn read(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        if let Some(hole) = self.hole.take() {
            return Err(hole);
        }
        loop {
            let lines = self.reader.lines().get(self.given..).unwrap_or_default();
            let Some(end) = memchr(b'\n', lines) else {
                self.given = 0;
                let removed = self.reader.removed();
                match self.reader.next_chunk() {
                    Ok(Some(_)) => {}
                    Ok(None) => return Ok(None),
                    // What comes behind it does not go on with what came before.
                    Err(hole) if is_hole(&hole) && !self.record.is_empty() => {
                        self.hole = Some(hole);
                        self.is_unended = false;
                        return Ok(Some(take(&mut self.record)));
                    }
                    Err(error) => return Err(error),
                }
                // What comes now does not go on with it.
                if self.reader.removed() > removed && !self.record.is_empty() {
                    self.is_unended = false;
                    return Ok(Some(take(&mut self.record)));
                }
                continue;
            };
            let (line, _) = lines.split_at(end + 1);
            self.given += line.len();
            decode(line, &mut self.record);
            if !is_continued(line) {
                self.is_unended = is_unended(line);
                if !self.is_unended {
                    let _newline = self.record.pop();
                }
                return Ok(Some(take(&mut self.record)));
            }
        }
    }
}

fn is_hole(error: &LogError) -> bool {
    error.kind() == LogErrorKind::Corrupt
}

impl Iterator for Records {
    type Item = Result<Vec<u8>, LogError>;

    fn next(&mut self) -> Option<Result<Vec<u8>, LogError>> {
        self.read().transpose()
    }
}
