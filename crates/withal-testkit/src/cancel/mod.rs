//! Cancelling a scenario at every point where it waits, in every way.

mod drive;
mod report;
mod stopping;
mod way;

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

pub use report::{CancelReport, Leak};
pub use way::Way;

use crate::lab::Lab;
use crate::leaks::Leaks;
use stopping::{Point, Stopping};

/// Runs `scenario` once to its end, then once for each of its await points, dropping it there.
///
/// This is [`Cancel::by`] with [`Way::Drop`] alone, for scenarios that borrow or stay on their
/// thread; see there for what is checked. [`Cancel::every_way`] tries the other ways as well.
///
/// # Panics
///
/// If the scenario panics, or a runtime cannot be started.
///
/// # Examples
///
/// ```
/// use withal_core::nullcontext;
/// use withal_scope::async_with;
/// use withal_testkit::cancel_everywhere;
///
/// let report = cancel_everywhere(
///     || async_with(nullcontext(()), async |()| Ok(tokio::task::yield_now().await)),
///     || Ok(()),
/// );
/// report.assert_clean();
/// assert_eq!(report.points(), 1);
/// ```
pub fn cancel_everywhere<S, F, C>(scenario: S, check: C) -> CancelReport
where
    S: Fn() -> F,
    F: Future,
    C: Fn() -> Result<(), String>,
{
    let drop = Cancel::by([Way::Drop]);
    drop.run(scenario, check, |_, limit, scenario, stop| {
        drop.lab.run_at(scenario, stop, |runtime, scenario| {
            drive::in_place(runtime, limit, scenario);
        })
    })
}

/// Cancels a scenario at each of its await points.
///
/// # Examples
///
/// ```
/// use withal_core::nullcontext;
/// use withal_scope::async_with;
/// use withal_testkit::{Cancel, Way};
///
/// let scenario = || async_with(nullcontext(()), async |()| Ok(tokio::task::yield_now().await));
/// Cancel::every_way().everywhere(scenario, || Ok(())).assert_clean();
///
/// let report = Cancel::by([Way::Abort, Way::Timeout]).everywhere(scenario, || Ok(()));
/// report.assert_clean();
/// assert_eq!((report.points(), report.runs()), (1, 2));
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is cancelled before `everywhere` is called"]
pub struct Cancel {
    ways: Vec<Way>,
    lab: Lab,
}

impl Cancel {
    /// In every [`Way`].
    pub fn every_way() -> Cancel {
        Cancel::by(Way::ALL)
    }

    /// In these ways.
    pub fn by(ways: impl IntoIterator<Item = Way>) -> Cancel {
        Cancel {
            ways: ways.into_iter().collect(),
            lab: Lab::default(),
        }
    }

    /// With the real clock: for scenarios that talk to servers or files through the runtime.
    ///
    /// A virtual clock jumps ahead whenever all tasks wait, and then every deadline passes before
    /// the answer has come.
    pub fn real_time(mut self) -> Cancel {
        self.lab.real_time = true;
        self
    }

    /// Runs `scenario` once to its end, then once for each of its await points and each way,
    /// cancelling it there.
    ///
    /// Each run has a runtime and a virtual clock of its own, on the calling thread. After it,
    /// every teardown is awaited; then nothing that the run opened may be open, no task may be
    /// alive, no new descriptor open, and `check` must agree. Enters and exits are a part of the
    /// scenario, so their await points are tried too.
    ///
    /// The run that ends is checked as well, as await point 0. A scenario that waits for ever is
    /// dropped after an hour, which counts as its end.
    ///
    /// # Panics
    ///
    /// If the scenario panics, or a runtime cannot be started.
    pub fn everywhere<S, F, C>(&self, scenario: S, check: C) -> CancelReport
    where
        S: Fn() -> F,
        F: Future + Send + 'static,
        C: Fn() -> Result<(), String>,
    {
        self.run(scenario, check, |way, limit, scenario, stop| match way {
            Way::Shutdown => self.lab.shut_down_at(scenario, stop, limit),
            _ => self.lab.run_at(scenario, stop, |runtime, scenario| {
                drive::by(way, runtime, limit, scenario);
            }),
        })
    }

    fn run<S, F, C>(
        &self,
        scenario: S,
        check: C,
        cancel: impl Fn(Way, Duration, &S, usize) -> Stopped,
    ) -> CancelReport
    where
        S: Fn() -> F,
        F: Future,
        C: Fn() -> Result<(), String>,
    {
        let mut took = Duration::ZERO;
        let whole = self.lab.run_at(&scenario, usize::MAX, |runtime, scenario| {
            took = drive::whole(runtime, self.lab.patience(), scenario);
        });
        let points = whole.point.waited();
        // What the scenario waits for has come by then.
        let limit = took + Duration::from_millis(1);
        let mut leaks = whole.leaks(0, None, check());
        let tries = (1..=points).flat_map(|at| self.ways.iter().map(move |way| (at, *way)));
        for (at, way) in tries.clone() {
            let stopped = cancel(way, limit, &scenario, at);
            let checked = match (check(), way) {
                (_, Way::Shutdown) => Ok(()),
                (checked, _) => checked,
            };
            leaks.extend(stopped.leaks(at, Some(way), checked));
        }
        CancelReport {
            points,
            runs: tries.count(),
            leaks,
        }
    }
}

/// What came of one run.
struct Stopped {
    point: Arc<Point>,
    left: Leaks,
}

impl Stopped {
    fn leaks(&self, at: usize, way: Option<Way>, checked: Result<(), String>) -> Vec<Leak> {
        let left = self.left.lines().into_iter().chain(checked.err());
        left.map(|what| Leak {
            at,
            way,
            during: self.point.during(),
            what,
        })
        .collect()
    }
}

impl Lab {
    /// Runs `scenario` until it has waited `stop` times, and lets `drive` cancel it there.
    fn run_at<F: Future>(
        self,
        scenario: impl FnOnce() -> F,
        stop: usize,
        drive: impl FnOnce(&Runtime, Stopping<F>),
    ) -> Stopped {
        let (point, left) = self.run(|runtime, known| {
            let scenario = Stopping::new(runtime, scenario, stop, known);
            let point = scenario.point();
            drive(runtime, scenario);
            point
        });
        Stopped { point, left }
    }

    fn shut_down_at<F>(self, scenario: impl FnOnce() -> F, stop: usize, limit: Duration) -> Stopped
    where
        F: Future + Send + 'static,
    {
        let (point, left) = self.shut_down(|runtime, known| {
            let scenario = Stopping::new(runtime, scenario, stop, known);
            let point = scenario.point();
            (point, drive::in_runtime(runtime, limit, scenario))
        });
        Stopped { point, left }
    }
}
