//! Why a connection left the pool.

use std::fmt;

/// Why a connection left the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// [`Manager::is_usable`](crate::Manager::is_usable) said no.
    Unusable,
    /// It failed its validation.
    ValidationFailed,
    /// Its validation did not end in time.
    ValidationTimedOut,
    /// Its validation was dropped half way: whoever had asked for it left.
    ValidationCancelled,
    /// It could not be made clean.
    ResetFailed,
    /// It was not clean in time.
    ResetTimedOut,
    /// A hook rejected it.
    Rejected,
    /// It was idle for longer than allowed.
    IdleTimeout,
    /// It reached the end of its life.
    MaxLifetime,
    /// It was older than the last [`Pool::expire`](crate::Pool::expire).
    Expired,
    /// Its user said so: [`Lease::condemn`](crate::Lease::condemn).
    Condemned,
    /// The pool was closed.
    PoolClosed,
    /// It was dropped without a proper end: its return was given up at a deadline of somebody
    /// else's, or lost with its runtime.
    Abandoned,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Cause; 13] = [
        Cause::Unusable,
        Cause::ValidationFailed,
        Cause::ValidationTimedOut,
        Cause::ValidationCancelled,
        Cause::ResetFailed,
        Cause::ResetTimedOut,
        Cause::Rejected,
        Cause::IdleTimeout,
        Cause::MaxLifetime,
        Cause::Expired,
        Cause::Condemned,
        Cause::PoolClosed,
        Cause::Abandoned,
    ];

    /// The cause in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Unusable => "unusable",
            Cause::ValidationFailed => "validation failed",
            Cause::ValidationTimedOut => "validation timed out",
            Cause::ValidationCancelled => "validation cancelled",
            Cause::ResetFailed => "reset failed",
            Cause::ResetTimedOut => "reset timed out",
            Cause::Rejected => "rejected by a hook",
            Cause::IdleTimeout => "idle for too long",
            Cause::MaxLifetime => "end of its life",
            Cause::Expired => "expired",
            Cause::Condemned => "condemned by its user",
            Cause::PoolClosed => "pool closed",
            Cause::Abandoned => "abandoned",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
