//! How a caller comes to a connection.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use withal_core::{AsyncContextManager, ExitCase, TimedOut};
use withal_scope::cancellable;
use withal_scope::integration::Mark;

use crate::clock::Moment;
use crate::deadline::{Trouble, attempt, go_on};
use crate::permit::{Out, Permit, Unfit, wake};
use crate::shared::Shared;
use crate::shield::Shield;
use crate::table::{Reply, User, Verdict};
use crate::{AcquireError, Cause, Lease, Manager, WaitTimedOut};

/// A connection of a pool, as a context manager; made by [`Pool::acquire`](crate::Pool::acquire).
///
/// Its exit makes the connection clean and puts it back, or ends it; it never fails, because the
/// pool works around what goes wrong and says so to the notice hook.
#[must_use = "a context manager does nothing until it is entered"]
pub struct Acquire<M: Manager> {
    pub(crate) shared: Arc<Shared<M>>,
    pub(crate) location: &'static Location<'static>,
}

pub(crate) type AcquireResult<M> = Result<Out<M>, AcquireError<<M as Manager>::Error>>;

impl<M: Manager> AsyncContextManager for Acquire<M> {
    type Resource = Lease<M>;
    type Error = AcquireError<M::Error>;

    /// If its caller leaves, it stops waiting; what it has begun goes on without it.
    async fn enter(self) -> Result<Lease<M>, AcquireError<M::Error>> {
        let user = User::at(self.location, true);
        let out = cancellable(self.shared.check_out(user)).await;
        Ok(Lease::new(out.unwrap_or(Err(AcquireError::Cancelled))?))
    }

    async fn exit(mut lease: Lease<M>, case: ExitCase) -> Result<(), AcquireError<M::Error>> {
        if let Some(mut out) = lease.take() {
            match out.is_clean(&case) {
                true => out.land().await,
                false => out.come_back(case).await,
            }
        }
        Ok(())
    }

    fn name(&self) -> Cow<'static, str> {
        self.shared.settings.name.clone()
    }
}

impl<M: Manager> fmt::Debug for Acquire<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Acquire").field(&self.shared).finish()
    }
}

impl User {
    pub(crate) fn at(location: &'static Location<'static>, is_in_block: bool) -> User {
        User {
            location,
            mark: Mark::here(),
            is_in_block,
            is_reported: false,
        }
    }
}

impl<M: Manager> Shared<M> {
    /// Gives `user` a connection: an idle one that is known to be alive, or a new one.
    pub(crate) async fn check_out(mut self: Arc<Self>, user: User) -> AcquireResult<M> {
        let mut turn = Turn {
            shared: &self,
            user: &user,
            ticket: None,
        };
        let mut reply = poll_fn(|context| turn.poll(context)).await;
        drop(turn);
        loop {
            match reply {
                Reply::Taken(taken, verdict) => {
                    let out = Out::of(self, taken);
                    if verdict == Verdict::HandedOut && out.is_usable() {
                        return Ok(out);
                    }
                    match Box::pin(out.checked(verdict)).await {
                        Ok(out) => return Ok(out),
                        Err(freed) => (self, reply) = freed.serve(&user),
                    }
                }
                Reply::Make(slot) => {
                    let permit = Permit::of(self, slot);
                    return Ok(permit.create().await?.hand_out());
                }
                Reply::TooLate => return Err(self.wait_timed_out()),
                Reply::Closed | Reply::Wait { .. } => return Err(AcquireError::Closed),
            }
        }
    }

    #[cold]
    fn wait_timed_out(&self) -> AcquireError<M::Error> {
        let table = self.table();
        AcquireError::TimedOut(Box::new(WaitTimedOut {
            pool: self.name(),
            limit: self.settings.wait_timeout.unwrap_or(Duration::MAX),
            status: table.status(),
            holders: table.holders(Moment::now()),
        }))
    }
}

/// Somebody's turn to be served. Its destructor leaves the queue.
struct Turn<'a, M: Manager> {
    shared: &'a Arc<Shared<M>>,
    user: &'a User,
    /// Their place, while they wait.
    ticket: Option<u64>,
}

impl<M: Manager> Turn<'_, M> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Reply<M::Connection>> {
        if let Some(ticket) = self.ticket {
            return self.poll_place(ticket, context);
        }
        let now = Moment::now();
        let mut table = self.shared.table();
        let reply = table.request(self.user, now, context.waker());
        drop(table);
        let Reply::Wait { ticket, is_seen } = reply else {
            return Poll::Ready(reply);
        };
        self.ticket = Some(ticket);
        if !is_seen {
            self.shared.keep();
            self.shared.keeper.wake();
        }
        Poll::Pending
    }

    fn poll_place(&mut self, ticket: u64, context: &mut Context<'_>) -> Poll<Reply<M::Connection>> {
        let now = Moment::now();
        // Dropped after the lock is: a waker may be the last owner of anything.
        let mut spent = None;
        let mut table = self.shared.table();
        let polled = table.poll(ticket, self.user, now, context.waker(), &mut spent);
        if polled.is_ready() {
            self.ticket = None;
        }
        polled
    }
}

impl<M: Manager> Drop for Turn<'_, M> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let (next, spent) = self.shared.table().leave(ticket);
            drop(spent);
            wake(next);
        }
    }
}

impl<M: Manager> Permit<M> {
    /// Makes a connection in its slot. If whoever waits for it leaves, it lands idle.
    pub(crate) fn create(self) -> Shield<M, AcquireResult<M>> {
        let shared = Arc::clone(&self.shared);
        shared.note_runtime();
        shared.keep();
        Shield::new(shared, self.connect())
    }

    async fn connect(self) -> AcquireResult<M> {
        let shared = Arc::clone(&self.shared);
        let limit = shared.settings.connect_timeout;
        let create = async { shared.manager.create().await };
        let mut out = match attempt(limit, create, || ()).await {
            Ok(connection) => Out::new(self, connection),
            Err(trouble) => return Err(shared.create_failed(trouble)),
        };
        let Some(hook) = &shared.hooks.post_create else {
            return Ok(out);
        };
        let info = out.permit.info();
        let set_up = async { hook(&mut out.connection, &info).await };
        let Err(trouble) = attempt(limit, set_up, || ()).await else {
            return Ok(out);
        };
        out.close(Cause::Rejected).await;
        let (error, panic) = trouble.split();
        go_on(panic);
        Err(AcquireError::Rejected(error))
    }
}

impl<M: Manager> Shared<M> {
    /// # Panics
    ///
    /// If making the connection has.
    fn create_failed(&self, trouble: Trouble<M::Error>) -> AcquireError<M::Error> {
        self.table()
            .count_failed(matches!(trouble, Trouble::TimedOut(_)));
        match trouble {
            Trouble::TimedOut(limit) => AcquireError::CreateTimedOut(TimedOut::new(limit)),
            Trouble::Failed(error) => AcquireError::Create(error),
            Trouble::Panicked(payload) => resume_unwind(payload),
        }
    }
}

impl<M: Manager> Out<M> {
    fn is_usable(&self) -> bool {
        self.permit.shared.manager.is_usable(&self.connection)
    }

    /// Hands it out, if it is alive; otherwise ends it, and gives the right to use a slot back.
    async fn checked(self, verdict: Verdict) -> Result<Out<M>, Permit<M>> {
        let shared = Arc::clone(&self.permit.shared);
        let cause = match verdict {
            Verdict::HandedOut => {
                self.take_back();
                Cause::Unusable
            }
            Verdict::Check { .. } if !self.is_usable() => Cause::Unusable,
            Verdict::Check { is_stale } => match Checking(Some(self)).run(is_stale).await {
                (out, Ok(())) => return Ok(out.hand_out()),
                (out, Err((cause, trouble))) => {
                    let panic = out.tell(trouble);
                    let freed = Shield::new(shared, out.end(cause)).await;
                    go_on(panic);
                    return Err(freed);
                }
            },
            Verdict::Close(cause) => cause,
        };
        Err(Shield::new(shared, self.end(cause)).await)
    }
}

/// A connection being validated. Dropped half way it is ended: nobody knows what state it is in.
struct Checking<M: Manager>(Option<Out<M>>);

impl<M: Manager> Checking<M> {
    async fn run(mut self, is_stale: bool) -> (Out<M>, Result<(), Unfit>) {
        let out = self.0.as_mut().expect(BEING_VALIDATED);
        let mut result = Ok(());
        if is_stale {
            result = out.validate().await;
        }
        if result.is_ok() {
            result = out.ask_hook().await;
        }
        (self.0.take().expect(BEING_VALIDATED), result)
    }
}

const BEING_VALIDATED: &str = "it is here until it has been validated";

impl<M: Manager> Drop for Checking<M> {
    fn drop(&mut self) {
        if let Some(out) = self.0.take() {
            let shared = Arc::clone(&out.permit.shared);
            shared.do_in_background(out.close(Cause::ValidationCancelled));
        }
    }
}
