//! A scenario that stands still at one of its await points.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::runtime::Runtime;
use tokio::sync::Notify;
use withal_scope::{Open, OpenState};

use crate::leaks::LeakCheck;

/// Runs `scenario` until it has waited `stop` times, and then no further: whoever watches its
/// [`Point`] cancels it there.
pub(super) struct Stopping<F> {
    scenario: Pin<Box<F>>,
    stop: usize,
    point: Arc<Point>,
    known: Arc<LeakCheck>,
}

/// How far a scenario has come.
#[derive(Debug, Default)]
pub(super) struct Point {
    waited: AtomicUsize,
    stopped: Notify,
    during: OnceLock<Option<String>>,
}

impl Point {
    /// How often the scenario has waited.
    pub(super) fn waited(&self) -> usize {
        self.waited.load(Ordering::Relaxed)
    }

    /// What withal was doing where the scenario stopped.
    pub(super) fn during(&self) -> Option<String> {
        self.during.get().cloned().flatten()
    }

    /// Waits until the scenario has stopped. One may wait.
    pub(super) async fn wait_stopped(&self) {
        self.stopped.notified().await;
    }
}

impl<F: Future> Stopping<F> {
    pub(super) fn new(
        runtime: &Runtime,
        scenario: impl FnOnce() -> F,
        stop: usize,
        known: &Arc<LeakCheck>,
    ) -> Stopping<F> {
        let _runtime = runtime.enter();
        Stopping {
            scenario: Box::pin(scenario()),
            stop,
            point: Arc::default(),
            known: Arc::clone(known),
        }
    }

    pub(super) fn point(&self) -> Arc<Point> {
        Arc::clone(&self.point)
    }
}

impl<F: Future> Future for Stopping<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.point.waited() == self.stop {
            return Poll::Pending;
        }
        if self.scenario.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let waited = self.point.waited.fetch_add(1, Ordering::Relaxed) + 1;
        if waited == self.stop {
            let _ = self.point.during.set(doing(&self.known.opened()));
            self.point.stopped.notify_one();
        }
        Poll::Pending
    }
}

/// What of all that is open is on its way in or out, or else the newest.
fn doing(opened: &[Open]) -> Option<String> {
    let moves = |open: &&Open| open.state() != OpenState::Open;
    let newest = opened.iter().rev().find(moves).or(opened.last())?;
    let (kind, name, place, state) = (
        newest.kind(),
        newest.name(),
        newest.location(),
        newest.state(),
    );
    Some(format!("{kind} `{name}` at {place} was {state}"))
}
