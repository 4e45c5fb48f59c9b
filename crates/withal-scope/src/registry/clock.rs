//! The time since when something has been open.
//!
//! Where there is one, the kernel's coarse clock: a few milliseconds are no matter for an age, and
//! it is read in a quarter of the time.

use std::time::Duration;

#[cfg(target_os = "linux")]
pub(crate) use self::coarse::Since;
#[cfg(not(target_os = "linux"))]
pub(crate) use self::precise::Since;

#[cfg(target_os = "linux")]
mod coarse {
    use rustix::time::{ClockId, clock_gettime};

    use super::Duration;

    /// A moment of the coarse monotonic clock.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Since(Duration);

    impl Since {
        #[inline]
        pub(crate) fn now() -> Since {
            let now = clock_gettime(ClockId::MonotonicCoarse);
            // A monotonic clock is never negative.
            Since(Duration::try_from(now).unwrap_or_default())
        }

        /// The moment that lies `age` back.
        pub(crate) fn ago(age: Duration) -> Since {
            Since(Since::now().0.saturating_sub(age))
        }

        pub(crate) fn elapsed(self) -> Duration {
            Since::now().0.saturating_sub(self.0)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod precise {
    use std::time::Instant;

    use super::Duration;

    /// A moment of the monotonic clock.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Since(Instant);

    impl Since {
        pub(crate) fn now() -> Since {
            Since(Instant::now())
        }

        /// The moment that lies `age` back.
        pub(crate) fn ago(age: Duration) -> Since {
            let now = Instant::now();
            Since(now.checked_sub(age).unwrap_or(now))
        }

        pub(crate) fn elapsed(self) -> Duration {
            self.0.elapsed()
        }
    }
}
