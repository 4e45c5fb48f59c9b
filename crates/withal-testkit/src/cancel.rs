//! Dropping a scenario at every point where it waits.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use withal_scope::{Open, Reaper, open};

/// How long a teardown may take, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// One thing that a cancelled run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leak {
    at: usize,
    what: String,
}

impl Leak {
    /// At which of its await points the run was dropped, counted from one.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// What it left behind.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at await point {}: {}", self.at, self.what)
    }
}

/// What [`cancel_everywhere`] found.
#[derive(Clone, Debug)]
#[must_use = "call `assert_clean` on it"]
pub struct CancelReport {
    points: usize,
    leaks: Vec<Leak>,
}

impl CancelReport {
    /// How many await points the scenario has.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points
    }

    /// What was left behind, in the order of the await points.
    #[must_use]
    pub fn leaks(&self) -> &[Leak] {
        &self.leaks
    }

    /// Panics, with the report, if anything was left behind or nothing was tried.
    ///
    /// # Panics
    ///
    /// If anything leaked, or the scenario never waits.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(
            self.points > 0,
            "the scenario never waits: there is nothing to cancel"
        );
        assert!(self.leaks.is_empty(), "{self}");
    }
}

impl fmt::Display for CancelReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points = self.leaks.iter().map(Leak::at).filter(|at| *at > 0);
        let leaking: HashSet<usize> = points.collect();
        write!(f, "{} of {} await points leak", leaking.len(), self.points)?;
        self.leaks.iter().try_for_each(|leak| write!(f, "\n{leak}"))
    }
}

/// Runs `scenario` once to its end, then once for each of its await points, dropping it there.
///
/// Each run has a runtime and a virtual clock of its own, on the calling thread. After it, every
/// teardown is awaited; then nothing that the run opened may be open, no task may be alive, no
/// descriptor more than before, and `check` must agree. Enters and exits are a part of the
/// scenario, so their await points are tried too.
///
/// A run that ends is checked as well, as await point 0.
///
/// # Panics
///
/// If the scenario panics, or a runtime cannot be started.
pub fn cancel_everywhere<S, F, C>(scenario: S, check: C) -> CancelReport
where
    S: Fn() -> F,
    F: Future,
    C: Fn() -> Result<(), String>,
{
    let mut leaks = Vec::new();
    let points = run(&scenario, &check, usize::MAX, 0, &mut leaks);
    for at in 1..=points {
        let _ = run(&scenario, &check, at, at, &mut leaks);
    }
    CancelReport { points, leaks }
}

/// One run, dropped when it waits for the `stop`th time; gives how often it waited.
fn run<S, F, C>(scenario: &S, check: &C, stop: usize, at: usize, leaks: &mut Vec<Leak>) -> usize
where
    S: Fn() -> F,
    F: Future,
    C: Fn() -> Result<(), String>,
{
    let before: HashSet<u64> = open().iter().map(Open::id).collect();
    // The first runtime of a process opens what all later ones share.
    drop(runtime());
    let descriptors = crate::open_descriptors();
    let runtime = runtime();
    let mut waited = 0;
    let (pending, tasks) = runtime.block_on(async {
        {
            let mut running = pin!(scenario());
            poll_fn(|context| {
                if running.as_mut().poll(context).is_ready() {
                    return Poll::Ready(());
                }
                waited += 1;
                match waited == stop {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                }
            })
            .await;
        }
        let pending = Reaper::global().drain(PATIENCE).await.pending;
        // Tasks that were asked to stop end at their next turn.
        tokio::task::yield_now().await;
        (
            pending,
            tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks(),
        )
    });
    drop(runtime);
    let mut leak = |what: String| leaks.push(Leak { at, what });
    if pending > 0 {
        leak(format!("{pending} teardowns never end"));
    }
    if tasks > 0 {
        leak(format!("{tasks} tasks are still alive"));
    }
    for open in open() {
        if open.is_of_this_thread() && !before.contains(&open.id()) {
            leak(open.to_string());
        }
    }
    if let (Some(before), Some(after)) = (descriptors, crate::open_descriptors())
        && after > before
    {
        leak(format!("{} descriptors are still open", after - before));
    }
    if let Err(what) = check() {
        leak(what);
    }
    waited
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a current-thread runtime can be started")
}
