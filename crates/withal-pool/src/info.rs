//! What is known of one connection.

use std::time::Duration;

use crate::Cause;
use crate::clock::Moment;

/// What is known of one connection: its number, age and uses.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    pub(crate) number: u64,
    pub(crate) created: Moment,
    pub(crate) expires: Option<Moment>,
    pub(crate) epoch: u64,
    pub(crate) uses: u64,
}

impl Info {
    /// Its number: the first connection of the pool is 1. Numbers are not used again.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// How long ago it was made.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.created.until(Moment::now())
    }

    /// How often it has been handed out.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.uses
    }

    /// Why it may not be handed out any more, if so.
    pub(crate) fn end(&self, epoch: u64, now: Moment) -> Option<Cause> {
        if self.epoch != epoch {
            return Some(Cause::Expired);
        }
        let is_over = self.expires.is_some_and(|expires| now >= expires);
        is_over.then_some(Cause::MaxLifetime)
    }
}
