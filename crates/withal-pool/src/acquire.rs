//! How a caller comes to a connection.

use std::borrow::Cow;
use std::fmt;
use std::panic::{Location, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::TryAcquireError;
use tokio::time::Instant;
use withal_core::{AsyncContextManager, ExitCase, TimedOut};
use withal_scope::cancellable;
use withal_scope::integration::Mark;

use crate::deadline::{Trouble, attempt, go_on};
use crate::permit::{Out, Permit, Unfit};
use crate::shared::Shared;
use crate::shield::Shield;
use crate::table::{User, Verdict};
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
        if let Some((out, fate)) = lease.take() {
            out.come_back(fate, case).await;
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
    pub(crate) async fn check_out(self: Arc<Self>, user: User) -> AcquireResult<M> {
        let mut permit = self.permit().await?;
        loop {
            match permit.take_idle(user) {
                Ok((out, verdict)) => match out.checked(verdict).await {
                    Ok(out) => return Ok(out),
                    Err(freed) => permit = freed,
                },
                Err(permit) => return Ok(permit.create(Some(user)).await?.hand_out()),
            }
        }
    }

    /// Waits for its turn.
    async fn permit(self: Arc<Self>) -> Result<Permit<M>, AcquireError<M::Error>> {
        match self.permits.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
            Err(TryAcquireError::NoPermits) => self.wait().await?,
        }
        Ok(Permit::new(self))
    }

    async fn wait(&self) -> Result<(), AcquireError<M::Error>> {
        let _waiting = Waiting::new(&self.waiting);
        let limit = self.settings.wait_timeout;
        match attempt(limit, self.permits.acquire(), || ()).await {
            Ok(permit) => {
                permit.forget();
                Ok(())
            }
            Err(Trouble::TimedOut(limit)) => Err(self.wait_timed_out(limit)),
            Err(Trouble::Failed(_)) => Err(AcquireError::Closed),
            Err(Trouble::Panicked(payload)) => resume_unwind(payload),
        }
    }

    #[cold]
    fn wait_timed_out(&self, limit: Duration) -> AcquireError<M::Error> {
        let mut table = self.table();
        table.counters.wait_timed_out += 1;
        AcquireError::TimedOut(Box::new(WaitTimedOut {
            pool: self.name(),
            limit,
            status: table.status(self.waiting()),
            holders: table.holders(Instant::now()),
        }))
    }

    /// How long a connection may be idle without being checked.
    fn check_after(&self) -> Option<Duration> {
        match self.hooks.pre_acquire {
            Some(_) => Some(Duration::ZERO),
            None => self.settings.validate_after,
        }
    }
}

impl<M: Manager> Permit<M> {
    /// Takes the warmest idle connection, if there is one.
    fn take_idle(self, user: User) -> Result<(Out<M>, Verdict), Permit<M>> {
        let check_after = self.shared.check_after();
        let taken = self.shared.table().take(user, check_after, Instant::now());
        match taken {
            Some((taken, verdict)) => Ok((self.with(taken), verdict)),
            None => Err(self),
        }
    }

    /// Makes a connection. If whoever waits for it leaves, it lands idle.
    pub(crate) fn create(mut self, user: Option<User>) -> Shield<M, AcquireResult<M>> {
        let is_open = self.reserve(user);
        let shared = Arc::clone(&self.shared);
        shared.note_runtime();
        shared.keep();
        Shield::new(&shared, async move {
            match is_open {
                true => self.connect().await,
                false => Err(AcquireError::Closed),
            }
        })
    }

    async fn connect(self) -> AcquireResult<M> {
        let shared = Arc::clone(&self.shared);
        let limit = shared.settings.connect_timeout;
        let create = async { shared.manager.create().await };
        let mut out = match attempt(limit, create, || ()).await {
            Ok(connection) => self.created(connection),
            Err(trouble) => return Err(shared.create_failed(trouble)),
        };
        let Some(hook) = &shared.hooks.post_create else {
            return Ok(out);
        };
        let set_up = async { hook(&mut out.connection, &out.info).await };
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
        let counters = &mut self.table().counters;
        match trouble {
            Trouble::TimedOut(limit) => {
                counters.create_timed_out += 1;
                AcquireError::CreateTimedOut(TimedOut::new(limit))
            }
            Trouble::Failed(error) => {
                counters.create_failed += 1;
                AcquireError::Create(error)
            }
            Trouble::Panicked(payload) => {
                counters.create_failed += 1;
                resume_unwind(payload)
            }
        }
    }
}

impl<M: Manager> Out<M> {
    /// Hands it out, if it is alive; otherwise ends it, and gives the right to use a slot back.
    async fn checked(self, verdict: Verdict) -> Result<Out<M>, Permit<M>> {
        let shared = Arc::clone(&self.permit.shared);
        if !shared.manager.is_usable(&self.connection) {
            self.take_back();
            return Err(Shield::new(&shared, self.end(Cause::Unusable)).await);
        }
        match verdict {
            Verdict::HandedOut => Ok(self),
            Verdict::Check => match Checking(Some(self)).run().await {
                (out, Ok(())) => Ok(out.hand_out()),
                (out, Err((cause, trouble))) => {
                    let panic = out.tell(trouble);
                    let freed = Shield::new(&shared, out.end(cause)).await;
                    go_on(panic);
                    Err(freed)
                }
            },
            Verdict::Close(cause) => Err(Shield::new(&shared, self.end(cause)).await),
        }
    }
}

/// A connection being validated. Dropped half way it is ended: nobody knows what state it is in.
struct Checking<M: Manager>(Option<Out<M>>);

impl<M: Manager> Checking<M> {
    async fn run(mut self) -> (Out<M>, Result<(), Unfit>) {
        let out = self.0.as_mut().expect(BEING_VALIDATED);
        let result = out.validate().await;
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

/// Counts one that waits, for as long as it does.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize) -> Waiting<'a> {
        // Relaxed: a number to look at.
        let _ = waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Relaxed: a number to look at.
        let _ = self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
