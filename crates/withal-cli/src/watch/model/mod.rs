//! From samples to a verdict. Nothing here reads a clock or a file.

mod ledger;
mod series;
mod statistics;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

use super::kind::{Census, Kind};
use ledger::Ledger;

pub(super) use ledger::Group;
pub(super) use series::{ENOUGH, Series, Trend};
pub(super) use verdict::Verdict;

/// All that is known of the descriptors of a process over a window of time.
#[derive(Clone, Debug)]
pub(super) struct Model {
    all: Series,
    kinds: BTreeMap<Kind, Series>,
    sockets: Ledger,
    limit: Option<u64>,
}

/// What is said of one kind, or of all descriptors.
#[derive(Clone, Debug)]
pub(super) struct Row<'a> {
    /// None for all.
    pub(super) kind: Option<Kind>,
    pub(super) series: &'a Series,
    pub(super) trend: Trend,
    pub(super) verdict: Verdict,
    /// When the limit is reached if it goes on so; only for what grows.
    pub(super) to_limit: Option<Duration>,
}

impl Row<'_> {
    pub(super) fn name(&self) -> &'static str {
        self.kind.map_or("all", Kind::name)
    }
}

/// What the samples say.
#[derive(Clone, Debug)]
pub(super) struct Report<'a> {
    pub(super) all: Row<'a>,
    /// The kinds that there were in the window.
    pub(super) kinds: Vec<Row<'a>>,
    /// TCP sockets that share a state and a peer.
    pub(super) groups: Vec<Group>,
    pub(super) limit: Option<u64>,
    /// The worst of them.
    pub(super) verdict: Verdict,
}

impl<'a> Report<'a> {
    /// What is to blame: the kind that rises fastest of those of the worst verdict, or all of them
    /// together if no kind alone is as bad.
    pub(super) fn worst(&self) -> &Row<'a> {
        // Of equals the last is taken, which is to be the first of the table.
        let kinds = self.kinds.iter().rev();
        let worst = kinds.filter(|row| row.verdict == self.verdict);
        let worst = worst.max_by(|a, b| a.trend.slope.total_cmp(&b.trend.slope));
        worst.unwrap_or(&self.all)
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = &Row<'a>> {
        self.kinds.iter().chain([&self.all])
    }
}

impl Model {
    pub(super) fn new(window: Duration) -> Model {
        let series = |kind| (kind, Series::new(window));
        Model {
            all: Series::new(window),
            kinds: Kind::ALL.into_iter().map(series).collect(),
            sockets: Ledger::new(window),
            limit: None,
        }
    }

    /// Adds how many descriptors there are in all.
    pub(super) fn note_total(&mut self, at: Duration, total: u64) {
        self.all.note(at, total);
    }

    /// Adds what they all are.
    pub(super) fn note(&mut self, at: Duration, census: &Census, limit: Option<u64>) {
        self.limit = limit;
        self.all.note(at, census.total());
        for (kind, series) in &mut self.kinds {
            let count = census.counts.get(kind).copied();
            series.note(at, count.unwrap_or_default());
        }
        self.sockets.note(at, &census.sockets);
    }

    /// How many descriptors there were at the last sample.
    pub(super) fn total(&self) -> Option<u64> {
        Some(self.all.points().last()?.now)
    }

    /// What is known; nothing before the first census.
    pub(super) fn report(&self, at: Duration) -> Option<Report<'_>> {
        let all = self.row(None, &self.all)?;
        let kinds = self.kinds.iter();
        let kinds = kinds.filter_map(|(kind, series)| self.row(Some(*kind), series));
        let mut kinds: Vec<Row<'_>> = kinds.collect();
        let samples = kinds.first()?.trend.samples;
        kinds.retain(|row| row.trend.max > 0);
        let worst = kinds.iter().chain([&all]).map(|row| row.verdict).max();
        let verdict = match worst? {
            // Stretched scans: the total may be known well before the kinds are.
            Verdict::Steady if samples < ENOUGH => Verdict::Unknown,
            worst => worst,
        };
        Some(Report {
            all,
            kinds,
            groups: self.sockets.groups(at),
            limit: self.limit,
            verdict,
        })
    }

    fn row<'a>(&self, kind: Option<Kind>, series: &'a Series) -> Option<Row<'a>> {
        let trend = series.trend()?;
        let verdict = Verdict::of(&trend);
        let grows = verdict >= Verdict::Growing;
        let total = self.total()?;
        let room = self.limit.map(|limit| limit.saturating_sub(total));
        Some(Row {
            kind,
            series,
            trend,
            verdict,
            to_limit: room
                .filter(|_| grows)
                .and_then(|room| verdict::time_to(room, trend.slope)),
        })
    }
}
