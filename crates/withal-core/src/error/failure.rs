//! One thing that went wrong.

use std::error::Error as StdError;
use std::fmt;

use crate::{BoxError, Entry};

/// In which part of a block something went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// A manager's enter: the body never ran.
    Enter,
    /// The body.
    Body,
    /// A manager's exit.
    Exit,
}

/// One thing that went wrong in a block: the error, and whose it is.
#[derive(Debug)]
pub struct Failure {
    stage: Stage,
    entry: Option<Entry>,
    error: BoxError,
}

impl Failure {
    pub(crate) fn new(stage: Stage, entry: Option<Entry>, error: BoxError) -> Failure {
        Failure {
            stage,
            entry,
            error,
        }
    }

    /// In which part of the block it happened.
    #[must_use]
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The manager that failed; `None` for the body.
    #[must_use]
    pub fn entry(&self) -> Option<&Entry> {
        self.entry.as_ref()
    }

    /// The error itself.
    #[must_use]
    pub fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.error
    }

    /// The error, or the first of its causes, that is an `E`.
    #[must_use]
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn StdError + 'static)> = Some(&*self.error);
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }

    pub(crate) fn into_parts(self) -> (Stage, Option<Entry>, BoxError) {
        (self.stage, self.entry, self.error)
    }
}

impl fmt::Display for Failure {
    /// The body's error as it is; a manager's with its name and place.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.entry, self.stage) {
            (Some(entry), Stage::Enter) => write!(f, "enter of {entry} failed: {}", self.error),
            (Some(entry), Stage::Exit) => write!(f, "exit of {entry} failed: {}", self.error),
            _ => write!(f, "{}", self.error),
        }
    }
}
