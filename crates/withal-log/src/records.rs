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
    /// A hole behind the record that was given last.
    hole: Option<LogError>,
}

impl Records {
    pub(crate) fn new(reader: Reader) -> Records {
        Records {
            reader,
            given: 0,
            record: Vec::new(),
            hole: None,
        }
    }

    /// How many bytes of the log were removed before they could be read: [`Reader::removed`].
    #[must_use]
    pub fn removed(&self) -> u64 {
        self.reader.removed()
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
                        return Ok(Some(take(&mut self.record)));
                    }
                    Err(error) => return Err(error),
                }
                // What comes now does not go on with it.
                if self.reader.removed() > removed && !self.record.is_empty() {
                    return Ok(Some(take(&mut self.record)));
                }
                continue;
            };
            let (line, _) = lines.split_at(end + 1);
            self.given += line.len();
            decode(line, &mut self.record);
            if !is_continued(line) {
                if !is_unended(line) {
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
