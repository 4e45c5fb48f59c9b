//! Faults in every combination of steps.

mod fault;
mod faulty;
mod plan;
mod report;
mod verify;

use std::panic::{AssertUnwindSafe, catch_unwind};

use tokio::time::timeout;
use withal_core::unwind::{Payload, catch};
use withal_core::{BoxError, Error, Panicked};
use withal_scope::Reaper;

pub use fault::{Fault, Injected, Step};
pub use faulty::{Faulty, FaultyResource};
pub use plan::Plan;
pub use report::{FaultBreach, FaultReport};

use crate::lab::Lab;
use crate::leaks::Leaks;
use verify::Told;

/// Makes every combination of ok, error, panic and hang of the enter, the body and the exit of one
/// manager; [`Faults::managers`] takes more.
///
/// A scenario is run with each. It enters the plan's managers beside or around those under test,
/// and runs the plan's body. Then every manager of the plan that was entered must have been exited
/// once, in reverse order; every error must have reached somebody; nothing may be left open.
///
/// # Examples
///
/// ```
/// use withal_scope::scope;
/// use withal_testkit::faults;
///
/// let report = faults().managers(2).check(|plan| async move {
///     scope(async |s| {
///         let _outer = s.enter(plan.manager(0)).await?;
///         let _inner = s.enter(plan.manager(1)).await?;
///         Ok(plan.body().await?)
///     })
///     .await
/// });
/// report.assert_clean();
/// assert_eq!(report.plans(), 4_usize.pow(5));
/// ```
pub fn faults() -> Faults {
    Faults {
        managers: 1,
        faults: Fault::ALL.to_vec(),
        may_suppress: false,
        lab: Lab::default(),
    }
}

/// Which combinations of faults a scenario has to stand; made by [`faults`].
#[derive(Clone, Debug)]
#[must_use = "nothing is tried before `check` is called"]
pub struct Faults {
    managers: usize,
    faults: Vec<Fault>,
    may_suppress: bool,
    lab: Lab,
}

impl Faults {
    /// For this many managers: with all four faults, one makes 64 plans, two 1,024, three 16,384.
    pub fn managers(mut self, managers: usize) -> Faults {
        self.managers = managers;
        self
    }

    /// Leaves this fault out.
    ///
    /// # Panics
    ///
    /// If it is [`Fault::None`], without which nothing would be entered.
    #[track_caller]
    pub fn without(mut self, fault: Fault) -> Faults {
        assert!(fault != Fault::None, "some steps have to succeed");
        self.faults.retain(|known| *known != fault);
        self
    }

    /// The scenario may swallow errors and panics: they need not reach anybody.
    pub fn may_suppress(mut self) -> Faults {
        self.may_suppress = true;
        self
    }

    /// With the real clock; see [`Cancel::real_time`](crate::Cancel::real_time). Leave hangs out,
    /// or each takes a minute.
    pub fn real_time(mut self) -> Faults {
        self.lab.real_time = true;
        self
    }

    /// Every plan, each with a trace of its own, for a test that drives them itself.
    pub fn plans(&self) -> impl ExactSizeIterator<Item = Plan> + use<> {
        let (managers, faults) = (self.managers, self.faults.clone());
        (0..self.count()).map(move |code| Plan::nth(managers, &faults, code))
    }

    fn count(&self) -> usize {
        let steps = (0..self.managers).map(|_| self.faults.len().pow(2));
        steps.product::<usize>() * self.faults.len()
    }

    /// Runs `scenario` with every plan, each on a runtime and a virtual clock of its own.
    ///
    /// A scenario that still hangs after an hour of that clock is dropped, and its teardown
    /// awaited; what hangs there too has to be given up by its reaper.
    ///
    /// # Panics
    ///
    /// If a runtime cannot be started.
    pub fn check<S, F, T, E>(&self, scenario: S) -> FaultReport
    where
        S: Fn(Plan) -> F,
        F: Future<Output = Result<T, E>>,
        E: Into<BoxError>,
    {
        self.run(|plan| {
            let (ended, left) = self.lab.run(|runtime, _| {
                let running = async { catch(scenario(plan.clone())).await };
                runtime.block_on(async { timeout(self.lab.patience(), running).await.ok() })
            });
            (ended, left)
        })
    }

    /// Runs a `scenario` that does not wait with every plan that does not hang.
    ///
    /// # Panics
    ///
    /// If a runtime cannot be started.
    pub fn check_sync<S, T, E>(&self, scenario: S) -> FaultReport
    where
        S: Fn(Plan) -> Result<T, E>,
        E: Into<BoxError>,
    {
        self.clone().without(Fault::Hang).run(|plan| {
            let running = || catch_unwind(AssertUnwindSafe(|| scenario(plan.clone())));
            let (ended, left) = self.lab.run(|_, _| running());
            (Some(ended), left)
        })
    }

    fn run<T, E: Into<BoxError>>(
        &self,
        run: impl Fn(&Plan) -> (Ended<T, E>, Leaks),
    ) -> FaultReport {
        let mut breaches = Vec::new();
        for plan in self.plans() {
            let (ended, left) = run(&plan);
            let left = match plan.hung() {
                true => left.without_abandoned(),
                false => left,
            };
            let mut found = plan.check_used();
            found.extend(plan.check_exits());
            if !self.may_suppress {
                found.extend(plan.check_told(&told(ended)));
            }
            found.extend(left.lines());
            breaches.extend(found.into_iter().map(|what| FaultBreach {
                plan: plan.to_string(),
                what,
            }));
        }
        FaultReport {
            plans: self.plans().len(),
            breaches,
        }
    }
}

/// What a scenario came to; `None` if it had to be dropped.
type Ended<T, E> = Option<Result<Result<T, E>, Payload>>;

fn told<T, E: Into<BoxError>>(ended: Ended<T, E>) -> Told {
    let panicked = matches!(ended, Some(Err(_)));
    let dropped = ended.is_none();
    let caller = match ended {
        Some(Err(payload)) => Panicked::new(&*payload).message().to_owned(),
        Some(Ok(Err(error))) => Error::new(error).report().to_string(),
        Some(Ok(Ok(_))) | None => String::new(),
    };
    let failures = Reaper::global().failures();
    let reaper: Vec<String> = failures.iter().map(|it| it.report().to_string()).collect();
    Told {
        caller,
        reaper: reaper.concat(),
        panicked,
        dropped,
    }
}
