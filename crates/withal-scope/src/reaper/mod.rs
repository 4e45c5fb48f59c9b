//! Where teardowns go whose block was dropped.

mod report;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use withal_core::unwind::catch;
use withal_core::{Error, Notice, NoticeKind, Panicked, TimedOut, emit_notice};

pub use report::Report;

use crate::countdown::Countdown;
use crate::spawn::spawn_on;
use crate::sync::{Mutex, lock};

/// A teardown to finish; it gives what failed.
pub(crate) type Work = Pin<Box<dyn Future<Output = Option<Error>> + Send>>;

/// How many failures a reaper remembers for its report.
const REMEMBERED: usize = 128;

/// Finishes teardowns whose block was dropped by `select!`, a timeout or an aborted task.
///
/// There is one for the process, [`Reaper::global`]; a part of a program that wants its own limits
/// makes one and names it in [`Options::reaper`](crate::Options::reaper). Each teardown runs on
/// the runtime its block ran on, all its exits in order, under the reaper's deadline. What fails,
/// is given up or lost is said in a [`Notice`] and counted in the [`Report`].
///
/// A runtime that shuts down destroys the teardowns still running on it: [`drain`](Reaper::drain)
/// first, which `root` and `#[withal::main]` do for you.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use withal_scope::Reaper;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // … the program …
/// let report = Reaper::global().drain(Duration::from_secs(10)).await;
/// assert!(report.is_clean(), "{report}");
/// # }
/// ```
#[derive(Clone)]
pub struct Reaper(Arc<Inner>);

struct Inner {
    deadline: Duration,
    limit: Option<Arc<Semaphore>>,
    running: Countdown,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    report: Report,
    failures: VecDeque<Error>,
}

impl Default for Reaper {
    fn default() -> Self {
        Reaper::new()
    }
}

impl Reaper {
    /// A reaper that gives each teardown 30 s, and runs any number at once.
    #[must_use]
    pub fn new() -> Reaper {
        Reaper::with(Duration::from_secs(30), None)
    }

    fn with(deadline: Duration, limit: Option<Arc<Semaphore>>) -> Reaper {
        Reaper(Arc::new(Inner {
            deadline,
            limit,
            running: Countdown::default(),
            log: Mutex::new(Log::default()),
        }))
    }

    /// A fresh reaper that gives each teardown `deadline` from its start.
    #[must_use]
    pub fn with_deadline(self, deadline: Duration) -> Reaper {
        Reaper::with(deadline, self.0.limit.clone())
    }

    /// A fresh reaper that runs at most `limit` teardowns at once; the others wait, in order.
    ///
    /// It spares a server that cancels ten thousand requests from ten thousand rollbacks at once.
    ///
    /// # Panics
    ///
    /// If `limit` is zero: nothing would ever be torn down.
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Reaper {
        assert!(limit > 0, "a reaper needs a limit of at least one");
        Reaper::with(self.0.deadline, Some(Arc::new(Semaphore::new(limit))))
    }

    /// The reaper of every block that names no other.
    pub fn global() -> &'static Reaper {
        static GLOBAL: LazyLock<Reaper> = LazyLock::new(Reaper::new);
        &GLOBAL
    }

    /// How long each teardown may take.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// How many teardowns are running or waiting now.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.running.running()
    }

    /// What has happened so far.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = lock(&self.0.log).report.clone();
        report.pending = self.pending();
        report
    }

    /// The latest failures, oldest first: at most 128 are remembered.
    #[must_use]
    pub fn failures(&self) -> Vec<Error> {
        lock(&self.0.log).failures.iter().cloned().collect()
    }

    /// Waits until nothing is pending, or until `deadline` has passed; reports all so far.
    ///
    /// # Panics
    ///
    /// If something is pending and the runtime's timer is not enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing: teardowns go on, and can be drained again.
    pub async fn drain(&self, deadline: Duration) -> Report {
        let mut timer = None;
        poll_fn(|context| {
            if self.0.running.poll_zero(context).is_ready() {
                return std::task::Poll::Ready(());
            }
            crate::deadline::poll(&mut timer, Some(deadline), context).map(drop)
        })
        .await;
        self.report()
    }

    /// Takes `work` over, to run on `runtime`.
    pub(crate) fn adopt(&self, runtime: Option<Handle>, work: Work) {
        let ticket = Ticket::new(self.clone());
        let Some(runtime) = runtime else {
            return;
        };
        let limit = self.0.limit.clone();
        drop(spawn_on(&runtime, ticket.run(limit, work)));
    }

    fn record(&self, failures: Option<Error>) {
        let mut log = lock(&self.0.log);
        log.report.finished += 1;
        let Some(failures) = failures else { return };
        let is_timeout = |error: &withal_core::Failure| error.error().is::<TimedOut>();
        let timed_out = failures
            .iter()
            .filter(|failure| is_timeout(failure))
            .count();
        log.report.timed_out += timed_out;
        log.report.failed += failures.len() - timed_out;
        if log.failures.len() == REMEMBERED {
            drop(log.failures.pop_front());
        }
        log.failures.push_back(failures.clone());
        drop(log);
        let kind = match timed_out {
            0 => NoticeKind::TeardownFailed,
            _ => NoticeKind::TeardownTimedOut,
        };
        emit_notice(&Notice::new(kind, None, Some(&failures)));
    }
}

impl fmt::Debug for Reaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reaper")
            .field("deadline", &self.0.deadline)
            .field("report", &self.report())
            .finish()
    }
}

/// Counts one adopted teardown. Only its destructor lowers the count, so that a teardown which a
/// dying runtime destroys is counted as lost, never forgotten.
struct Ticket {
    reaper: Reaper,
    ended: bool,
}

impl Ticket {
    fn new(reaper: Reaper) -> Ticket {
        reaper.0.running.start();
        Ticket {
            reaper,
            ended: false,
        }
    }

    async fn run(mut self, limit: Option<Arc<Semaphore>>, work: Work) {
        // Declared after `self`, so that a destroyed teardown is gone before it is counted.
        let work = pin!(work);
        let _permit = match &limit {
            // The semaphore is never closed.
            Some(limit) => limit.acquire().await.ok(),
            None => None,
        };
        let failures = match catch(work).await {
            Ok(failures) => failures,
            Err(payload) => Some(Error::new(Panicked::new(&*payload))),
        };
        self.ended = true;
        self.reaper.record(failures);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.ended {
            lock(&self.reaper.0.log).report.lost += 1;
            emit_notice(&Notice::new(NoticeKind::TeardownLost, None, None));
        }
        self.reaper.0.running.finish();
    }
}
