//! When something was, and how long until something is.
//!
//! On Linux it is the clock that goes on while the machine is suspended, as the server's does. Unit
//! tests have tokio's, which they can pause.

use std::time::Duration;

use tokio::time::sleep;

/// A moment of a monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(Inner);

#[cfg(all(target_os = "linux", not(test)))]
type Inner = Duration;
#[cfg(not(all(target_os = "linux", not(test))))]
type Inner = tokio::time::Instant;

/// Timers stand still while the machine is suspended, so nobody sleeps longer than this without
/// looking at the clock.
const LOOK: Duration = Duration::from_secs(1);

impl Moment {
    #[cfg(all(target_os = "linux", not(test)))]
    pub(crate) fn now() -> Moment {
        use rustix::time::{ClockId, clock_gettime};
        let now = clock_gettime(ClockId::Boottime);
        // A clock that starts with the machine is never negative.
        Moment(Duration::try_from(now).unwrap_or_default())
    }

    #[cfg(not(all(target_os = "linux", not(test))))]
    pub(crate) fn now() -> Moment {
        Moment(tokio::time::Instant::now())
    }

    pub(crate) fn after(self, duration: Duration) -> Moment {
        Moment(self.0 + duration)
    }

    /// How long before `later` it is; zero if it is not.
    pub(crate) fn until(self, later: Moment) -> Duration {
        #[cfg(all(target_os = "linux", not(test)))]
        return later.0.saturating_sub(self.0);
        #[cfg(not(all(target_os = "linux", not(test))))]
        later.0.saturating_duration_since(self.0)
    }

    /// How long it is until then.
    pub(crate) fn left(self) -> Duration {
        Moment::now().until(self)
    }

    /// Waits until then.
    pub(crate) async fn wait(self) {
        loop {
            let left = self.left();
            if left.is_zero() {
                return;
            }
            sleep(left.min(LOOK)).await;
        }
    }
}
