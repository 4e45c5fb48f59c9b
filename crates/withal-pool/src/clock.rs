//! Since when something has been as it is.
//!
//! Ages need no more than a few milliseconds, so it is the kernel's coarse clock where there is
//! one: it is read at each take and each return, in a third of the time. With the feature
//! `test-util` it is tokio's, which tests can pause.

use std::time::Duration;

/// A moment of a monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Inner);

#[cfg(all(target_os = "linux", not(feature = "test-util")))]
type Inner = Duration;
#[cfg(not(all(target_os = "linux", not(feature = "test-util"))))]
type Inner = tokio::time::Instant;

impl Moment {
    /// How far it may be behind tokio's clock.
    pub(crate) const BEHIND: Duration = match cfg!(feature = "test-util") {
        true => Duration::ZERO,
        false => Duration::from_millis(10),
    };

    #[cfg(all(target_os = "linux", not(feature = "test-util")))]
    #[inline]
    pub(crate) fn now() -> Moment {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::MonotonicCoarse);
        // A monotonic clock is never negative.
        Moment(Duration::try_from(now).unwrap_or_default())
    }

    #[cfg(not(all(target_os = "linux", not(feature = "test-util"))))]
    #[inline]
    pub(crate) fn now() -> Moment {
        Moment(tokio::time::Instant::now())
    }

    /// How long before `later` it was; zero if it was not.
    #[inline]
    pub(crate) fn until(self, later: Moment) -> Duration {
        #[cfg(all(target_os = "linux", not(feature = "test-util")))]
        return later.0.saturating_sub(self.0);
        #[cfg(not(all(target_os = "linux", not(feature = "test-util"))))]
        later.0.saturating_duration_since(self.0)
    }

    /// Later by `duration`; `None` beyond the end of time.
    pub(crate) fn checked_add(self, duration: Duration) -> Option<Moment> {
        self.0.checked_add(duration).map(Moment)
    }
}
