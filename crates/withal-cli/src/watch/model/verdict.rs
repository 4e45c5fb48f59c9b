//! What the numbers mean.

use std::time::Duration;

use super::series::{ENOUGH, Trend};

/// So many standard deviations from chance are a trend: about 1 in 2000 series without one.
const TREND: f64 = 3.3;

/// What rises more slowly, per minute, is no leak to act upon.
const SLOPE: f64 = 0.5;

/// What is said of a kind, or of all descriptors; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in super::super) enum Verdict {
    /// No trend beyond chance.
    Steady,
    /// Too few samples.
    Unknown,
    /// A trend, but too slow for a leak, or the low points do not keep rising.
    Growing,
    /// A trend, and even the low points keep rising.
    Leaking,
}

impl Verdict {
    pub(super) fn of(trend: &Trend) -> Verdict {
        match trend {
            _ if trend.samples < ENOUGH => Verdict::Unknown,
            _ if trend.z < TREND => Verdict::Steady,
            _ if trend.slope >= SLOPE && trend.has_rising_floor => Verdict::Leaking,
            _ => Verdict::Growing,
        }
    }

    /// As it stands in the table.
    pub(in super::super) fn shown(self) -> &'static str {
        match self {
            Verdict::Steady => "steady",
            Verdict::Unknown => "not enough data",
            Verdict::Growing => "growing",
            Verdict::Leaking => "LEAKING",
        }
    }

    /// As it stands in JSON.
    pub(in super::super) fn key(self) -> &'static str {
        match self {
            Verdict::Steady => "steady",
            Verdict::Unknown => "unknown",
            Verdict::Growing => "growing",
            Verdict::Leaking => "leaking",
        }
    }
}

/// When `slope` per minute will have used up `room`, if what rises goes on to.
pub(super) fn time_to(room: u64, slope: f64) -> Option<Duration> {
    let seconds = room as f64 / slope * 60.0;
    match slope > 0.0 {
        true => Duration::try_from_secs_f64(seconds).ok(),
        false => None,
    }
}
