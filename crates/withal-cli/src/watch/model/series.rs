//! One number over a window of time.

use std::collections::VecDeque;
use std::time::Duration;

use super::statistics::{mann_kendall, theil_sen};

/// With fewer samples there is no verdict.
pub(in super::super) const ENOUGH: usize = 20;

/// A window holds no more points than this; samples that come faster share one.
const POINTS: u32 = 120;

/// The window is looked at in as many parts, to see whether its low point keeps rising.
const PARTS: usize = 4;

/// Samples that share a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Point {
    pub(in super::super) at: Duration,
    /// The last of them.
    pub(in super::super) now: u64,
    min: u64,
    max: u64,
}

/// The samples of the last while: the window, or more if it holds too few for a verdict.
#[derive(Clone, Debug)]
pub(in super::super) struct Series {
    window: Duration,
    points: VecDeque<Point>,
}

/// What a series says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Trend {
    pub(in super::super) samples: usize,
    /// From its first sample to its last.
    pub(in super::super) span: Duration,
    pub(in super::super) first: u64,
    pub(in super::super) now: u64,
    pub(in super::super) min: u64,
    pub(in super::super) max: u64,
    /// Per minute, by Theil and Sen.
    pub(in super::super) slope: f64,
    /// By Mann and Kendall.
    pub(in super::super) z: f64,
    /// Whether the minimum of each quarter of the time is above that of the one before.
    pub(in super::super) has_rising_floor: bool,
}

impl Series {
    pub(super) fn new(window: Duration) -> Series {
        Series {
            window,
            points: VecDeque::new(),
        }
    }

    /// Adds a sample; `at` never decreases.
    pub(super) fn note(&mut self, at: Duration, value: u64) {
        let width = self.window / POINTS;
        let slot = |at: Duration| at.as_nanos() / width.as_nanos().max(1);
        match self.points.back_mut() {
            Some(last) if slot(last.at) == slot(at) => {
                last.now = value;
                last.min = last.min.min(value);
                last.max = last.max.max(value);
            }
            _ => self.points.push_back(Point {
                at,
                now: value,
                min: value,
                max: value,
            }),
        }
        let is_old = |point: &Point| point.at + self.window < at;
        while self.points.len() > ENOUGH && self.points.front().is_some_and(is_old) {
            let _ = self.points.pop_front();
        }
    }

    pub(in super::super) fn points(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.points.iter()
    }

    /// What the samples say; nothing if there are none.
    pub(super) fn trend(&self) -> Option<Trend> {
        let (first, last) = (self.points.front()?, self.points.back()?);
        let trend = Trend {
            samples: self.points.len(),
            span: last.at.saturating_sub(first.at),
            first: first.now,
            now: last.now,
            min: self.points.iter().map(|point| point.min).min()?,
            max: self.points.iter().map(|point| point.max).max()?,
            slope: 0.0,
            z: 0.0,
            has_rising_floor: false,
        };
        if trend.min == trend.max {
            return Some(trend);
        }
        let line = |point: &Point| (point.at.as_secs_f64() / 60.0, point.now as f64);
        let line: Vec<(f64, f64)> = self.points.iter().map(line).collect();
        let values: Vec<u64> = self.points.iter().map(|point| point.now).collect();
        Some(Trend {
            slope: theil_sen(&line).unwrap_or_default(),
            z: mann_kendall(&values),
            has_rising_floor: self.has_rising_floor(first.at, trend.span),
            ..trend
        })
    }

    fn has_rising_floor(&self, start: Duration, span: Duration) -> bool {
        let part = |point: &&Point| {
            let passed = point.at.saturating_sub(start).as_nanos();
            let part = passed * PARTS as u128 / span.as_nanos().max(1);
            part.min(PARTS as u128 - 1)
        };
        let points: Vec<&Point> = self.points.iter().collect();
        let parts = points.chunk_by(|a, b| part(a) == part(b));
        let floors: Vec<u64> = parts
            .filter_map(|points| points.iter().map(|point| point.min).min())
            .collect();
        floors.len() == PARTS && floors.is_sorted_by(|earlier, later| earlier < later)
    }
}
