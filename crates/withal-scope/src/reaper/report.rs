//! What became of the teardowns that nobody awaited.

use std::fmt;

/// What became of the teardowns a [`Reaper`](crate::Reaper) took over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Teardowns that ran to their end, failed exits and given-up ones included.
    pub finished: usize,
    /// Exits in them that failed or panicked.
    pub failed: usize,
    /// Exits in them that were given up at a deadline.
    pub timed_out: usize,
    /// Teardowns that could not end: their runtime shut down, or there was none.
    pub lost: usize,
    /// Teardowns still running when the report was made.
    pub pending: usize,
}

impl Report {
    /// Whether every exit has run, and none failed.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed + self.timed_out + self.lost + self.pending == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            finished,
            failed,
            timed_out,
            lost,
            pending,
        } = self;
        write!(
            f,
            "{finished} teardowns finished, {failed} exits failed, {timed_out} timed out, \
             {lost} teardowns lost, {pending} pending"
        )
    }
}
