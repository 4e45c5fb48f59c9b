//! One combination of faults, and what became of it.

use std::fmt;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::yield_now;
use withal_core::{Nullcontext, nullcontext};

use super::faulty::Faulty;
use super::{Fault, Injected, Step};

/// One combination of faults: what each enter, the body and each exit do.
///
/// Clones share one trace.
///
/// # Examples
///
/// ```
/// use withal_core::with;
/// use withal_testkit::{Fault, Step, faults};
///
/// faults()
///     .check_sync(|plan| {
///         let ended = with(plan.manager(0), |_| Ok(plan.body_sync()?));
///         if plan.fault(Step::Enter(0)) == Fault::Error {
///             assert!(ended.is_err());
///         }
///         ended
///     })
///     .assert_clean();
/// ```
#[derive(Clone, Debug)]
pub struct Plan {
    run: u64,
    /// In the order of [`steps`].
    faults: Arc<[Fault]>,
    trace: Arc<Mutex<Vec<Event>>>,
}

/// What happened to the managers of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Reached(Step, Fault),
    Entered(usize),
    Exited(usize),
}

/// The steps of `managers` managers: enters, body, exits.
fn steps(managers: usize) -> impl Iterator<Item = Step> {
    let enters = (0..managers).map(Step::Enter);
    let exits = (0..managers).map(Step::Exit);
    enters.chain([Step::Body]).chain(exits)
}

impl Plan {
    /// The `code`th of all plans of so many managers, counted in the base of `faults`.
    pub(super) fn nth(managers: usize, faults: &[Fault], code: usize) -> Plan {
        static RUNS: AtomicU64 = AtomicU64::new(1);
        let mut rest = code;
        let faults = steps(managers).map(|_| {
            let fault = faults.get(rest % faults.len()).copied();
            rest /= faults.len();
            fault.unwrap_or_default()
        });
        Plan {
            run: RUNS.fetch_add(1, Ordering::Relaxed),
            faults: faults.collect(),
            trace: Arc::default(),
        }
    }

    /// How many managers the plan is for.
    #[must_use]
    pub fn managers(&self) -> usize {
        self.faults.len() / 2
    }

    /// What `step` does. A step that is not in the plan succeeds.
    #[must_use]
    pub fn fault(&self, step: Step) -> Fault {
        let position = steps(self.managers()).position(|known| known == step);
        let fault = position.and_then(|position| self.faults.get(position));
        fault.copied().unwrap_or_default()
    }

    /// A manager without a resource, to stand beside those under test.
    ///
    /// # Panics
    ///
    /// If the plan has no such manager.
    #[track_caller]
    pub fn manager(&self, number: usize) -> Faulty {
        self.faulty(number, nullcontext(()), Some(format!("manager {number}")))
    }

    /// `manager`, with this plan's faults: they come before its enter and after its exit, as if it
    /// had failed itself.
    ///
    /// # Panics
    ///
    /// If the plan has no such manager.
    #[track_caller]
    pub fn wrap<M>(&self, number: usize, manager: M) -> Faulty<M> {
        self.faulty(number, manager, None)
    }

    #[track_caller]
    fn faulty<M>(&self, number: usize, manager: M, name: Option<String>) -> Faulty<M> {
        let managers = self.managers();
        assert!(
            number < managers,
            "manager {number} of a plan for {managers}: say `faults().managers(..)`"
        );
        Faulty::new(self.clone(), number, manager, name)
    }

    /// What the body does.
    ///
    /// # Errors
    ///
    /// [`Injected`], if the plan says so.
    ///
    /// # Panics
    ///
    /// If the plan says so.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    pub async fn body(&self) -> Result<(), Injected> {
        self.step(Step::Body).await
    }

    /// What a body does that does not wait.
    ///
    /// # Errors
    ///
    /// [`Injected`], if the plan says so.
    ///
    /// # Panics
    ///
    /// If the plan says so, or has a body that hangs.
    pub fn body_sync(&self) -> Result<(), Injected> {
        self.step_sync(Step::Body)
    }

    pub(super) async fn step(&self, step: Step) -> Result<(), Injected> {
        yield_now().await;
        if self.fault(step) == Fault::Hang {
            self.note(Event::Reached(step, Fault::Hang));
            std::future::pending::<()>().await;
        }
        let ended = self.step_sync(step);
        yield_now().await;
        ended
    }

    pub(super) fn step_sync(&self, step: Step) -> Result<(), Injected> {
        let run = self.run;
        let fault = self.fault(step);
        self.note(Event::Reached(step, fault));
        match fault {
            Fault::None => Ok(()),
            Fault::Error => Err(Injected { run, step }),
            Fault::Panic => resume_unwind(Box::new(Injected { run, step }.to_string())),
            Fault::Hang => {
                panic!("the {step} is sync and cannot hang: plan `without(Fault::Hang)`")
            }
        }
    }

    pub(super) fn note(&self, event: Event) {
        self.trace().push(event);
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.trace().clone()
    }

    /// The failures that came to be, with their kind.
    pub(super) fn injected(&self) -> Vec<(Injected, Fault)> {
        let reached = self.events().into_iter().filter_map(|event| match event {
            Event::Reached(step, fault) if fault != Fault::None => Some((step, fault)),
            _ => None,
        });
        let run = self.run;
        reached
            .map(|(step, fault)| (Injected { run, step }, fault))
            .collect()
    }

    pub(super) fn is_faultless(&self) -> bool {
        self.faults.iter().all(|fault| *fault == Fault::None)
    }

    fn trace(&self) -> MutexGuard<'_, Vec<Event>> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = steps(self.managers()).zip(self.faults.iter());
        let faults = faults.filter(|(_, fault)| **fault != Fault::None);
        let texts: Vec<String> = faults
            .map(|(step, fault)| format!("{fault} in the {step}"))
            .collect();
        match texts.is_empty() {
            true => f.write_str("no fault"),
            false => f.write_str(&texts.join(", ")),
        }
    }
}

/// The resource of [`Plan::manager`] is empty.
pub(super) type Beside = Nullcontext<()>;
