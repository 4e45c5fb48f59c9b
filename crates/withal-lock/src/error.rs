//! What goes wrong with a lease.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use humantime::format_duration;
use withal_core::BoxError;

/// A lease could not be had, kept or given back.
///
/// It never shows a password.
#[derive(Debug)]
#[non_exhaustive]
pub enum LeaseError {
    /// Somebody else has it, and still had it when the time to wait was over.
    Busy(Busy),
    /// It was lost while the block ran: what was done since may have been done beside another
    /// holder. The [fencing token](crate::Lease::token) says what came first.
    Lost(Lost),
    /// What was asked for makes no sense, such as a lease of no time, or a URL that is none.
    Terms(BoxError),
    /// The server cannot be reached, or refuses.
    Server {
        /// What was being done, in words that follow "cannot".
        doing: String,
        /// Why that failed.
        source: BoxError,
    },
    /// Nobody waits for it any more. Nothing is held.
    Cancelled,
}

impl LeaseError {
    pub(crate) fn doing(doing: impl fmt::Display, source: impl Into<BoxError>) -> LeaseError {
        LeaseError::Server {
            doing: doing.to_string(),
            source: source.into(),
        }
    }

    /// Whether somebody else has it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, LeaseError::Busy(_))
    }

    /// Whether it was lost while it was held.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self, LeaseError::Lost(_))
    }
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LeaseError::Busy(busy) => busy.fmt(f),
            LeaseError::Lost(lost) => lost.fmt(f),
            LeaseError::Terms(why) => why.fmt(f),
            LeaseError::Server { doing, .. } => write!(f, "cannot {doing}"),
            LeaseError::Cancelled => f.write_str("cancelled while waiting for a lease"),
        }
    }
}

impl std::error::Error for LeaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LeaseError::Server { source, .. } => Some(&**source),
            LeaseError::Lost(lost) => lost.source(),
            LeaseError::Terms(why) => why.source(),
            LeaseError::Busy(_) | LeaseError::Cancelled => None,
        }
    }
}

/// Who has a lease that was asked for.
#[derive(Clone, Debug)]
pub struct Busy {
    pub(crate) key: String,
    pub(crate) holder: Holder,
    pub(crate) waited: Duration,
}

/// What a server says of who has a lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) token: Option<i64>,
    /// How long it has the lease unless it renews it.
    pub(crate) left: Duration,
}

impl Busy {
    /// The key that was asked for.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Who has it: who, on which machine, process, program, as they said themselves.
    #[must_use]
    pub fn holder(&self) -> &str {
        &self.holder.name
    }

    /// Their fencing token.
    #[must_use]
    pub fn token(&self) -> Option<i64> {
        self.holder.token
    }

    /// How long they have it unless they renew it.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.holder.left
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holder { name, token, left } = &self.holder;
        write!(f, "lease `{}` is held by {name}", self.key)?;
        if let Some(token) = token {
            write!(f, " (token {token}, ")?;
        } else {
            f.write_str(" (")?;
        }
        let left = Duration::from_millis(left.as_millis().try_into().unwrap_or(u64::MAX));
        write!(f, "ends in {} unless renewed)", format_duration(left))?;
        if self.waited.is_zero() {
            return Ok(());
        }
        write!(f, ", still after {}", format_duration(self.waited))
    }
}

impl std::error::Error for Busy {}

/// A lease is not held any more.
#[derive(Clone, Debug)]
pub struct Lost {
    pub(crate) key: Arc<str>,
    pub(crate) cause: LostCause,
    pub(crate) source: Option<Arc<BoxError>>,
}

/// Why a lease is not held any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostCause {
    /// The server has it under another name, or not at all: somebody removed it, or the server
    /// lost its memory.
    Taken,
    /// It could not be renewed in time: the server did not answer, or refused.
    Unreachable,
    /// We did not run in time: the machine was suspended, the process stopped, or its runtime
    /// blocked.
    Late,
    /// Its block was left.
    Released,
}

impl Lost {
    /// The key of the lease.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Why it is not held any more.
    #[must_use]
    pub fn cause(&self) -> LostCause {
        self.cause
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match self.cause {
            LostCause::Taken => write!(f, "lease `{key}` is lost: it is not ours on the server"),
            LostCause::Unreachable => {
                write!(f, "lease `{key}` is lost: it could not be renewed in time")
            }
            LostCause::Late => write!(
                f,
                "lease `{key}` is lost: it was not renewed in time, as this process was stopped or busy"
            ),
            LostCause::Released => write!(f, "lease `{key}` was released"),
        }
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let source = self.source.as_ref()?;
        Some(&***source)
    }
}
