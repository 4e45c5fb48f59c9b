//! The task that looks after a pool: who waits for too long, what is held or idle for too long.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use withal_core::NoticeKind;
use withal_scope::integration::spawn_on;

use crate::clock::Moment;
use crate::permit::{Out, Permit};
use crate::shared::Shared;
use crate::shield::Settle;
use crate::table::Due;
use crate::{AcquireError, Manager};

/// The task that looks after a pool, once it has begun.
///
/// It awaits no code of the user's, so it is not late for those who wait: what has to be done about
/// a connection it hands to the reaper.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    task: Mutex<Option<JoinHandle<()>>>,
    wake: Arc<Notify>,
}

impl Keeper {
    /// Has it look now.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Waits until it has noticed that its pool is closed.
    pub(crate) async fn wait_ended(&self) {
        let task = self.task().take();
        if let Some(task) = task {
            // An error says that its runtime is gone, and it with that.
            drop(task.await);
        }
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Manager> Shared<M> {
    /// Sees to it that the pool is looked after, on a runtime that is alive.
    ///
    /// # Panics
    ///
    /// If that has no timer: who waits would wait for ever.
    pub(crate) fn keep(self: &Arc<Self>) {
        let mut task = self.keeper.task();
        let is_kept = task.as_ref().is_some_and(|task| !task.is_finished());
        if is_kept || self.table().is_closed {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            drop(sleep(Duration::ZERO));
            let wake = Arc::clone(&self.keeper.wake);
            let tick = self.settings.tick();
            *task = Some(spawn_on(&runtime, keep(Arc::downgrade(self), wake, tick)));
        }
    }

    fn look_after(self: &Arc<Self>) {
        let late = self.table().call_late(Moment::now());
        late.into_iter().for_each(Waker::wake);
        self.report_held_long();
        self.tend();
        while let Some(permit) = self.reserve_idle() {
            let create = permit.create();
            let shared = Arc::clone(self);
            self.do_in_background(async move { create.await.settle(&shared).await });
        }
    }

    fn report_held_long(&self) {
        let Some(limit) = self.settings.report_after else {
            return;
        };
        let found = self.table().report_held_long(limit, Moment::now());
        for held in found {
            self.note_held(NoticeKind::HeldLong, held);
        }
    }

    /// Ends idle connections whose time has come, and validates those that are to be kept alive.
    pub(crate) fn tend(self: &Arc<Self>) {
        loop {
            let due = self.table().take_due(&self.settings.upkeep, Moment::now());
            let Some((taken, due)) = due else {
                return;
            };
            let out = Out::of(Arc::clone(self), taken);
            match due {
                Due::Close(cause) => self.do_in_background(out.close(cause)),
                Due::Validate => self.do_in_background(out.keep_alive()),
            }
        }
    }

    /// Makes all connections at once that `min_idle` asks for. If one fails, the others go on by
    /// themselves.
    pub(crate) async fn fill(self: &Arc<Self>) -> Result<(), AcquireError<M::Error>> {
        let permits = std::iter::from_fn(|| self.reserve_idle());
        let mut coming: Vec<_> = permits.map(Permit::create).collect();
        poll_fn(|context| {
            let mut failed = None;
            coming.retain_mut(|create| {
                if failed.is_some() {
                    return true;
                }
                match Pin::new(create).poll(context) {
                    Poll::Pending => return true,
                    Poll::Ready(Ok(out)) => out.land_in_background(),
                    Poll::Ready(Err(error)) => failed = Some(error),
                }
                false
            });
            match failed {
                Some(error) => Poll::Ready(Err(error)),
                None if coming.is_empty() => Poll::Ready(Ok(())),
                None => Poll::Pending,
            }
        })
        .await
    }

    fn reserve_idle(self: &Arc<Self>) -> Option<Permit<M>> {
        let slot = self
            .table()
            .reserve_idle(&self.settings.upkeep, Moment::now())?;
        Some(Permit::of(Arc::clone(self), slot))
    }

    /// In how long to look again: in a tick, or when the first who waits will have waited for too
    /// long.
    fn next_look(&self, tick: Duration) -> Duration {
        let now = Moment::now();
        let mut table = self.table();
        let deadline = table.next_deadline();
        let pause = deadline.map_or(tick, |deadline| now.until(deadline).min(tick));
        table.next_look = now.checked_add(pause);
        pause + Moment::BEHIND
    }
}

/// Looks after a pool until it is closed or gone.
async fn keep<M: Manager>(shared: Weak<Shared<M>>, wake: Arc<Notify>, tick: Duration) {
    loop {
        let pause = {
            let Some(shared) = shared.upgrade() else {
                return;
            };
            if shared.table().is_closed {
                return;
            }
            shared.look_after();
            shared.next_look(tick)
        };
        // Woken or not, it looks.
        drop(timeout(pause, wake.notified()).await);
    }
}
