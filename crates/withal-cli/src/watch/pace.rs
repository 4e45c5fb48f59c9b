//! How often each descriptor is looked at, so that watching stays cheap.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Decides for each sample whether it is a full one.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// What one sample may cost.
    budget: Duration,
    /// A full sample's cost, averaged over the last few.
    cost: Option<Duration>,
    /// The same for a cheap one.
    cheap: Option<Duration>,
    /// Samples until the next full one.
    left: u32,
}

impl Pace {
    /// At most `share` of a core, at a sample each `interval`.
    pub(super) fn new(interval: Duration, share: f64) -> Pace {
        Pace {
            budget: interval.mul_f64(share).max(Duration::from_nanos(1)),
            cost: None,
            cheap: None,
            left: 0,
        }
    }

    /// Whether the sample that is due now is a full one.
    pub(super) fn is_full(&mut self) -> bool {
        let is_full = self.left == 0;
        self.left = match is_full {
            true => self.every() - 1,
            false => self.left - 1,
        };
        is_full
    }

    /// Takes note of what a sample cost.
    pub(super) fn note(&mut self, is_full: bool, cost: Duration) {
        let average = match is_full {
            true => &mut self.cost,
            false => &mut self.cheap,
        };
        *average = Some(match *average {
            Some(average) => (average * 3 + cost) / 4,
            None => cost,
        });
        if is_full {
            self.left = self.every() - 1;
        }
    }

    /// One sample in so many is a full one: n, if a full one and n - 1 cheap ones cost no more than
    /// n may.
    pub(super) fn every(&self) -> u32 {
        let cheap = self.cheap.unwrap_or_default();
        let extra = self.cost.unwrap_or_default().saturating_sub(cheap);
        // If even cheap ones cost too much, full ones need not be rarer than this says.
        let spare = self.budget.saturating_sub(cheap).max(self.budget / 10);
        let every = extra.as_nanos().div_ceil(spare.as_nanos().max(1)).max(1);
        u32::try_from(every).unwrap_or(u32::MAX)
    }

    pub(super) fn cost(&self) -> Duration {
        self.cost.unwrap_or_default()
    }
}

/// The processor time that this process has used.
pub(super) fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanoseconds)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    fn full_samples(pace: &mut Pace, samples: usize) -> usize {
        (0..samples).filter(|_| pace.is_full()).count()
    }

    #[test]
    fn what_costs_no_more_than_its_share_is_done_each_time() {
        let mut pace = Pace::new(Duration::from_secs(1), 0.005);
        assert!(pace.is_full());
        pace.note(true, Duration::from_millis(5));
        assert_eq!(pace.every(), 1);
        assert_eq!(full_samples(&mut pace, 100), 100);
    }

    #[test]
    fn what_costs_more_is_done_less_often() {
        let mut pace = Pace::new(Duration::from_secs(1), 0.005);
        assert!(pace.is_full());
        pace.note(true, Duration::from_micros(22_500));
        assert_eq!(pace.every(), 5);
        assert_eq!(full_samples(&mut pace, 100), 20);
    }

    #[test]
    fn what_samples_in_between_cost_is_paid_for_too() {
        let mut pace = Pace::new(Duration::from_secs(1), 0.005);
        pace.note(true, Duration::from_micros(22_500));
        pace.note(false, Duration::from_millis(1));
        // 22.5 ms and 5 of 1 ms are less than 6 of 5 ms.
        assert_eq!(pace.every(), 6);
        pace.note(false, Duration::from_secs(1));
        assert!(pace.every() <= 50, "{}", pace.every());
    }

    #[test]
    fn one_slow_sample_is_forgotten() {
        let mut pace = Pace::new(Duration::from_secs(1), 0.005);
        pace.note(true, Duration::from_millis(1));
        pace.note(true, Duration::from_millis(100));
        assert!(pace.every() > 1);
        for _ in 0..20 {
            pace.note(true, Duration::from_millis(1));
        }
        assert_eq!(pace.every(), 1);
    }
}
