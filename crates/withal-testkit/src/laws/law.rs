//! The laws, and who breaks them.

use std::fmt;

/// What every context manager owes to its callers, as far as it can be seen from outside.
///
/// That an exit runs once at most is no law here: it takes the resource by value, and the compiler
/// holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Law {
    /// A manager that is not entered has acquired nothing: neither when it is made, nor when the
    /// future of its enter is made and dropped.
    AcquiresInEnter,
    /// Where nothing else is wrong, enter and exit end, without an error or a panic.
    EndsWell,
    /// Exit undoes enter, however the body ended: in all six exit cases nothing is left.
    ExitUndoesEnter,
    /// An enter that fails leaves nothing.
    FailedEnterLeavesNothing,
    /// Cancelled at any await point, in every [`Way`](crate::Way), it leaves nothing.
    CancelledLeavesNothing,
    /// A factory's managers work one after the other.
    Reusable,
    /// Two of a factory's managers can be open at once and exited in either order.
    Independent,
    /// A manager made of managers exits each of them once for each successful enter, never after a
    /// failed one, and loses no error.
    ExitsWhatItEnters,
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Law::AcquiresInEnter => "a manager that is not entered acquires nothing",
            Law::EndsWell => "enter and exit end, without an error or a panic",
            Law::ExitUndoesEnter => "exit undoes enter, however the body ended",
            Law::FailedEnterLeavesNothing => "an enter that fails leaves nothing",
            Law::CancelledLeavesNothing => "cancelled at any await point, it leaves nothing",
            Law::Reusable => "managers of a factory work one after the other",
            Law::Independent => "two managers of a factory do not disturb each other",
            Law::ExitsWhatItEnters => "each successful enter is exited once, a failed one never",
        })
    }
}

/// A law that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LawBreach {
    pub(super) law: Law,
    pub(super) how: String,
}

impl LawBreach {
    /// The law.
    #[must_use]
    pub fn law(&self) -> Law {
        self.law
    }

    /// What was seen.
    #[must_use]
    pub fn how(&self) -> &str {
        &self.how
    }
}

impl fmt::Display for LawBreach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "law broken: {}: {}", self.law, self.how)
    }
}

/// Which laws a manager breaks.
#[derive(Clone, Debug)]
#[must_use = "call `assert_held` on it"]
pub struct LawReport {
    pub(super) breaches: Vec<LawBreach>,
}

impl LawReport {
    /// What was broken, in the order of the laws.
    #[must_use]
    pub fn breaches(&self) -> &[LawBreach] {
        &self.breaches
    }

    /// Whether this law was broken.
    #[must_use]
    pub fn breaks(&self, law: Law) -> bool {
        self.breaches.iter().any(|breach| breach.law == law)
    }

    /// Panics, with the report, if any law was broken.
    ///
    /// # Panics
    ///
    /// If any law was broken.
    #[track_caller]
    pub fn assert_held(&self) {
        assert!(self.breaches.is_empty(), "{self}");
    }
}

impl fmt::Display for LawReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.breaches.iter().map(LawBreach::to_string).collect();
        match lines.is_empty() {
            true => f.write_str("all laws hold"),
            false => f.write_str(&lines.join("\n")),
        }
    }
}
