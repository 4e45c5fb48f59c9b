//! Which plans the scenario did not stand.

use std::fmt;

/// How many breaches are printed: plans with few faults come first, and tell most.
const SHOWN: usize = 20;

/// What a scenario did wrong under one plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultBreach {
    pub(super) plan: String,
    pub(super) what: String,
}

impl FaultBreach {
    /// The plan in words: its faults.
    #[must_use]
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// What went wrong.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for FaultBreach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "with {}: {}", self.plan, self.what)
    }
}

/// What [`Faults::check`](super::Faults::check) found.
#[derive(Clone, Debug)]
#[must_use = "call `assert_clean` on it"]
pub struct FaultReport {
    pub(super) plans: usize,
    pub(super) breaches: Vec<FaultBreach>,
}

impl FaultReport {
    /// How many plans were tried.
    #[must_use]
    pub fn plans(&self) -> usize {
        self.plans
    }

    /// What went wrong, in the order of the plans.
    #[must_use]
    pub fn breaches(&self) -> &[FaultBreach] {
        &self.breaches
    }

    /// Panics, with the report, if anything went wrong.
    ///
    /// # Panics
    ///
    /// If anything went wrong under any plan.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.breaches.is_empty(), "{self}");
    }
}

impl fmt::Display for FaultReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut plans: Vec<&str> = self.breaches.iter().map(FaultBreach::plan).collect();
        plans.dedup();
        write!(f, "{} of {} plans go wrong", plans.len(), self.plans)?;
        let mut shown = self.breaches.iter().take(SHOWN);
        shown.try_for_each(|breach| write!(f, "\n{breach}"))?;
        match self.breaches.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}
