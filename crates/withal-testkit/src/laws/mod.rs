//! The laws of the protocol, to be run on any implementation.
//!
//! # Examples
//!
//! A manager whose exit forgets something after an error:
//!
//! ```
//! use std::cell::Cell;
//! use std::convert::Infallible;
//! use withal_core::{ContextManager, ExitCase};
//! use withal_testkit::laws::{Law, Laws};
//!
//! struct Count<'a>(&'a Cell<u32>);
//!
//! impl<'a> ContextManager for Count<'a> {
//!     type Resource = &'a Cell<u32>;
//!     type Error = Infallible;
//!
//!     fn enter(self) -> Result<&'a Cell<u32>, Infallible> {
//!         self.0.update(|open| open + 1);
//!         Ok(self.0)
//!     }
//!
//!     fn exit(count: &'a Cell<u32>, case: ExitCase) -> Result<(), Infallible> {
//!         if case.error().is_none() {
//!             count.update(|open| open - 1);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! let open = Cell::new(0);
//! let report = Laws::new()
//!     .observe(|| open.get())
//!     .check_sync(|| Count(&open));
//! assert!(report.breaks(Law::ExitUndoesEnter));
//! assert_eq!(
//!     report.breaches()[0].to_string(),
//!     "law broken: exit undoes enter, however the body ended: after an error: was 0, is 1",
//! );
//! ```

mod law;
mod steps;

use std::cell::RefCell;
use std::fmt;

use tokio::runtime::Runtime;
use tokio::task::yield_now;
use withal_core::unwind::catch;
use withal_core::{AsyncContextManager, ContextManager, ExitCase, Verdict, with};
use withal_scope::async_with;

pub use law::{Law, LawBreach, LawReport};

use crate::lab::Lab;
use crate::{Cancel, FaultReport, Faulty, faults};
use steps::{after, cases, enter, enter_async, exit, exit_async};

/// Tests what `make` makes against the laws; see [`Laws`] for more than what can be seen by itself.
///
/// # Panics
///
/// If a runtime cannot be started, or `make` panics.
///
/// # Examples
///
/// ```
/// use withal_core::nullcontext;
/// use withal_testkit::laws;
///
/// laws::check(|| nullcontext(42)).assert_held();
/// ```
pub fn check<M, V>(make: impl Fn() -> M) -> LawReport
where
    M: AsyncContextManager<V> + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    V: Verdict,
{
    Laws::new().check(make)
}

/// [`check`] for managers that do not wait.
///
/// # Panics
///
/// If a runtime cannot be started, or `make` panics.
///
/// # Examples
///
/// ```
/// use withal_core::nullcontext;
/// use withal_testkit::laws;
///
/// laws::check_sync(|| nullcontext(42)).assert_held();
/// ```
pub fn check_sync<M, V>(make: impl Fn() -> M) -> LawReport
where
    M: ContextManager<V>,
    V: Verdict,
{
    Laws::new().check_sync(make)
}

/// How an implementation is tested against the laws.
///
/// Always looked at: the registry of what is open, the runtime's tasks, the process's descriptors.
/// What else a manager acquires, [`observe`](Laws::observe) tells.
#[must_use = "nothing is tested before a `check` is called"]
pub struct Laws<'a> {
    observe: Box<dyn Fn() -> String + 'a>,
    exclusive: bool,
    lab: Lab,
}

impl<'a> Laws<'a> {
    /// Looks at what can be seen by itself.
    pub fn new() -> Laws<'a> {
        Laws {
            observe: Box::new(String::new),
            exclusive: false,
            lab: Lab::default(),
        }
    }

    /// Looks at `state` as well, which has to be the same after each use as before: how many locks
    /// are held, which files exist. It catches what is given back twice, too.
    pub fn observe<T: fmt::Debug>(mut self, state: impl Fn() -> T + 'a) -> Laws<'a> {
        self.observe = Box::new(move || format!("{:?}", state()));
        self
    }

    /// The manager excludes others, as a lock does: [`Law::Independent`] is not asked.
    pub fn exclusive(mut self) -> Laws<'a> {
        self.exclusive = true;
        self
    }

    /// With the real clock; see [`Cancel::real_time`].
    pub fn real_time(mut self) -> Laws<'a> {
        self.lab.real_time = true;
        self
    }

    /// Tests what `make` makes, which has to succeed.
    ///
    /// # Panics
    ///
    /// If a runtime cannot be started, or `make` panics.
    pub fn check<M, V>(&self, make: impl Fn() -> M) -> LawReport
    where
        M: AsyncContextManager<V> + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
        V: Verdict,
    {
        let patience = self.lab.patience();
        let enter = || enter_async(make(), patience);
        let exit = |resource, case| exit_async::<M, V>(resource, case, patience);
        let mut trial = Trial::new(self);
        trial.run(Law::AcquiresInEnter, "made and dropped", |_| {
            drop(make());
            drop(make().enter());
            Ok(())
        });
        for case in cases() {
            let when = after(&case);
            trial.run(Law::ExitUndoesEnter, when, |runtime| {
                runtime.block_on(async { exit(enter().await?, case).await })
            });
        }
        trial.run(Law::Reusable, "used twice", |runtime| {
            runtime.block_on(async {
                exit(enter().await?, ExitCase::Succeeded).await?;
                exit(enter().await?, ExitCase::Succeeded).await
            })
        });
        for &newest_first in self.orders() {
            trial.run(Law::Independent, "two at once", |runtime| {
                runtime.block_on(async {
                    let (one, two) = (enter().await?, enter().await?);
                    let [first, second] = in_order(one, two, newest_first);
                    exit(first, ExitCase::Succeeded).await?;
                    exit(second, ExitCase::Succeeded).await
                })
            });
        }
        trial.cancel(Law::CancelledLeavesNothing, &make);
        trial.report()
    }

    /// Tests what `make` makes, which has to succeed without waiting.
    ///
    /// # Panics
    ///
    /// If a runtime cannot be started, or `make` panics.
    pub fn check_sync<M, V>(&self, make: impl Fn() -> M) -> LawReport
    where
        M: ContextManager<V>,
        V: Verdict,
    {
        let enter = || enter(make());
        let exit = exit::<M, V>;
        let mut trial = Trial::new(self);
        trial.run(Law::AcquiresInEnter, "made and dropped", |_| {
            drop(make());
            Ok(())
        });
        for case in cases() {
            let when = after(&case);
            trial.run(Law::ExitUndoesEnter, when, |_| exit(enter()?, case));
        }
        trial.run(Law::Reusable, "used twice", |_| {
            exit(enter()?, ExitCase::Succeeded)?;
            exit(enter()?, ExitCase::Succeeded)
        });
        for &newest_first in self.orders() {
            trial.run(Law::Independent, "two at once", |_| {
                let (one, two) = (enter()?, enter()?);
                let [first, second] = in_order(one, two, newest_first);
                exit(first, ExitCase::Succeeded)?;
                exit(second, ExitCase::Succeeded)
            });
        }
        trial.report()
    }

    /// Tests what `make` makes, whose enter has to fail: [`Law::FailedEnterLeavesNothing`].
    ///
    /// # Panics
    ///
    /// If a runtime cannot be started, or `make` panics.
    pub fn check_failing<M, V>(&self, make: impl Fn() -> M) -> LawReport
    where
        M: AsyncContextManager<V> + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
        V: Verdict,
    {
        let patience = self.lab.patience();
        let mut trial = Trial::new(self);
        trial.run(Law::FailedEnterLeavesNothing, "run to its end", |runtime| {
            runtime.block_on(async {
                match enter_async(make(), patience).await {
                    Ok(resource) => {
                        exit_async::<M, V>(resource, ExitCase::Succeeded, patience).await?;
                        Err("the enter that has to fail succeeds".to_owned())
                    }
                    Err(how) if how.ends_with("never ends") => Err(how),
                    Err(_) => Ok(()),
                }
            })
        });
        trial.cancel(Law::FailedEnterLeavesNothing, &make);
        trial.report()
    }

    /// [`check_failing`](Laws::check_failing) for managers that do not wait.
    ///
    /// # Panics
    ///
    /// If a runtime cannot be started, or `make` panics.
    pub fn check_failing_sync<M, V>(&self, make: impl Fn() -> M) -> LawReport
    where
        M: ContextManager<V>,
        V: Verdict,
    {
        let mut trial = Trial::new(self);
        trial.run(
            Law::FailedEnterLeavesNothing,
            "run to its end",
            |_| match enter(make()) {
                Ok(resource) => {
                    exit::<M, V>(resource, ExitCase::Succeeded)?;
                    Err("the enter that has to fail succeeds".to_owned())
                }
                Err(_) => Ok(()),
            },
        );
        trial.report()
    }

    /// Tests a manager that is made around another: [`Law::ExitsWhatItEnters`], with every fault
    /// of the inner one.
    ///
    /// # Panics
    ///
    /// If a runtime cannot be started, or `around` panics.
    ///
    /// # Examples
    ///
    /// ```
    /// use withal_testkit::laws::Laws;
    ///
    /// // A tuple of one is made around its member.
    /// Laws::new().check_around(|inner| (inner,)).assert_held();
    /// ```
    pub fn check_around<M, V>(&self, around: impl Fn(Faulty) -> M) -> LawReport
    where
        M: AsyncContextManager<V> + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
        V: Verdict,
    {
        let mut trial = Trial::new(self);
        let report = self.faults::<V>().check(|plan| {
            let manager = around(plan.manager(0));
            async move {
                let block =
                    async_with(manager, async |_: &mut M::Resource| Ok(plan.body().await?));
                block.await.map(drop)
            }
        });
        trial.faults(&report);
        trial.report()
    }

    /// [`check_around`](Laws::check_around) for managers that do not wait.
    ///
    /// # Panics
    ///
    /// If a runtime cannot be started, or `around` panics.
    pub fn check_around_sync<M, V>(&self, around: impl Fn(Faulty) -> M) -> LawReport
    where
        M: ContextManager<V>,
        V: Verdict,
    {
        let mut trial = Trial::new(self);
        let report = self
            .faults::<V>()
            .check_sync(|plan| with(around(plan.manager(0)), |_| Ok(plan.body_sync()?)).map(drop));
        trial.faults(&report);
        trial.report()
    }

    /// A manager whose type says that it may swallow errors may lose them.
    fn faults<V: Verdict>(&self) -> crate::Faults {
        let mut faults = faults();
        if V::MAY_SUPPRESS {
            faults = faults.may_suppress();
        }
        match self.lab.real_time {
            true => faults.real_time().without(crate::Fault::Hang),
            false => faults,
        }
    }

    fn orders(&self) -> &'static [bool] {
        match self.exclusive {
            true => &[],
            false => &[true, false],
        }
    }
}

impl Default for Laws<'_> {
    fn default() -> Self {
        Laws::new()
    }
}

impl fmt::Debug for Laws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Laws")
            .field("exclusive", &self.exclusive)
            .field("lab", &self.lab)
            .finish_non_exhaustive()
    }
}

fn in_order<T>(one: T, two: T, newest_first: bool) -> [T; 2] {
    match newest_first {
        true => [two, one],
        false => [one, two],
    }
}

/// One implementation, under test.
struct Trial<'l, 'a> {
    laws: &'l Laws<'a>,
    breaches: Vec<LawBreach>,
}

impl<'l, 'a> Trial<'l, 'a> {
    fn new(laws: &'l Laws<'a>) -> Self {
        Trial {
            laws,
            breaches: Vec::new(),
        }
    }

    /// A run that has to end well and to leave nothing.
    fn run(&mut self, law: Law, when: &str, drive: impl FnOnce(&Runtime) -> Result<(), String>) {
        let before = (self.laws.observe)();
        let (ended, left) = self.laws.lab.run(|runtime, _| {
            let _runtime = runtime.enter();
            drive(runtime)
        });
        let changed = self.changed(&before).err();
        if let Err(how) = ended {
            let law = match law {
                Law::ExitUndoesEnter => Law::EndsWell,
                law => law,
            };
            self.broken(law, how);
        }
        for what in left.lines().into_iter().chain(changed) {
            self.broken(law, format!("{when}: {what}"));
        }
    }

    fn cancel<M, V>(&mut self, law: Law, make: impl Fn() -> M)
    where
        M: AsyncContextManager<V> + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
        V: Verdict,
    {
        // Each run is held against the one before it, so that a leak is told once.
        let before = RefCell::new((self.laws.observe)());
        let mut cancel = Cancel::every_way();
        if self.laws.lab.real_time {
            cancel = cancel.real_time();
        }
        let block = || {
            // A panic is told by the runs that end.
            catch(async_with(make(), async |_: &mut M::Resource| {
                yield_now().await;
                Ok(())
            }))
        };
        let report = cancel.everywhere(block, || {
            let before = before.replace((self.laws.observe)());
            self.changed(&before)
        });
        for leak in report.leaks() {
            self.broken(law, leak.to_string());
        }
    }

    fn faults(&mut self, report: &FaultReport) {
        for breach in report.breaches() {
            self.broken(Law::ExitsWhatItEnters, breach.to_string());
        }
    }

    fn changed(&self, before: &str) -> Result<(), String> {
        match (self.laws.observe)() {
            now if now == before => Ok(()),
            now => Err(format!("was {before}, is {now}")),
        }
    }

    fn broken(&mut self, law: Law, how: String) {
        self.breaches.push(LawBreach { law, how });
    }

    fn report(self) -> LawReport {
        LawReport {
            breaches: self.breaches,
        }
    }
}
