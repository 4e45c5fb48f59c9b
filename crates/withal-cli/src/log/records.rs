//! Records, from the lines they are stored as.

use withal_log::{is_continued, is_unended};

/// Whether what is stored in the next line belongs to the same line of what was written: it was
/// too long for one, or a run ended in it.
pub(super) fn goes_on(line: &[u8]) -> bool {
    is_continued(line) || is_unended(line)
}

/// Puts the lines of one record together.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Lines of a record that goes on.
    begun: Vec<u8>,
}

impl Records {
    /// Gives each record that ends in `lines`, as it is stored.
    pub(super) fn each(
        &mut self,
        lines: &[u8],
        mut give: impl FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            if goes_on(line) {
                self.begun.extend_from_slice(line);
            } else if self.begun.is_empty() {
                give(line)?;
            } else {
                self.begun.extend_from_slice(line);
                give(&self.begun)?;
                self.begun.clear();
            }
        }
        Ok(())
    }

    /// A record whose end was never written.
    pub(super) fn rest(self) -> Vec<u8> {
        self.begun
    }
}
