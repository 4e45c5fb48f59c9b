//! What can go wrong with a log.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// A log could not do what was asked.
///
/// It is cheap to clone: everybody who waits for the same sync hears of its failure.
#[derive(Clone)]
pub struct LogError(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: LogErrorKind,
    message: String,
    source: Option<Arc<io::Error>>,
    earlier: u64,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogErrorKind {
    /// Another process writes this log. Wait for it to end, or use another directory.
    Busy,
    /// A file is of a later version of the format. Use a later withal.
    Version,
    /// Durable content is missing or changed. Look at it with `withal log verify`, then
    /// `withal log repair`.
    Corrupt,
    /// The disk is full, and the policy was not to wait: the record is not in the log, nor are
    /// [earlier](LogError::earlier) ones that nobody has waited for.
    Full,
    /// The log has been closed.
    Closed,
    /// Two writes in a row failed, so nothing more is accepted: what was acknowledged is safe.
    Stopped,
    /// It came from inside the log, on the thread that is writing or closing it, such as from a
    /// notice hook or a subscriber of `tracing`: to wait would be to wait for itself. The record is
    /// not in the log, and the log is not closed.
    Nested,
    /// Any other failure of the file system.
    Io,
}

impl LogError {
    pub(crate) fn new(kind: LogErrorKind, message: impl Into<String>) -> LogError {
        LogError(Arc::new(Inner {
            kind,
            message: message.into(),
            source: None,
            earlier: 0,
        }))
    }

    /// `doing` is what could not be done, with the file's name: "cannot open `x`".
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> LogError {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogErrorKind::Full,
            _ => LogErrorKind::Io,
        };
        LogError::caused(kind, doing, source)
    }

    pub(crate) fn caused(
        kind: LogErrorKind,
        message: impl Into<String>,
        source: io::Error,
    ) -> LogError {
        LogError(Arc::new(Inner {
            kind,
            message: message.into(),
            source: Some(Arc::new(source)),
            earlier: 0,
        }))
    }

    /// The same, told of so many lines that earlier calls have appended.
    pub(crate) fn of_earlier(&self, lines: u64) -> LogError {
        LogError(Arc::new(Inner {
            earlier: lines,
            ..Inner::clone(&self.0)
        }))
    }

    /// The same, with its cause in the message: for where only that is shown.
    pub(crate) fn in_full(&self) -> LogError {
        match &self.0.source {
            Some(source) => LogError::new(self.kind(), format!("{self}: {source}")),
            None => self.clone(),
        }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> LogErrorKind {
        self.0.kind
    }

    /// What the operating system said, if it was asked.
    #[must_use]
    pub fn io_error(&self) -> Option<&io::Error> {
        self.0.source.as_deref()
    }

    /// How many lines are not in the log that earlier calls have appended, where those did not wait
    /// for that: the call that gives this error tells of them, and has appended nothing itself.
    ///
    /// ```
    /// # fn appended(log: &withal_log::Log, lost: &mut u64) {
    /// // Nobody waits for what `try_append` takes.
    /// if let Err(error) = log.try_append("a record") {
    ///     *lost += error.earlier() + 1;
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn earlier(&self) -> u64 {
        self.0.earlier
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogError")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for LogError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.io_error()?;
        Some(source)
    }
}

/// What came from a thread that the log would have to wait for.
pub(crate) fn nested(why: &str) -> LogError {
    let message = format!("{why}, and cannot wait for itself");
    LogError::new(LogErrorKind::Nested, message)
}

/// A log could not be locked: if that would take waiting, another has it.
pub(crate) fn not_locked(doing: impl Into<String>, error: io::Error) -> LogError {
    match error.kind() {
        io::ErrorKind::WouldBlock => LogError::caused(LogErrorKind::Busy, doing, error),
        _ => LogError::io(doing, error),
    }
}

/// A full disk, or a quota: more space may come.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lock_is_busy() {
        let would_block = || io::Error::from(io::ErrorKind::WouldBlock);
        assert_eq!(not_locked("x", would_block()).kind(), LogErrorKind::Busy);
        assert_eq!(LogError::io("x", would_block()).kind(), LogErrorKind::Io);
    }
}
