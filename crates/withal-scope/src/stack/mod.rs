//! A dynamic set of exits, sync and async, left in reverse order.

mod lent;

use std::fmt;
use std::future::ready;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::{Arc, Weak};

use withal_core::{
    AsyncContextManager, BoxError, CallbackResult, ContextManager, Entry, Error, ExitCase, Flow,
    Notice, NoticeKind, Site, Verdict, Within, emit_notice,
};

pub use lent::AsyncLent;

use crate::cell::{AnyFrame, Rejected, StackFrame, push_live};
use crate::makers::FromSync;
use crate::registry::Kind;
use crate::send::SendFn;
use lent::{Homed, HomedError};

/// A dynamic set of context managers and exit functions, sync and async mixed, exited in reverse
/// order.
///
/// It equals the same managers in nested blocks: each exit sees what the inner ones left, all run
/// whatever any of them does, and every error is kept. Use it as a manager itself, or on its own
/// with [`close`](AsyncExitStack::close). Inside a [`scope`](crate::scope) you rarely need one: a
/// scope is a set already. Use a stack to build a set in one function and leave it in another.
///
/// A stack made by [`new`](AsyncExitStack::new) takes managers that never swallow errors. One made
/// by [`suppressing`](AsyncExitStack::suppressing) takes all, and its block gives an `Option`.
///
/// After `contextlib.AsyncExitStack`; unlike there, a stack that is dropped unclosed is handed to
/// the [`Reaper`](crate::Reaper), which runs its exits, and says so in a [`Notice`].
///
/// # Examples
///
/// ```
/// use withal_core::nullcontext;
/// use withal_scope::{AsyncExitStack, AsyncLent};
///
/// struct App {
///     database: AsyncLent<&'static str>,
///     stack: AsyncExitStack,
/// }
///
/// async fn start() -> Result<App, withal_core::BoxError> {
///     let mut stack = AsyncExitStack::new();
///     let database = stack.enter_async_context(nullcontext("database")).await?;
///     stack.callback(|| println!("database closed"));
///     Ok(App { database, stack })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::BoxError> {
/// let App { database, mut stack } = start().await?;
/// println!("using the {}", *database);
/// drop(database);
/// stack.close().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a stack dropped at once is exited at once, in the background"]
pub struct AsyncExitStack<V: Verdict = ()> {
    /// `None` while nothing is registered.
    frame: Option<StackFrame>,
    site: Site,
    verdict: PhantomData<fn() -> V>,
}

/// Registers further exits on an [`AsyncExitStack`], also while it is being left.
///
/// What an exit registers runs next, before the older entries. On a stack that has been left, what
/// is registered is exited at once, in the reaper, and a [`Notice`] says so.
pub struct AsyncStackHandle<V: Verdict = ()> {
    frame: Weak<AnyFrame>,
    site: Site,
    verdict: PhantomData<fn() -> V>,
}

impl AsyncExitStack {
    /// An empty stack whose entries never swallow errors.
    #[track_caller]
    pub fn new() -> AsyncExitStack {
        AsyncExitStack::at(Location::caller())
    }
}

impl AsyncExitStack<Flow> {
    /// An empty stack whose entries may swallow errors; its block gives an `Option`.
    #[track_caller]
    pub fn suppressing() -> AsyncExitStack<Flow> {
        AsyncExitStack::at(Location::caller())
    }
}

impl Default for AsyncExitStack {
    #[track_caller]
    fn default() -> Self {
        AsyncExitStack::new()
    }
}

impl<V: Verdict> AsyncExitStack<V> {
    fn at(site: Site) -> Self {
        AsyncExitStack {
            frame: None,
            site,
            verdict: PhantomData,
        }
    }

    fn frame(&mut self) -> &mut StackFrame {
        let site = self.site;
        self.frame.get_or_insert_with(|| StackFrame::new(site))
    }

    /// Enters an async manager and lends its resource; it is exited with the stack.
    ///
    /// Lent resources may be held side by side, moved and stored. Drop them before the stack is
    /// left: an exit waits for its resource.
    ///
    /// # Errors
    ///
    /// The manager's own error; the stack is then as it was.
    ///
    /// # Panics
    ///
    /// If the manager's enter panics.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the enter is finished when the stack is left, and exited too.
    #[track_caller]
    pub fn enter_async_context<M, W>(
        &mut self,
        manager: M,
    ) -> impl Future<Output = Result<AsyncLent<M::Resource>, M::Error>> + Send + use<'_, M, V, W>
    where
        M: AsyncContextManager<W> + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
        W: Within<V>,
    {
        self.enter_from(manager, Location::caller())
    }

    pub(crate) async fn enter_from<M, W>(
        &mut self,
        manager: M,
        site: Site,
    ) -> Result<AsyncLent<M::Resource>, M::Error>
    where
        M: AsyncContextManager<W> + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
        W: Verdict,
    {
        let home = self.frame().enter(Homed::new(manager, site), site).await;
        Ok(AsyncLent::from_home(home.map_err(HomedError::into_own)?))
    }

    /// Enters a sync manager, in the same order as the async ones.
    ///
    /// # Errors
    ///
    /// The manager's own error; the stack is then as it was.
    #[track_caller]
    pub fn enter_context<M, W>(&mut self, manager: M) -> Result<AsyncLent<M::Resource>, M::Error>
    where
        M: ContextManager<W> + Send + 'static,
        M::Resource: Send + 'static,
        M::Error: Send + 'static,
        W: Within<V>,
    {
        let site = Location::caller();
        let entering = self.enter_from(FromSync::new(manager), site);
        crate::scope::ready_now(entering)
    }

    /// Registers an exit function: it sees how the stack's block ended, and may fail.
    #[track_caller]
    pub fn push<F, W, E>(&mut self, exit: F)
    where
        F: FnOnce(ExitCase) -> Result<W, E> + Send + 'static,
        W: Within<V>,
        E: Into<BoxError> + Send + 'static,
    {
        let entry = Entry::at("exit function", Location::caller());
        push_sync(self.frame().frame(), entry, exit);
    }

    /// Registers an async exit function.
    #[track_caller]
    pub fn push_async<F, W, E>(&mut self, exit: F)
    where
        F: AsyncFnOnce(ExitCase) -> Result<W, E>
            + SendFn<ExitCase, Result<W, E>, Future: 'static>
            + Send
            + 'static,
        W: Within<V>,
        E: Into<BoxError> + Send + 'static,
    {
        let entry = Entry::at("exit function", Location::caller());
        push_async(self.frame().frame(), entry, exit);
    }

    /// Registers a function that does not care how the block ended and cannot swallow an error.
    ///
    /// It returns `()` or a `Result<(), _>`, whose error is not lost.
    #[track_caller]
    pub fn callback<F, R>(&mut self, callback: F)
    where
        F: FnOnce() -> R + Send + 'static,
        R: CallbackResult,
    {
        let entry = Entry::at("callback", Location::caller());
        push_sync(self.frame().frame(), entry, |_case| {
            callback().into_result()
        });
    }

    /// Moves all entries to a new stack; none is run.
    ///
    /// The last line of a constructor that acquires several things: any failure before it unwinds
    /// all of them, success hands them over.
    pub fn pop_all(&mut self) -> AsyncExitStack<V> {
        AsyncExitStack {
            frame: self.frame.take(),
            site: self.site,
            verdict: PhantomData,
        }
    }

    /// Runs all exits now, as after a clean body.
    ///
    /// A second call finds nothing to do. The stack can be used again.
    ///
    /// # Errors
    ///
    /// What the exits failed with and none of them swallowed.
    ///
    /// # Panics
    ///
    /// With the first panic of an exit, once all have run.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the reaper goes on where it was.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.close_with(ExitCase::Succeeded).await
    }

    /// Runs all exits now; the first of them sees `case`.
    ///
    /// # Errors
    ///
    /// The failures in `case` and those of the exits, unless they were swallowed.
    ///
    /// # Panics
    ///
    /// With the first panic of an exit, once all have run.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the reaper goes on where it was.
    pub async fn close_with(&mut self, case: ExitCase) -> Result<(), Error> {
        let unwind = match self.frame.take() {
            Some(frame) => frame.leave(case).await,
            None => withal_core::unwind::Unwind::from_case(case),
        };
        unwind.finish::<Flow, ()>(Some(())).map(drop)
    }

    /// A handle that registers entries, for exits that register further ones.
    pub fn handle(&mut self) -> AsyncStackHandle<V> {
        AsyncStackHandle {
            frame: Arc::downgrade(self.frame().frame()),
            site: self.site,
            verdict: PhantomData,
        }
    }

    /// Whether no exit is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frame
            .as_ref()
            .is_none_or(|frame| frame.frame().is_empty())
    }
}

impl<V: Verdict> AsyncStackHandle<V> {
    /// As [`AsyncExitStack::push`].
    #[track_caller]
    pub fn push<F, W, E>(&self, exit: F)
    where
        F: FnOnce(ExitCase) -> Result<W, E> + Send + 'static,
        W: Within<V>,
        E: Into<BoxError> + Send + 'static,
    {
        let entry = Entry::at("exit function", Location::caller());
        self.on_frame(entry, |frame, entry| push_sync(frame, entry, exit));
    }

    /// As [`AsyncExitStack::push_async`].
    #[track_caller]
    pub fn push_async<F, W, E>(&self, exit: F)
    where
        F: AsyncFnOnce(ExitCase) -> Result<W, E>
            + SendFn<ExitCase, Result<W, E>, Future: 'static>
            + Send
            + 'static,
        W: Within<V>,
        E: Into<BoxError> + Send + 'static,
    {
        let entry = Entry::at("exit function", Location::caller());
        self.on_frame(entry, |frame, entry| push_async(frame, entry, exit));
    }

    /// As [`AsyncExitStack::callback`].
    #[track_caller]
    pub fn callback<F, R>(&self, callback: F)
    where
        F: FnOnce() -> R + Send + 'static,
        R: CallbackResult,
    {
        let entry = Entry::at("callback", Location::caller());
        self.on_frame(entry, |frame, entry| {
            push_sync(frame, entry, |_case| callback().into_result());
        });
    }

    /// Runs `register` on the stack, or on a new one, which is dropped, and so left, at once.
    fn on_frame(&self, entry: Entry, register: impl FnOnce(&AnyFrame, Entry)) {
        match self.frame.upgrade() {
            Some(frame) => register(&frame, entry),
            None => {
                notice_late(&entry);
                register(StackFrame::new(self.site).frame(), entry);
            }
        }
    }
}

fn push_sync<F, W, E>(frame: &AnyFrame, entry: Entry, exit: F)
where
    F: FnOnce(ExitCase) -> Result<W, E> + Send + 'static,
    W: Verdict,
    E: Into<BoxError> + Send + 'static,
{
    let exit_now = |exit: F, case| ready(exit(case));
    let pushed = push_live(frame, Kind::Callback, entry.clone(), exit, exit_now);
    exit_if_late(pushed, &entry);
}

fn push_async<F, W, E>(frame: &AnyFrame, entry: Entry, exit: F)
where
    F: SendFn<ExitCase, Result<W, E>, Future: 'static> + Send + 'static,
    W: Verdict,
    E: Into<BoxError> + Send + 'static,
{
    let pushed = push_live(frame, Kind::Callback, entry.clone(), exit, F::call);
    exit_if_late(pushed, &entry);
}

/// An entry that comes after its stack has been left is exited at once, by the reaper.
fn exit_if_late(pushed: Result<(), Rejected>, entry: &Entry) {
    let Err(late) = pushed else { return };
    notice_late(entry);
    let alone = StackFrame::new(entry.location());
    let Ok(()) = late.push_onto(alone.frame()) else {
        unreachable!("a new stack has not been left");
    };
}

#[cold]
fn notice_late(entry: &Entry) {
    emit_notice(&Notice::new(NoticeKind::StackGone, Some(entry), None));
}

impl<V: Verdict> AsyncContextManager<V> for AsyncExitStack<V> {
    type Resource = AsyncExitStack<V>;
    type Error = Error;

    async fn enter(self) -> Result<Self, Error> {
        Ok(self)
    }

    async fn exit(mut stack: Self, case: ExitCase) -> Result<V, Error> {
        match stack.frame.take() {
            Some(frame) => frame.leave(case.clone()).await.into_exit(&case),
            None => Ok(V::from_flow(Flow::Propagate)),
        }
    }
}

impl<V: Verdict> Drop for AsyncExitStack<V> {
    fn drop(&mut self) {
        if !self.is_empty() {
            let entry = Entry::at("exit stack", self.site);
            emit_notice(&Notice::new(NoticeKind::NotClosed, Some(&entry), None));
        }
    }
}

impl<V: Verdict> Clone for AsyncStackHandle<V> {
    fn clone(&self) -> Self {
        AsyncStackHandle {
            frame: Weak::clone(&self.frame),
            site: self.site,
            verdict: PhantomData,
        }
    }
}

impl<V: Verdict> fmt::Debug for AsyncExitStack<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncExitStack")
            .field("empty", &self.is_empty())
            .finish_non_exhaustive()
    }
}

impl<V: Verdict> fmt::Debug for AsyncStackHandle<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncStackHandle").finish_non_exhaustive()
    }
}
