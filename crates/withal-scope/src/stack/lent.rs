//! Resources that an async stack has lent out.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use withal_core::{
    AsyncContextManager, BoxError, Entry, Error, ExitCase, Notice, NoticeKind, Place, Site,
    Verdict, emit_notice,
};

use crate::cell::{StackFrame, push_live};
use crate::reaper::Reaper;
use crate::registry::Kind;

/// A resource lent out by an [`AsyncExitStack`](crate::AsyncExitStack): use it like a `&mut R`.
///
/// Dropping it gives the resource back; the exit runs when the stack is left. If the stack is left
/// first, that is an error naming the resource, and the exit runs, in the reaper, as soon as it is
/// given back.
pub struct AsyncLent<R> {
    /// `None` only inside `close` and `drop`.
    resource: Option<R>,
    home: Arc<dyn TakesBack<R>>,
}

/// The entry a lent resource goes back to.
trait TakesBack<R>: Send + Sync {
    fn take(&self) -> Option<R>;
    fn take_back(&self, resource: R);
    fn exit_now(&self, resource: R) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
}

/// A manager whose resource can be lent out by value.
pub(super) struct Homed<M, V> {
    manager: M,
    site: Site,
    verdict: PhantomData<fn() -> V>,
}

impl<M, V> Homed<M, V> {
    pub(super) fn new(manager: M, site: Site) -> Homed<M, V> {
        Homed {
            manager,
            site,
            verdict: PhantomData,
        }
    }
}

/// Where the resource is while it is not lent out.
pub(super) struct Home<M: AsyncContextManager<V>, V: Verdict> {
    entry: Entry,
    place: Place,
    state: Mutex<State<M::Resource>>,
    verdict: PhantomData<fn() -> V>,
}

enum State<R> {
    Here(R),
    Lent,
    /// The stack was left while the resource was out.
    Overdue(ExitCase, Option<Handle>),
    Exited,
}

impl<M: AsyncContextManager<V>, V: Verdict> Home<M, V> {
    fn replace(&self, state: State<M::Resource>) -> State<M::Resource> {
        let mut current = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, state)
    }
}

impl<M, V> AsyncContextManager<V> for Homed<M, V>
where
    M: AsyncContextManager<V> + Send + 'static,
    M::Resource: 'static,
    V: Verdict,
{
    type Resource = Arc<Home<M, V>>;
    type Error = HomedError<M::Error>;

    async fn enter(self) -> Result<Arc<Home<M, V>>, Self::Error> {
        let entry = Entry::at(self.manager.name(), self.site);
        let place = self.manager.place(self.site);
        let resource = self.manager.enter_in(place.clone()).await;
        Ok(Arc::new(Home {
            entry,
            place,
            state: Mutex::new(State::Here(resource.map_err(HomedError::Own)?)),
            verdict: PhantomData,
        }))
    }

    async fn exit(home: Arc<Home<M, V>>, case: ExitCase) -> Result<V, Self::Error> {
        match home.replace(State::Exited) {
            State::Here(resource) => M::exit_in(resource, case, home.place.clone())
                .await
                .map_err(HomedError::Own),
            State::Lent => {
                drop(home.replace(State::Overdue(case, Handle::try_current().ok())));
                Err(HomedError::StillLent)
            }
            State::Overdue(..) | State::Exited => Ok(V::from_flow(withal_core::Flow::Propagate)),
        }
    }

    fn name(&self) -> Cow<'static, str> {
        self.manager.name()
    }

    fn exit_timeout(&self) -> Option<Duration> {
        self.manager.exit_timeout()
    }
}

/// What can go wrong with a lent resource: its manager's own error, or that it is not back.
pub(super) enum HomedError<E> {
    Own(E),
    StillLent,
}

impl<E> HomedError<E> {
    /// An enter fails with the manager's own error only.
    pub(super) fn into_own(self) -> E {
        match self {
            HomedError::Own(error) => error,
            HomedError::StillLent => unreachable!("nothing is lent before it is entered"),
        }
    }
}

impl<E: Into<BoxError>> From<HomedError<E>> for BoxError {
    fn from(error: HomedError<E>) -> BoxError {
        match error {
            HomedError::Own(error) => error.into(),
            HomedError::StillLent => "its resource is still lent out; it is exited when that is \
                                      dropped: drop it before the stack is left"
                .into(),
        }
    }
}

impl<M, V> TakesBack<M::Resource> for Home<M, V>
where
    M: AsyncContextManager<V> + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    V: Verdict,
{
    fn take(&self) -> Option<M::Resource> {
        match self.replace(State::Lent) {
            State::Here(resource) => Some(resource),
            other => {
                drop(self.replace(other));
                None
            }
        }
    }

    fn take_back(&self, resource: M::Resource) {
        match self.replace(State::Exited) {
            State::Overdue(case, runtime) => {
                emit_notice(&Notice::new(NoticeKind::StillLent, Some(&self.entry), None));
                let exit =
                    leave_alone::<M, V>(self.entry.clone(), self.place.clone(), resource, case);
                Reaper::global()
                    .adopt(runtime, Box::pin(async move { exit.await.into_failures() }));
            }
            _ => drop(self.replace(State::Here(resource))),
        }
    }

    fn exit_now(
        &self,
        resource: M::Resource,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send>> {
        drop(self.replace(State::Exited));
        let exit = leave_alone::<M, V>(
            self.entry.clone(),
            self.place.clone(),
            resource,
            ExitCase::Succeeded,
        );
        Box::pin(async move {
            exit.await
                .finish::<withal_core::Flow, ()>(Some(()))
                .map(drop)
        })
    }
}

/// Exits one resource as a block of its own: dropped half way, the reaper goes on.
fn leave_alone<M, V>(
    entry: Entry,
    place: Place,
    resource: M::Resource,
    case: ExitCase,
) -> impl Future<Output = withal_core::unwind::Unwind> + Send
where
    M: AsyncContextManager<V> + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    V: Verdict,
{
    let alone = StackFrame::new(entry.location());
    let exit = move |resource, case| M::exit_in(resource, case, place);
    let Ok(()) = push_live(alone.frame(), Kind::Resource, entry, resource, exit) else {
        unreachable!("a new stack has not been left");
    };
    alone.leave(case)
}

impl<R> AsyncLent<R> {
    pub(super) fn from_home<M, V>(home: Arc<Home<M, V>>) -> AsyncLent<R>
    where
        M: AsyncContextManager<V, Resource = R> + Send + 'static,
        M::Error: 'static,
        R: Send + 'static,
        V: Verdict,
    {
        AsyncLent {
            resource: home.take(),
            home,
        }
    }

    /// Exits it now, ahead of the stack, as after a clean body.
    ///
    /// # Errors
    ///
    /// What its exit failed with.
    ///
    /// # Panics
    ///
    /// If its exit panics.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the reaper goes on where it was.
    pub async fn close(mut self) -> Result<(), Error> {
        match self.resource.take() {
            Some(resource) => self.home.exit_now(resource).await,
            None => Ok(()),
        }
    }
}

const HELD: &str = "an `AsyncLent` holds its resource until it is closed or dropped";

impl<R> Deref for AsyncLent<R> {
    type Target = R;

    fn deref(&self) -> &R {
        self.resource.as_ref().expect(HELD)
    }
}

impl<R> DerefMut for AsyncLent<R> {
    fn deref_mut(&mut self) -> &mut R {
        self.resource.as_mut().expect(HELD)
    }
}

impl<R> Drop for AsyncLent<R> {
    fn drop(&mut self) {
        if let Some(resource) = self.resource.take() {
            self.home.take_back(resource);
        }
    }
}

impl<R: fmt::Debug> fmt::Debug for AsyncLent<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncLent").field(&self.resource).finish()
    }
}
