//! Failures that are not an error of the user's.

use std::any::Any;
use std::fmt;
use std::time::Duration;

/// A panic, kept as a failure while the remaining exits run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    message: String,
}

impl Panicked {
    /// Reads the message of a caught panic.
    #[must_use]
    pub fn new(payload: &(dyn Any + Send)) -> Panicked {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a value that is no text".to_owned());
        Panicked { message }
    }

    /// What the panic said.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)
    }
}

impl std::error::Error for Panicked {}

/// A deadline that passed: the body's, an exit's, or that of a whole teardown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    limit: Duration,
}

impl TimedOut {
    /// The deadline was `limit` after the start.
    #[must_use]
    pub fn new(limit: Duration) -> TimedOut {
        TimedOut { limit }
    }

    /// How long it was given.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not done after {:?}", self.limit)
    }
}

impl std::error::Error for TimedOut {}
