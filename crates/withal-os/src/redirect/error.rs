//! Why an output was not redirected, or not restored.

use std::fmt;
use std::io;

use crate::redirect::stream::Stream;

/// Standard output or standard error could not be redirected, or not be restored.
#[derive(Debug)]
pub struct RedirectError {
    stream: Stream,
    action: Action,
    source: io::Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    FlushBefore,
    Save,
    Redirect,
    MakeTarget,
    FlushAfter,
    Restore,
}

impl RedirectError {
    pub(crate) fn new(stream: Stream, action: Action, source: io::Error) -> RedirectError {
        RedirectError {
            stream,
            action,
            source,
        }
    }

    /// What the system said.
    #[must_use]
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = self.stream;
        match self.action {
            Action::FlushBefore => write!(
                f,
                "{stream} was not redirected: what was printed before cannot be written"
            ),
            Action::Save => write!(f, "{stream} was not redirected: it is closed"),
            Action::Redirect => write!(f, "{stream} cannot be redirected to its target"),
            Action::MakeTarget => write!(f, "{stream} cannot be captured"),
            Action::FlushAfter => write!(
                f,
                "{stream} is restored, but its target did not take all that was printed"
            ),
            Action::Restore => write!(f, "{stream} cannot be restored"),
        }
    }
}

impl std::error::Error for RedirectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
