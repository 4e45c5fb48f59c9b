//! The line that stands in the log where lines were dropped, if that was asked for.

use crate::batch::Batch;
use crate::segment::timestamp;
use crate::text::{End, encode, is_continued, is_unended};

/// Makes the line from a template, and knows when there is one to write.
#[derive(Debug)]
pub(crate) struct DropLine {
    template: Option<String>,
    max_line: usize,
    owed: Option<Dropped>,
    /// Whether the record that was written last goes on in what comes next.
    is_begun: bool,
}

/// What was dropped, and is not told yet.
#[derive(Clone, Copy, Debug)]
struct Dropped {
    lines: u64,
    first: u64,
    last: u64,
}

impl DropLine {
    /// `is_begun` tells whether the log ends within a record.
    pub(crate) fn new(template: Option<String>, max_line: usize, is_begun: bool) -> DropLine {
        DropLine {
            template,
            max_line,
            owed: None,
            is_begun,
        }
    }

    /// All lines of `batch` were dropped.
    pub(crate) fn dropped(&mut self, batch: &Batch) {
        if self.template.is_none() {
            return;
        }
        let Batch {
            lines, first, last, ..
        } = *batch;
        let owed = self.owed.get_or_insert(Dropped {
            lines: 0,
            first,
            last,
        });
        owed.lines += lines;
        owed.last = last;
    }

    /// These lines are in the log now.
    pub(crate) fn written(&mut self, lines: &[u8]) {
        if self.template.is_some() && !lines.is_empty() {
            self.is_begun = is_continued(lines) || is_unended(lines);
        }
    }

    /// What is to be written at `now`, before anything else.
    pub(crate) fn due(&self, now: u64) -> Option<Batch> {
        let (template, owed) = (self.template.as_ref()?, self.owed?);
        let line = template
            .replace("{count}", &owed.lines.to_string())
            .replace("{since}", &timestamp(owed.first).to_string())
            .replace("{until}", &timestamp(owed.last).to_string());
        let mut batch = Batch {
            first: now,
            last: now,
            ..Batch::default()
        };
        if self.is_begun {
            // Else it would become a part of that record.
            batch.bytes.push(b'\n');
            batch.lines += 1;
        }
        let lines = encode(
            &mut batch.bytes,
            line.as_bytes(),
            self.max_line,
            End::Newline,
        );
        batch.lines += u64::from(lines);
        Some(batch)
    }

    /// It has been written.
    pub(crate) fn told(&mut self) {
        self.owed = None;
    }
}
