//! What the handles, leases and tasks of a pool share.

use std::hash::{BuildHasher, RandomState};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use withal_core::unwind::{catch, poll_caught};
use withal_core::{BoxError, Entry, Error, Notice, NoticeKind, Panicked, emit_error, emit_notice};
use withal_scope::integration::{Inventory, hand_over};
use withal_scope::{Kind, Open, OpenState, Reaper};

use crate::builder::Settings;
use crate::clock::Moment;
use crate::hooks::Hooks;
use crate::keeper::Keeper;
use crate::permit::Out;
use crate::shield::Work;
use crate::status::{Phase, Status};
use crate::table::{Held, Table};
use crate::{Builder, Cause, CloseError, Holder, Manager};

/// What the handles, leases and tasks of a pool share.
pub(crate) struct Shared<M: Manager> {
    pub(crate) manager: M,
    pub(crate) hooks: Hooks<M::Connection>,
    pub(crate) settings: Settings,
    table: Mutex<Table<M::Connection>>,
    /// Where to finish what is dropped on a thread without a runtime.
    runtime: OnceLock<Handle>,
    pub(crate) keeper: Keeper,
    /// Told when the last slot of a closed pool is vacant.
    pub(crate) emptied: Notify,
    random: RandomState,
    /// Where it was built.
    built: &'static Location<'static>,
}

impl<M: Manager> Shared<M> {
    pub(crate) fn new(builder: Builder<M>, built: &'static Location<'static>) -> Shared<M> {
        let Builder {
            manager,
            hooks,
            settings,
        } = builder;
        let table = Table::new(
            settings.max_size,
            settings.wait_timeout,
            settings.validate_after,
            hooks.pre_acquire.is_some(),
        );
        Shared {
            manager,
            hooks,
            table: Mutex::new(table),
            settings,
            runtime: OnceLock::new(),
            keeper: Keeper::default(),
            emptied: Notify::new(),
            random: RandomState::new(),
            built,
        }
    }

    /// Under this lock nothing waits, and no code of the user's runs, so it is never poisoned.
    pub(crate) fn table(&self) -> MutexGuard<'_, Table<M::Connection>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> Status {
        self.table().status()
    }

    /// How long a connection made now may live.
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        let lifetime = self.settings.max_lifetime?;
        // A random part of a tenth less.
        let number = self.table().counters.created;
        let random = (self.random.hash_one(number) >> 32) as f64 / f64::from(u32::MAX);
        Some(lifetime.mul_f64(1.0 - 0.1 * random))
    }

    /// What errors and reports call the pool.
    pub(crate) fn name(&self) -> String {
        self.entry(self.built).name().to_owned()
    }

    pub(crate) fn entry(&self, location: &'static Location<'static>) -> Entry {
        Entry::at(self.settings.name.clone(), location)
    }

    /// Tells what no caller hears of.
    pub(crate) fn note(&self, kind: NoticeKind, error: impl Into<BoxError>) {
        emit_error(kind, Some(&self.entry(self.built)), error);
    }

    pub(crate) fn note_came_back(&self, held: Option<Held>) {
        if let Some(held) = held {
            self.note_held(NoticeKind::CameBack, held);
        }
    }

    #[cold]
    pub(crate) fn note_held(&self, kind: NoticeKind, held: Held) {
        let entry = self.entry(held.location);
        emit_error(kind, Some(&entry), format!("held for {:.1?}", held.held));
    }

    /// A slot has become vacant.
    pub(crate) fn vacated(&self) {
        let table = self.table();
        if table.is_closed && table.size() == 0 {
            self.emptied.notify_waiters();
        }
    }

    /// Notes the runtime that drives the pool.
    pub(crate) fn note_runtime(&self) {
        if let Ok(runtime) = Handle::try_current() {
            let _ = self.runtime.get_or_init(|| runtime);
        }
    }

    pub(crate) fn reaper(&self) -> &Reaper {
        self.settings.reaper.as_ref().unwrap_or(Reaper::global())
    }

    /// The runtime to finish things on: the current one, or the one that drove the pool first.
    fn runtime(&self) -> Option<Handle> {
        let current = Handle::try_current().ok();
        current.or_else(|| self.runtime.get().cloned())
    }

    /// Hands `work`, which nobody awaits any more, to the reaper.
    pub(crate) fn hand_over(&self, work: Work) {
        let entry = self.entry(self.built);
        let named = Box::pin(async move {
            catch(work).await.unwrap_or_else(|payload| {
                let panicked = Panicked::new(&*payload);
                Some(Error::new(format!("{entry}: {panicked}")))
            })
        });
        hand_over(self.reaper(), self.runtime(), named);
    }

    /// Does `work` that nobody awaits: what is ready at once here, the rest in the reaper.
    pub(crate) fn do_in_background(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut work: Work = Box::pin(async move {
            work.await;
            None
        });
        // Timers and sockets want a runtime around them. A task has one; to know that is cheaper.
        let is_around = tokio::task::try_id().is_some() || Handle::try_current().is_ok();
        let runtime = self.runtime.get().filter(|_| !is_around);
        let entered = runtime.map(Handle::enter);
        if is_around || entered.is_some() {
            let mut context = Context::from_waker(Waker::noop());
            match poll_caught(work.as_mut(), &mut context) {
                Poll::Pending => {}
                Poll::Ready(Ok(_)) => return,
                Poll::Ready(Err(payload)) => {
                    return self.note(NoticeKind::TeardownFailed, Panicked::new(&*payload));
                }
            }
        }
        self.hand_over(work);
    }

    /// Closes it: nothing is handed out any more, what is idle is ended.
    pub(crate) fn close(self: &Arc<Self>) {
        let (idle, waiting) = self.table().close(Moment::now());
        waiting.into_iter().for_each(Waker::wake);
        for taken in idle {
            let out = Out::of(Arc::clone(self), taken);
            self.do_in_background(out.close(Cause::PoolClosed));
        }
        self.keeper.wake();
    }

    /// Ends what is idle; what is out is ended when it comes back.
    pub(crate) fn expire(self: &Arc<Self>) {
        self.table().expire();
        self.tend();
    }

    pub(crate) fn holders(&self) -> Vec<Holder> {
        self.table().holders(Moment::now())
    }

    pub(crate) fn close_error(&self, limit: Duration) -> CloseError {
        CloseError {
            pool: self.name(),
            limit,
            holders: self.holders(),
        }
    }

    pub(crate) fn note_not_closed(&self) {
        let entry = self.entry(self.built);
        emit_notice(&Notice::new(NoticeKind::NotClosed, Some(&entry), None));
    }

    pub(crate) async fn wait_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.table().size() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl<M: Manager> Inventory for Shared<M> {
    fn each_open(&self, show: &mut dyn FnMut(Open)) {
        let users: Vec<_> = self.table().users().collect();
        let now = Moment::now();
        for (user, phase, since) in users {
            let state = match phase {
                Phase::Connecting | Phase::Validating => OpenState::Acquiring,
                Phase::InUse | Phase::Idle => OpenState::Open,
                Phase::Resetting | Phase::Closing => OpenState::Closing,
            };
            let age = since.until(now);
            show(
                user.mark
                    .show(Kind::Resource, self.entry(user.location), age, state),
            );
        }
    }
}

impl<M: Manager> std::fmt::Debug for Shared<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
