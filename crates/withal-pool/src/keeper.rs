//! The task that looks after a pool: what is idle for too long, what is held for too long.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use withal_core::unwind::catch;
use withal_core::{NoticeKind, Panicked};
use withal_scope::integration::spawn_on;

use crate::permit::Permit;
use crate::shared::Shared;
use crate::table::Due;
use crate::{AcquireError, Manager};

/// The task that looks after a pool, once it has begun.
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

    pub(crate) async fn wait_ended(&self) {
        let task = self.lock().take();
        if let Some(task) = task {
            // Its pool is closed, so it ends; and what panics in it has been said.
            drop(task.await);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Manager> Shared<M> {
    /// Sees to it that the pool is looked after, on a runtime that is alive.
    pub(crate) fn keep(self: &Arc<Self>) {
        let Some(tick) = self.settings.tick() else {
            return;
        };
        let mut task = self.keeper.lock();
        let is_kept = task.as_ref().is_some_and(|task| !task.is_finished());
        if is_kept || self.permits.is_closed() {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let wake = Arc::clone(&self.keeper.wake);
            *task = Some(spawn_on(&runtime, keep(Arc::downgrade(self), wake, tick)));
        }
    }

    async fn look_after(self: &Arc<Self>) {
        self.report_held_long();
        while let Some(work) = self.next_due() {
            if let Err(payload) = catch(work).await {
                self.note(NoticeKind::WorkedAround, Panicked::new(&*payload));
            }
        }
        match catch(self.fill()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.note(NoticeKind::WorkedAround, error),
            Err(payload) => self.note(NoticeKind::WorkedAround, Panicked::new(&*payload)),
        }
    }

    fn report_held_long(&self) {
        let Some(limit) = self.settings.report_after else {
            return;
        };
        let found = self.table().report_held_long(limit, Instant::now());
        for held in found {
            self.note_held(NoticeKind::HeldLong, held);
        }
    }

    /// What has to be done about an idle connection, if there is a permit for it.
    pub(crate) fn next_due(self: &Arc<Self>) -> Option<impl Future<Output = ()> + Send + use<M>> {
        let permit = self.spare_permit()?;
        let due = self.table().take_due(&self.settings.upkeep, Instant::now());
        let (taken, due) = due?;
        let out = permit.with(taken);
        Some(async move {
            match due {
                Due::Close(cause) => out.close(cause).await,
                Due::Validate => out.keep_alive().await,
            }
        })
    }

    /// Makes connections until there are `min_idle` of them, or somebody else needs the slots.
    pub(crate) async fn fill(self: &Arc<Self>) -> Result<(), AcquireError<M::Error>> {
        while self.table().wants_idle(&self.settings.upkeep)
            && let Some(permit) = self.spare_permit()
        {
            match permit.create(None).await {
                Ok(out) => out.land().await,
                Err(AcquireError::Closed) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn spare_permit(self: &Arc<Self>) -> Option<Permit<M>> {
        self.permits.try_acquire().ok()?.forget();
        Some(Permit::new(Arc::clone(self)))
    }
}

/// Looks after a pool until it is closed or gone.
async fn keep<M: Manager>(shared: Weak<Shared<M>>, wake: Arc<Notify>, tick: Duration) {
    loop {
        match shared.upgrade() {
            Some(shared) if !shared.permits.is_closed() => shared.look_after().await,
            _ => return,
        }
        // Woken or not, it looks.
        drop(timeout(tick, wake.notified()).await);
    }
}
