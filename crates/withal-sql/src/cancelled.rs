//! How many statements were cancelled.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts for all sessions with one database.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancelled(Arc<AtomicU64>);

impl Cancelled {
    pub(crate) fn count(&self) {
        let _ = self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
