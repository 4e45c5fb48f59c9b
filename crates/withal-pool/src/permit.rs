//! The right to use a slot, and a connection that is out of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Waker;

use withal_core::unwind::Payload;
use withal_core::{BoxError, ExitCase, NoticeKind, Panicked};

use crate::clock::Moment;
use crate::deadline::{Trouble, attempt, go_on};
use crate::shared::Shared;
use crate::status::Phase;
use crate::table::{Landed, Reply, Taken, User};
use crate::{Cause, Info, Manager};

/// The right to use a slot. Its destructor gives it back, and the slot with it.
pub(crate) struct Permit<M: Manager> {
    pub(crate) shared: Arc<Shared<M>>,
    slot: usize,
    holds: Holds,
}

/// What a permit still has to give back.
///
/// A word wide, as the fields beside it: a lease is moved right after it was written, and the
/// processor waits where what it reads at once was written in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Holds {
    SlotAndPermit,
    Permit,
    Nothing,
}

/// A connection that is not in its slot: somebody has it, or something is done about it.
///
/// Its end is [`come_back`](Out::come_back) or [`close`](Out::close). If it is merely dropped, so
/// is the connection, at once, and the slot is free.
pub(crate) struct Out<M: Manager> {
    pub(crate) connection: M::Connection,
    /// Its user has said that it is to be ended, whatever state it is in.
    pub(crate) is_condemned: bool,
    /// It has been made clean after its use.
    is_reset: bool,
    // After the connection: a slot is free once that is gone.
    pub(crate) permit: Permit<M>,
}

/// Why a connection cannot be used again, and what went wrong.
pub(crate) type Unfit = (Cause, Trouble<BoxError>);

impl<M: Manager> Permit<M> {
    /// The right to use this slot.
    pub(crate) fn of(shared: Arc<Shared<M>>, slot: usize) -> Permit<M> {
        Permit {
            shared,
            slot,
            holds: Holds::SlotAndPermit,
        }
    }

    /// Takes what there is for `user`: a connection, or a slot to make one in.
    pub(crate) fn serve(mut self, user: &User) -> (Arc<Shared<M>>, Reply<M::Connection>) {
        let reply = self.shared.table().serve(user, Moment::now());
        if !matches!(reply, Reply::Closed) {
            // It goes with the reply.
            self.holds = Holds::Nothing;
        }
        (Arc::clone(&self.shared), reply)
    }

    /// What is known of the connection in its slot.
    pub(crate) fn info(&self) -> Info {
        self.shared.table().info(self.slot)
    }

    /// Says what the slot is busy with.
    pub(crate) fn enter(&self, phase: Phase) {
        self.shared.table().enter(self.slot, phase, Moment::now());
    }

    /// Gives up the slot, whose connection is gone because of `cause`.
    fn vacate(&mut self, cause: Cause) {
        if self.holds == Holds::SlotAndPermit {
            self.holds = Holds::Permit;
            let mut table = self.shared.table();
            let came_back = table.vacate(self.slot, cause, Moment::now());
            drop(table);
            self.shared.note_came_back(came_back);
            self.shared.vacated();
        }
    }
}

impl<M: Manager> Drop for Permit<M> {
    fn drop(&mut self) {
        self.vacate(Cause::Abandoned);
        if self.holds == Holds::Permit {
            let next = self.shared.table().give_back();
            wake(next);
        }
    }
}

impl<M: Manager> Out<M> {
    /// A connection that was taken from this slot.
    pub(crate) fn of(shared: Arc<Shared<M>>, taken: Taken<M::Connection>) -> Out<M> {
        Out {
            connection: taken.connection,
            is_condemned: false,
            is_reset: false,
            permit: Permit::of(shared, taken.index),
        }
    }

    /// A connection that was just made for the slot of `permit`.
    pub(crate) fn new(permit: Permit<M>, connection: M::Connection) -> Out<M> {
        let lifetime = permit.shared.lifetime();
        let mut table = permit.shared.table();
        table.created(permit.slot, lifetime, Moment::now());
        drop(table);
        Out {
            connection,
            is_condemned: false,
            is_reset: false,
            permit,
        }
    }

    /// Its user has it now.
    pub(crate) fn hand_out(self) -> Out<M> {
        let mut table = self.permit.shared.table();
        table.hand_out(self.permit.slot, Moment::now());
        drop(table);
        self
    }

    /// It was handed out too early; its user has not seen it.
    pub(crate) fn take_back(&self) {
        self.permit.shared.table().take_back(self.permit.slot);
    }

    /// Whether it can be put back as it is. Destructors ask too, so a panic ends here.
    pub(crate) fn is_clean(&mut self, case: &ExitCase) -> bool {
        let shared = &self.permit.shared;
        if self.is_condemned || shared.hooks.has_recycle() {
            return false;
        }
        let asked = AssertUnwindSafe(|| shared.manager.is_clean(&mut self.connection, case));
        catch_unwind(asked).unwrap_or_else(|payload| {
            shared.note(NoticeKind::WorkedAround, Panicked::new(&*payload));
            false
        })
    }

    /// Makes it clean and puts it back, or ends it. Its slot is free afterwards.
    pub(crate) async fn come_back(mut self, case: ExitCase) {
        if self.is_condemned {
            return Box::pin(self.close(Cause::Condemned)).await;
        }
        match self.reset(case).await {
            Ok(()) => {
                self.is_reset = true;
                self.land().await;
            }
            Err((cause, trouble)) => Box::pin(self.close_after(cause, trouble)).await,
        }
    }

    /// Asks an idle connection whether it is alive, and puts it back, or ends it.
    pub(crate) async fn keep_alive(mut self) {
        match self.validate().await {
            Ok(()) => self.land().await,
            Err((cause, trouble)) => self.close_after(cause, trouble).await,
        }
    }

    async fn close_after(self, cause: Cause, trouble: Trouble<BoxError>) {
        let panic = self.tell(trouble);
        self.close(cause).await;
        go_on(panic);
    }

    /// Puts it back, clean as it is, or ends it if its time has come.
    pub(crate) async fn land(self) {
        if let Err((out, cause)) = self.try_land() {
            Box::pin(out.close(cause)).await;
        }
    }

    /// The same, for those who cannot wait.
    pub(crate) fn land_in_background(self) {
        if let Err((out, cause)) = self.try_land() {
            let shared = Arc::clone(&out.permit.shared);
            shared.do_in_background(out.close(cause));
        }
    }

    #[inline]
    fn try_land(self) -> Result<(), (Out<M>, Cause)> {
        let Out {
            connection,
            is_condemned,
            is_reset,
            mut permit,
        } = self;
        let mut table = permit.shared.table();
        let landed = table.land(permit.slot, connection, is_reset, Moment::now());
        drop(table);
        match landed {
            Ok(Landed { came_back, next }) => {
                permit.holds = Holds::Nothing;
                wake(next);
                permit.shared.note_came_back(came_back);
                Ok(())
            }
            Err((connection, cause)) => {
                let out = Out {
                    connection,
                    is_condemned,
                    is_reset,
                    permit,
                };
                Err((out, cause))
            }
        }
    }

    /// Asks whether it is alive.
    pub(crate) async fn validate(&mut self) -> Result<(), Unfit> {
        let shared = &self.permit.shared;
        let validate = async { shared.manager.validate(&mut self.connection).await };
        let ended = attempt(shared.settings.validate_timeout, validate, || ()).await;
        ended.map_err(|trouble| unfit(Cause::ValidationFailed, Cause::ValidationTimedOut, trouble))
    }

    /// Asks the hook whether it may be handed out.
    pub(crate) async fn ask_hook(&mut self) -> Result<(), Unfit> {
        let shared = &self.permit.shared;
        let Some(hook) = &shared.hooks.pre_acquire else {
            return Ok(());
        };
        let info = self.permit.info();
        let ask = async { hook(&mut self.connection, &info).await };
        let ended = attempt(shared.settings.validate_timeout, ask, || ()).await;
        ended.map_err(|trouble| unfit(Cause::Rejected, Cause::ValidationTimedOut, trouble))
    }

    async fn reset(&mut self, case: ExitCase) -> Result<(), Unfit> {
        let Out {
            connection, permit, ..
        } = self;
        let shared = &permit.shared;
        let limit = shared.settings.reset_timeout;
        let on_wait = || permit.enter(Phase::Resetting);
        if !shared.hooks.has_recycle() {
            let recycle = async { shared.manager.recycle(connection, case).await };
            let ended = attempt(limit, recycle, on_wait).await;
            return ended
                .map_err(|trouble| unfit(Cause::ResetFailed, Cause::ResetTimedOut, trouble));
        }
        let mut failed = Cause::Rejected;
        let steps = Box::pin(async {
            let info = permit.info();
            if let Some(hook) = &shared.hooks.pre_recycle {
                hook(connection, &info, &case).await?;
            }
            failed = Cause::ResetFailed;
            shared.manager.recycle(connection, case).await?;
            failed = Cause::Rejected;
            if let Some(hook) = &shared.hooks.post_recycle {
                hook(connection, &info).await?;
            }
            Ok::<(), BoxError>(())
        });
        let ended = attempt(limit, steps, on_wait).await;
        ended.map_err(|trouble| unfit(failed, Cause::ResetTimedOut, trouble))
    }

    /// Tells what went wrong with it; gives the panic to go on with, if it was one.
    pub(crate) fn tell(&self, trouble: Trouble<BoxError>) -> Option<Payload> {
        let (error, panic) = trouble.split();
        self.permit.shared.note(NoticeKind::WorkedAround, error);
        panic
    }

    /// Ends it. Its slot is free afterwards.
    pub(crate) async fn close(self, cause: Cause) {
        drop(self.end(cause).await);
    }

    /// Ends it, and keeps the right to use a slot.
    pub(crate) async fn end(self, cause: Cause) -> Permit<M> {
        let Out {
            connection,
            mut permit,
            ..
        } = self;
        let shared = Arc::clone(&permit.shared);
        permit.enter(Phase::Closing);
        let detach = async { shared.manager.detach(connection, cause).await };
        let ended = attempt(shared.settings.detach_timeout, detach, || ()).await;
        let trouble = ended.err();
        if trouble.is_some() {
            shared.table().counters.detach_failed += 1;
        }
        permit.vacate(cause);
        if let Some(trouble) = trouble {
            let kind = match trouble {
                Trouble::TimedOut(_) => NoticeKind::TeardownTimedOut,
                _ => NoticeKind::TeardownFailed,
            };
            let (error, panic) = trouble.split();
            shared.note(kind, error);
            go_on(panic);
        }
        permit
    }
}

fn unfit<E: Into<BoxError>>(failed: Cause, timed_out: Cause, trouble: Trouble<E>) -> Unfit {
    match trouble {
        Trouble::TimedOut(limit) => (timed_out, Trouble::TimedOut(limit)),
        Trouble::Failed(error) => (failed, Trouble::Failed(error.into())),
        Trouble::Panicked(payload) => (failed, Trouble::Panicked(payload)),
    }
}

/// Not under the lock: a waker may run anything.
pub(crate) fn wake(next: Option<Waker>) {
    if let Some(waker) = next {
        waker.wake();
    }
}
