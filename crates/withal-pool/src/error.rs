//! What can go wrong.

use std::fmt;
use std::time::Duration;

use withal_core::{BoxError, TimedOut};

use crate::{Holder, Status};

/// How many holders an error's text names.
const NAMED: usize = 10;

/// Why there is no connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum AcquireError<E> {
    /// No slot was free in time. It names who has them: look there first.
    TimedOut(Box<WaitTimedOut>),
    /// The pool is closed.
    Closed,
    /// The connection could not be made.
    Create(E),
    /// The connection was not made in time.
    CreateTimedOut(TimedOut),
    /// A hook rejected the new connection.
    Rejected(BoxError),
    /// Whoever waited for it has left; nobody sees this.
    Cancelled,
}

impl<E: fmt::Display> fmt::Display for AcquireError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AcquireError::TimedOut(timeout) => timeout.fmt(f),
            AcquireError::Closed => f.write_str("the pool is closed"),
            AcquireError::Create(_) => f.write_str("no connection could be made"),
            AcquireError::CreateTimedOut(_) => f.write_str("no connection was made in time"),
            AcquireError::Rejected(_) => f.write_str("a hook rejected the new connection"),
            AcquireError::Cancelled => f.write_str("nobody waits for the connection any more"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for AcquireError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AcquireError::Create(error) => Some(error),
            AcquireError::CreateTimedOut(error) => Some(error),
            AcquireError::Rejected(error) => Some(&**error),
            AcquireError::TimedOut(_) | AcquireError::Closed | AcquireError::Cancelled => None,
        }
    }
}

/// No slot was free in time.
#[derive(Clone, Debug)]
pub struct WaitTimedOut {
    pub(crate) pool: String,
    pub(crate) limit: Duration,
    pub(crate) status: Status,
    pub(crate) holders: Vec<Holder>,
}

impl WaitTimedOut {
    /// How long it waited.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The pool as it was when the time was over.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status
    }

    /// Who kept the slots busy, the longest first.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }
}

impl fmt::Display for WaitTimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status {
            size,
            max_size,
            waiting,
            ..
        } = self.status;
        write!(
            f,
            "no connection of `{}` was free after {:?}: {size} of {max_size} there, {waiting} waiting",
            self.pool, self.limit
        )?;
        list(f, &self.holders)
    }
}

impl std::error::Error for WaitTimedOut {}

/// A pool was closed, but not all of it came back in time.
///
/// Nothing is lost by it: what comes back later is ended then, and closing again waits for it.
#[derive(Clone, Debug)]
pub struct CloseError {
    pub(crate) pool: String,
    pub(crate) limit: Duration,
    pub(crate) holders: Vec<Holder>,
}

impl CloseError {
    /// How long it waited.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// What it had to give up waiting for, the longest first.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        &self.holders
    }
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, were) = match self.holders.len() {
            1 => ("1 connection".to_owned(), "was"),
            many => (format!("{many} connections"), "were"),
        };
        let CloseError { pool, limit, .. } = self;
        write!(
            f,
            "{count} of `{pool}` {were} still out {limit:?} after it was closed"
        )?;
        list(f, &self.holders)
    }
}

impl std::error::Error for CloseError {}

fn list(f: &mut fmt::Formatter<'_>, holders: &[Holder]) -> fmt::Result {
    for holder in holders.iter().take(NAMED) {
        write!(f, "; {holder}")?;
    }
    match holders.len().saturating_sub(NAMED) {
        0 => Ok(()),
        more => write!(f, "; and {more} more"),
    }
}

/// Settings that make no pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// `max_size` is zero: nobody could ever get a connection.
    NoSlots,
    /// `min_idle` is more than `max_size`.
    MinIdleAboveMaxSize,
    /// A duration after which something is done is zero.
    ZeroDuration,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BuildError::NoSlots => "a pool needs a `max_size` of at least one",
            BuildError::MinIdleAboveMaxSize => "`min_idle` is more than `max_size`",
            BuildError::ZeroDuration => {
                "an idle timeout, lifetime, keepalive or report after no time at all"
            }
        })
    }
}

impl std::error::Error for BuildError {}
