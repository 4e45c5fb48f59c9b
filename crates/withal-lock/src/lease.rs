//! A lease that is held.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use withal_core::BoxError;

use crate::acquire::{give_back, worked_around};
use crate::error::{LeaseError, Lost, LostCause};
use crate::keep::keep;
use crate::moment::Moment;
use crate::store::Store;
use crate::terms::Terms;

/// A lease that is held: what [`PgLease`](crate::PgLease) and [`RedisLease`](crate::RedisLease)
/// lend.
///
/// A task renews it until its block is left. Dropped without an exit it is not renewed any more,
/// and ends by itself.
#[must_use = "it is not renewed any more when this is dropped"]
pub struct Lease {
    held: LeaseWatch,
    keeper: Box<dyn Keeper>,
}

/// What is known of a lease; made by [`Lease::watch`]. Clones are of the same lease.
///
/// It is to a lease what a cancellation token is to a task: what must not go on without the lease
/// waits for [`lost`](Self::lost) beside its work, or runs in [`while_held`](Self::while_held).
#[derive(Clone)]
pub struct LeaseWatch(Arc<Held>);

struct Held {
    terms: Terms,
    token: i64,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug)]
struct State {
    /// Nobody else can have it before the margin after that.
    good_until: Moment,
    /// Why the last try to renew it failed.
    failing: Option<Arc<BoxError>>,
    lost: Option<Lost>,
}

impl Lease {
    /// Begins to renew it.
    pub(crate) fn keep<S: Store>(store: S, terms: Terms, token: i64, sent: Moment) -> Lease {
        let good_until = terms.good_until(sent);
        let (state, _) = watch::channel(State {
            good_until,
            failing: None,
            lost: None,
        });
        let held = LeaseWatch(Arc::new(Held {
            terms,
            token,
            state,
        }));
        let (stop, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        let _abort = task.spawn(keep(store, held.clone(), sent, stopped));
        let keeper = Box::new(Task { stop, task });
        Lease { held, keeper }
    }

    /// The fencing token: greater than that of everybody who had this lease before.
    ///
    /// Whoever is paused for longer than its lease lasts, in a garbage collection or by the
    /// scheduler, writes on without knowing. So send the token along with what the lease protects,
    /// and have it refused there if a greater one was seen: `UPDATE … SET token = $1 WHERE id = $2
    /// AND token <= $1`.
    #[must_use]
    pub fn token(&self) -> i64 {
        self.held.token()
    }

    /// The key it is of.
    #[must_use]
    pub fn key(&self) -> &str {
        self.held.key()
    }

    /// A handle to keep elsewhere, such as in another task.
    #[must_use]
    pub fn watch(&self) -> LeaseWatch {
        self.held.clone()
    }

    /// Looks at the clock whether it is still held; see [`LeaseWatch::check`].
    ///
    /// # Errors
    ///
    /// Why it is not.
    pub fn check(&self) -> Result<i64, Lost> {
        self.held.check()
    }

    /// Waits until it is lost; see [`LeaseWatch::lost`].
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    pub async fn lost(&self) -> Lost {
        self.held.lost().await
    }

    /// Does `work` as long as it is held; see [`LeaseWatch::while_held`].
    ///
    /// # Errors
    ///
    /// Why it is not held any more.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    pub async fn while_held<T>(&self, work: impl Future<Output = T>) -> Result<T, Lost> {
        self.held.while_held(work).await
    }

    /// Stops renewing it, then gives it back.
    pub(crate) async fn release(self) -> Result<(), LeaseError> {
        let Lease { held, keeper } = self;
        // What watches it hears of the end before anybody else can have it.
        let lost = held.end(LostCause::Released);
        let released = keeper.release(&held).await;
        match (lost.cause, released) {
            (LostCause::Released, Ok(true)) => Ok(()),
            (LostCause::Released, Ok(false)) => Err(LeaseError::Lost(Lost {
                cause: LostCause::Taken,
                ..lost
            })),
            (LostCause::Released, Err(error)) => Err(error),
            (_, Ok(_)) => Err(LeaseError::Lost(lost)),
            (_, Err(error)) => {
                worked_around(&held.0.terms, error);
                Err(LeaseError::Lost(lost))
            }
        }
    }
}

impl LeaseWatch {
    /// The fencing token; see [`Lease::token`].
    #[must_use]
    pub fn token(&self) -> i64 {
        self.0.token
    }

    /// The key the lease is of.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0.terms.key
    }

    /// Looks at the clock whether the lease is still held; gives its token.
    ///
    /// It asks no server and does not wait, so it is right even where the task that renews the
    /// lease had no chance to run: in code that blocks the runtime, or in a process that was
    /// stopped and goes on. While it is `Ok`, nobody else can have the lease for the
    /// [margin](crate::PgLease::margin) from now.
    ///
    /// # Errors
    ///
    /// Why it is not held any more.
    pub fn check(&self) -> Result<i64, Lost> {
        let state = self.0.state.borrow().clone();
        match state.lost {
            Some(lost) => Err(lost),
            None if state.good_until.left().is_zero() => Err(self.end(LostCause::Late)),
            None => Ok(self.0.token),
        }
    }

    /// Waits until the lease is lost, or [released](LostCause::Released).
    ///
    /// That is the [margin](crate::PgLease::margin) before anybody else can have it, as long as the
    /// clocks here and on the server run at the same rate: it is reckoned from before the last
    /// renewal that was answered was sent, on a clock that goes on while the machine sleeps.
    ///
    /// # Cancel safety
    ///
    /// Dropping it loses nothing.
    pub async fn lost(&self) -> Lost {
        let mut state = self.0.state.subscribe();
        loop {
            let good_until = state.borrow_and_update().good_until;
            if let Err(lost) = self.check() {
                return lost;
            }
            tokio::select! {
                // We hold the sender: it does not fail.
                _ = state.changed() => {}
                () = good_until.wait() => {}
            }
        }
    }

    /// Does `work` as long as the lease is held, and drops it where it is when the lease is lost.
    ///
    /// # Errors
    ///
    /// Why the lease is not held any more.
    ///
    /// # Cancel safety
    ///
    /// That of `work`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use withal_lock::{Lease, Lost};
    /// # async fn send_mails() {}
    /// # async fn f(lease: &Lease) -> Result<(), Lost> {
    /// lease.watch().while_held(send_mails()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn while_held<T>(&self, work: impl Future<Output = T>) -> Result<T, Lost> {
        tokio::select! {
            biased;
            lost = self.lost() => Err(lost),
            done = work => Ok(done),
        }
    }

    pub(crate) fn terms(&self) -> &Terms {
        &self.0.terms
    }

    pub(crate) fn good_until(&self) -> Moment {
        self.0.state.borrow().good_until
    }

    /// It was renewed by what was sent then; `false` if it was lost already.
    pub(crate) fn renewed(&self, sent: Moment) -> bool {
        let good_until = self.0.terms.good_until(sent);
        self.0.state.send_if_modified(|state| {
            let is_held = state.lost.is_none();
            if is_held {
                state.good_until = good_until;
                state.failing = None;
            }
            is_held
        })
    }

    /// A try to renew it failed; whether it is the first since it was renewed.
    pub(crate) fn failing(&self, error: BoxError) -> bool {
        let mut is_first = false;
        self.0.state.send_modify(|state| {
            is_first = state.failing.replace(Arc::new(error)).is_none();
        });
        is_first
    }

    /// It is not held any more. The first cause counts, and is given; once its time is over there
    /// is no other.
    pub(crate) fn end(&self, cause: LostCause) -> Lost {
        let mut lost = Lost {
            key: self.0.terms.key.clone(),
            cause,
            source: None,
        };
        let _ = self.0.state.send_if_modified(|state| {
            if let Some(already) = &state.lost {
                lost = already.clone();
                return false;
            }
            if state.good_until.left().is_zero() {
                lost.source = state.failing.take();
                lost.cause = match lost.source {
                    Some(_) => LostCause::Unreachable,
                    None => LostCause::Late,
                };
            }
            state.lost = Some(lost.clone());
            true
        });
        lost
    }

    /// How long it is until others can have it.
    fn left(&self) -> Duration {
        let margin = self.0.terms.margin();
        self.good_until().after(margin).left()
    }
}

/// The task that renews a lease.
trait Keeper: Send + Sync {
    /// Ends it and gives the lease back.
    fn release<'a>(self: Box<Self>, held: &'a LeaseWatch) -> Releasing<'a>;
}

type Releasing<'a> = Pin<Box<dyn Future<Output = Result<bool, LeaseError>> + Send + 'a>>;

struct Task<S> {
    stop: oneshot::Sender<()>,
    task: JoinSet<S>,
}

impl<S: Store> Keeper for Task<S> {
    fn release<'a>(mut self: Box<Self>, held: &'a LeaseWatch) -> Releasing<'a> {
        Box::pin(async move {
            // It may have ended by itself.
            let _ = self.stop.send(());
            let terms = held.terms();
            let doing = format!("release lease `{}`, which ends by itself", terms.key);
            match self.task.join_next().await {
                Some(Ok(store)) => give_back(store, terms, held.left()).await,
                Some(Err(error)) => Err(LeaseError::doing(doing, error)),
                None => Err(LeaseError::doing(doing, "nobody has renewed it")),
            }
        })
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Lease");
        self.held.fields(&mut shown).finish_non_exhaustive()
    }
}

impl fmt::Debug for LeaseWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LeaseWatch");
        self.fields(&mut shown).finish_non_exhaustive()
    }
}

impl LeaseWatch {
    fn fields<'f, 'a, 'b>(
        &self,
        shown: &'f mut fmt::DebugStruct<'a, 'b>,
    ) -> &'f mut fmt::DebugStruct<'a, 'b> {
        let lost = self.check().err().map(|lost| lost.cause);
        shown
            .field("key", &self.key())
            .field("token", &self.token())
            .field("lost", &lost)
    }
}
