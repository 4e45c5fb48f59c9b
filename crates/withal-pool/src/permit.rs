//! The right to use a slot, and a connection that is out of it.

use std::sync::Arc;

use tokio::time::Instant;
use withal_core::unwind::Payload;
use withal_core::{BoxError, ExitCase, NoticeKind};

use crate::deadline::{Trouble, attempt, go_on};
use crate::lease::Fate;
use crate::shared::Shared;
use crate::status::Phase;
use crate::table::{Taken, User};
use crate::{Cause, Info, Manager};

/// The right to use a slot. Its destructor gives it back, with whatever slot it has.
pub(crate) struct Permit<M: Manager> {
    pub(crate) shared: Arc<Shared<M>>,
    /// The slot it has, if any; what was in it is then gone when the permit is.
    slot: Option<usize>,
}

/// A connection that is not in its slot: somebody has it, or something is done about it.
///
/// Its end is [`come_back`](Out::come_back) or [`close`](Out::close). If it is merely dropped, so
/// is the connection, at once, and the slot is free.
pub(crate) struct Out<M: Manager> {
    pub(crate) connection: M::Connection,
    pub(crate) info: Info,
    // After the connection: a slot is free once that is gone.
    pub(crate) permit: Permit<M>,
}

/// Why a connection cannot be used again, and what went wrong.
pub(crate) type Unfit = (Cause, Trouble<BoxError>);

impl<M: Manager> Permit<M> {
    pub(crate) fn new(shared: Arc<Shared<M>>) -> Permit<M> {
        Permit { shared, slot: None }
    }

    /// Has the slot of `taken`, which has been emptied.
    pub(crate) fn with(mut self, taken: Taken<M::Connection>) -> Out<M> {
        self.slot = Some(taken.index);
        Out {
            connection: taken.connection,
            info: taken.info,
            permit: self,
        }
    }

    /// Has a vacant slot; none if the pool is closed.
    pub(crate) fn reserve(&mut self, user: Option<User>) -> bool {
        self.slot = self.shared.table().reserve(user, Instant::now());
        self.slot.is_some()
    }

    /// Has a connection that was made for its slot.
    pub(crate) fn created(self, connection: M::Connection) -> Out<M> {
        let lifetime = self.shared.lifetime();
        let slot = self.slot.expect(RESERVED);
        let info = self.shared.table().created(slot, lifetime, Instant::now());
        Out {
            connection,
            info,
            permit: self,
        }
    }

    /// Says what the slot is busy with.
    pub(crate) fn enter(&self, phase: Phase) {
        if let Some(slot) = self.slot {
            self.shared.table().enter(slot, phase, Instant::now());
        }
    }

    /// Gives up the slot, whose connection is gone because of `cause`.
    pub(crate) fn vacate(&mut self, cause: Cause) {
        if let Some(slot) = self.slot.take() {
            let came_back = self.shared.table().vacate(slot, cause, Instant::now());
            self.shared.note_came_back(came_back);
            self.shared.vacated();
        }
    }
}

const RESERVED: &str = "a connection is made for a slot";

impl<M: Manager> Drop for Permit<M> {
    fn drop(&mut self) {
        self.vacate(Cause::Abandoned);
        self.shared.permits.add_permits(1);
    }
}

impl<M: Manager> Out<M> {
    /// Its user has it now.
    pub(crate) fn hand_out(mut self) -> Out<M> {
        if let Some(slot) = self.permit.slot {
            self.info = self.permit.shared.table().hand_out(slot, Instant::now());
        }
        self
    }

    /// It was handed out too early; its user has not seen it.
    pub(crate) fn take_back(&self) {
        if let Some(slot) = self.permit.slot {
            self.permit.shared.table().take_back(slot);
        }
    }

    /// Makes it clean and puts it back, or ends it. Its slot is free afterwards.
    pub(crate) async fn come_back(mut self, fate: Fate, case: ExitCase) {
        if fate == Fate::End {
            return self.close(Cause::Condemned).await;
        }
        match self.reset(case).await {
            Ok(()) => self.land().await,
            Err((cause, trouble)) => self.close_after(cause, trouble).await,
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
            out.close(cause).await;
        }
    }

    fn try_land(self) -> Result<(), (Out<M>, Cause)> {
        let Out {
            connection,
            info,
            mut permit,
        } = self;
        let slot = permit.slot.expect(RESERVED);
        let landed = permit.shared.table().land(slot, connection, Instant::now());
        match landed {
            Ok(came_back) => {
                permit.slot = None;
                permit.shared.note_came_back(came_back);
                Ok(())
            }
            Err((connection, cause)) => {
                let out = Out {
                    connection,
                    info,
                    permit,
                };
                Err((out, cause))
            }
        }
    }

    /// Asks whether it is alive.
    pub(crate) async fn validate(&mut self) -> Result<(), Unfit> {
        let Out {
            connection,
            info,
            permit,
        } = self;
        let shared = &permit.shared;
        let mut failed = Cause::ValidationFailed;
        let steps = async {
            shared.manager.validate(connection).await?;
            if let Some(hook) = &shared.hooks.pre_acquire {
                failed = Cause::Rejected;
                hook(connection, info).await?;
            }
            Ok::<(), BoxError>(())
        };
        let ended = attempt(shared.settings.validate_timeout, steps, || ()).await;
        ended.map_err(|trouble| match trouble {
            Trouble::TimedOut(_) => (Cause::ValidationTimedOut, trouble),
            trouble => (failed, trouble),
        })
    }

    async fn reset(&mut self, case: ExitCase) -> Result<(), Unfit> {
        let Out {
            connection,
            info,
            permit,
        } = self;
        let shared = &permit.shared;
        let mut failed = Cause::Rejected;
        let steps = async {
            if let Some(hook) = &shared.hooks.pre_recycle {
                hook(connection, info, &case).await?;
            }
            failed = Cause::ResetFailed;
            shared.manager.recycle(connection, case).await?;
            if let Some(hook) = &shared.hooks.post_recycle {
                failed = Cause::Rejected;
                hook(connection, info).await?;
            }
            Ok::<(), BoxError>(())
        };
        let on_wait = || permit.enter(Phase::Resetting);
        let ended = attempt(shared.settings.reset_timeout, steps, on_wait).await;
        ended.map_err(|trouble| match trouble {
            Trouble::TimedOut(_) => (Cause::ResetTimedOut, trouble),
            trouble => (failed, trouble),
        })
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
