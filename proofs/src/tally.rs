//! How much was tried, and how much of it was bad.

use std::fmt;
use std::process::ExitCode;

/// The count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// How many states were checked.
    pub tried: u64,
    /// How many of them were not as they must be.
    pub bad: u64,
}

impl Tally {
    /// Counts one more.
    pub fn count(&mut self, is_good: bool) {
        self.tried += 1;
        self.bad += u64::from(!is_good);
    }

    /// Counts what another has counted.
    pub fn add(&mut self, other: Tally) {
        self.tried += other.tried;
        self.bad += other.bad;
    }

    /// Reads a line that is nothing but a count, as it is shown.
    #[must_use]
    pub fn parse(line: &str) -> Option<Tally> {
        let (tried, bad) = line.strip_suffix(" bad")?.split_once(" tried, ")?;
        Some(Tally {
            tried: tried.parse().ok()?,
            bad: bad.parse().ok()?,
        })
    }

    /// Success only if something was tried and nothing was bad.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        if self.tried > 0 && self.bad == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tried, {} bad", self.tried, self.bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_again() {
        let tally = Tally { tried: 12, bad: 3 };
        assert_eq!(Tally::parse(&tally.to_string()), Some(tally));
        assert_eq!(Tally::parse("ext4: 12 tried, 3 bad"), None);
    }
}
