//! How a body ended.

use crate::Error;

/// How the body ended, as it stands when an exit's turn comes.
///
/// It is the body's own ending, or [`Errored`](ExitCase::Errored) once an inner exit failed after
/// a clean body: an exit never sees more or less than it would see in nested blocks. It is owned
/// and cheap to clone, so an exit that has to be finished elsewhere can take it along.
///
/// The idea and the name are cats-effect's `ExitCase`; Python passes three arguments instead.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ExitCase {
    /// The body gave a value, and so did every inner exit.
    #[default]
    Succeeded,
    /// The body, or an inner exit, failed.
    Errored(Error),
    /// The body, or an inner exit, panicked. The panic goes on once all exits have run.
    ///
    /// The error is the panic alone. What failed beside it cannot travel with a panic through
    /// nested blocks; it is [noticed](crate::NoticeKind::BesidePanic).
    Panicked(Error),
    /// The block's future was dropped: by `select!`, an aborted task, an outer timeout.
    Cancelled,
    /// The block's own deadline passed.
    TimedOut,
    /// The process was told to stop by this signal.
    Signalled(i32),
}

impl ExitCase {
    /// Whether everything went well: the usual question of a transaction.
    #[must_use]
    pub fn is_succeeded(&self) -> bool {
        matches!(self, ExitCase::Succeeded)
    }

    /// Whether the body was cut off before its end: cancelled, timed out or signalled.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        matches!(
            self,
            ExitCase::Cancelled | ExitCase::TimedOut | ExitCase::Signalled(_)
        )
    }

    /// The failures so far, if the case carries any.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            ExitCase::Errored(error) | ExitCase::Panicked(error) => Some(error),
            _ => None,
        }
    }
}
