//! What cancelled runs left behind.

use std::collections::BTreeSet;
use std::fmt;

use super::Way;

/// One thing that a run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    pub(super) at: usize,
    pub(super) way: Option<Way>,
    pub(super) during: Option<String>,
    pub(super) what: String,
}

impl Leak {
    /// At which of its await points the run was cancelled, counted from one; zero for the run that
    /// was not.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// In which way the run was cancelled; `None` for the run that was not.
    #[must_use]
    pub fn way(&self) -> Option<Way> {
        self.way
    }

    /// What withal was doing at that point, if anything: which manager, entered where, was being
    /// acquired, open or closing.
    #[must_use]
    pub fn during(&self) -> Option<&str> {
        self.during.as_deref()
    }

    /// What it left behind.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.way {
            Some(way) => write!(f, "at await point {}, {way}", self.at)?,
            None => f.write_str("run to its end")?,
        }
        if let Some(during) = &self.during {
            write!(f, " while {during}")?;
        }
        write!(f, ": {}", self.what)
    }
}

/// What [`Cancel::everywhere`](super::Cancel::everywhere) found.
#[derive(Clone, Debug)]
#[must_use = "call `assert_clean` on it"]
pub struct CancelReport {
    pub(super) points: usize,
    pub(super) runs: usize,
    pub(super) leaks: Vec<Leak>,
}

impl CancelReport {
    /// How many await points the scenario has.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points
    }

    /// How many cancelled runs there were: await points × ways.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.runs
    }

    /// What was left behind, in the order of the await points, then of the ways.
    #[must_use]
    pub fn leaks(&self) -> &[Leak] {
        &self.leaks
    }

    /// Panics, with the report, if anything was left behind or nothing was tried.
    ///
    /// # Panics
    ///
    /// If anything leaked, if the scenario never waits, or if there was no way to cancel it.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(
            self.points > 0,
            "the scenario never waits: there is nothing to cancel"
        );
        assert!(self.runs > 0, "there is no way to cancel the scenario");
        assert!(self.leaks.is_empty(), "{self}");
    }
}

impl fmt::Display for CancelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = self.leaks.iter().map(Leak::at).filter(|at| *at > 0);
        let leaking: BTreeSet<usize> = points.collect();
        write!(f, "{} of {} await points leak", leaking.len(), self.points)?;
        self.leaks.iter().try_for_each(|leak| write!(f, "\n{leak}"))
    }
}
