//! What the programs report, and what is made of it.

use anyhow::{Context, Result};
use serde::Deserialize;

/// One line of a program: some work, who did it, and how long each time.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Measure {
    pub(super) work: String,
    pub(super) who: String,
    pub(super) unit: Unit,
    pub(super) samples: Vec<f64>,
}

/// What the samples count.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
pub(super) enum Unit {
    /// Nanoseconds for one piece of work; less is better.
    #[serde(rename = "ns")]
    Nanoseconds,
    /// Pieces of work in a second; more is better.
    #[serde(rename = "/s")]
    PerSecond,
    /// Bytes in a second; more is better.
    #[serde(rename = "B/s")]
    BytesPerSecond,
    /// Bytes; less is better.
    #[serde(rename = "B")]
    Bytes,
    /// A part of the whole; less is better.
    #[serde(rename = "%")]
    Percent,
}

/// The name under which our own samples come.
pub(super) const US: &str = "withal";

/// The samples so far, in the order in which work and peers were first seen.
#[derive(Debug, Default)]
pub(super) struct Measures(Vec<Measure>);

impl Measures {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a program's samples to those of its earlier runs.
    pub(super) fn extend(&mut self, more: Vec<Measure>) {
        for measure in more {
            let known = self
                .0
                .iter_mut()
                .find(|known| known.work == measure.work && known.who == measure.who);
            match known {
                Some(known) => known.samples.extend(measure.samples),
                None => self.0.push(measure),
            }
        }
    }

    /// Each work of ours with its peers.
    pub(super) fn works(&self) -> impl Iterator<Item = (&Measure, Vec<&Measure>)> {
        self.0.iter().filter(|ours| ours.who == US).map(|ours| {
            let is_peer = |other: &&Measure| other.work == ours.work && other.who != US;
            (ours, self.0.iter().filter(is_peer).collect())
        })
    }

    /// The peers whose work we do not do: a misspelt name, in most cases.
    pub(super) fn peers_without_us(&self) -> Vec<String> {
        let is_ours = |work: &str| self.0.iter().any(|m| m.who == US && m.work == work);
        self.0
            .iter()
            .filter(|measure| !is_ours(&measure.work))
            .map(|measure| format!("{} ({})", measure.who, measure.work))
            .collect()
    }
}

/// Reads a program's JSON lines.
pub(super) fn parse(output: &str) -> Result<Vec<Measure>> {
    output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a measure: {line}")))
        .collect()
}

/// The middle of the samples and their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Summary {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Summary {
    /// `None` without samples.
    pub(super) fn of(samples: &[f64]) -> Option<Summary> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Summary {
            median: f64::midpoint(lower, upper),
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }
}
