//! Running a block: enter, body, exits, and who may touch what when.
#![allow(unsafe_code, reason = "granted to this module; see `cell`")]

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use withal_core::unwind::{Payload, Unwind, poll_caught};
use withal_core::{
    AsyncContextManager, BoxError, Entry as EntryName, Error, ExitCase, Site, Verdict,
};

use super::frame::{AnyFrame, Frame, Settings, share};
use super::slot::{Cell, CellPointer, Empty, Entered, Entry, Meta, OwnedCell};
use crate::interruption::{self, Interruption};
use crate::registry::{Id, Kind};
use crate::teardown::{Teardown, hand_over, note_destructor_panic};
use crate::{Options, deadline, send::SendFn2};

// ------------------------------------------------------------------------------------ handles

/// A handle on a running [`scope`](crate::scope): enter managers with it, register exits.
///
/// It is `Copy`, and only ever seen inside the scope's body, whose resources it lends for `'s`.
#[derive(Clone, Copy)]
pub struct Scope<'s> {
    /// Points into the `Arc` that the scope's guard holds.
    frame: NonNull<AnyFrame>,
    brand: PhantomData<fn(&'s ()) -> &'s ()>,
}

// SAFETY: behaves as `&'s Frame`, which is `Sync`.
unsafe impl Send for Scope<'_> {}
// SAFETY: as above.
unsafe impl Sync for Scope<'_> {}

impl<'s> Scope<'s> {
    /// # Safety
    ///
    /// The frame must stay alive as long as anything branded `'s` exists.
    unsafe fn new(frame: &Arc<AnyFrame>) -> Scope<'s> {
        let frame = Arc::as_ptr(frame).cast_mut();
        Scope {
            frame: NonNull::new(frame).expect("an `Arc` is not null"),
            brand: PhantomData,
        }
    }

    pub(crate) fn frame(self) -> Arc<AnyFrame> {
        // SAFETY: taken from an `Arc` that is alive (see `new`).
        unsafe { share(self.frame) }
    }

    pub(crate) fn id(self) -> Id {
        // SAFETY: as above.
        unsafe { self.frame.as_ref() }.id
    }

    /// Enters a manager that borrows nothing, and lends its resource for the rest of the body.
    pub(crate) async fn enter_static<M>(
        self,
        manager: M,
        site: Site,
        kind: Kind,
    ) -> Result<&'s mut M::Resource, M::Error>
    where
        M: AsyncContextManager + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
    {
        let pointer = self.enter_pointer(manager, site, kind).await?.0;
        // SAFETY: the cell is freed only after the body, hence after `'s`; the resource is lent
        // to nobody else.
        Ok(unsafe { pointer.reborrow() })
    }

    pub(crate) async fn lease_static<M>(
        self,
        manager: M,
        site: Site,
        kind: Kind,
    ) -> Result<Lease<'s, M::Resource>, M::Error>
    where
        M: AsyncContextManager + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
    {
        let (resource, entry) = self.enter_pointer(manager, site, kind).await?;
        Ok(Lease {
            resource,
            entry,
            brand: PhantomData,
        })
    }

    async fn enter_pointer<M>(
        self,
        manager: M,
        site: Site,
        kind: Kind,
    ) -> Result<(CellPointer<M::Resource>, CellPointer<dyn Entry>), M::Error>
    where
        M: AsyncContextManager + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
    {
        // SAFETY: alive for `'s`.
        let frame = unsafe { self.frame.as_ref() };
        // SAFETY: this future is a part of the body, as are all users of what is branded `'s`.
        match unsafe { enter_on(frame, manager, site, kind) }.await {
            Ok(entered) => Ok(entered),
            Err(EnterError::Failed(error)) => Err(error),
            Err(EnterError::Closed) => {
                unreachable!("a scope's handle is gone before the scope is closed")
            }
        }
    }
}

impl fmt::Debug for Scope<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("id", &self.id()).finish()
    }
}

/// A resource of a scope that can be exited ahead of it; made by [`Scope::lease`].
///
/// Use it like a `&mut R`. Left alone, it is exited with the scope.
#[must_use = "without it the resource is exited with the scope"]
pub struct Lease<'s, R> {
    resource: CellPointer<R>,
    entry: CellPointer<dyn Entry>,
    brand: PhantomData<&'s mut R>,
}

impl<'s, R> Lease<'s, R> {
    /// Gives up the right to close early, for dependants that borrow the resource.
    #[must_use]
    pub fn into_mut(self) -> &'s mut R {
        // SAFETY: this is the only handle, and the cell outlives `'s`.
        unsafe { self.resource.reborrow() }
    }

    /// Exits it now, ahead of the scope, as after a clean body.
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
    /// Dropped half way, the scope finishes the same exit when it is left.
    pub async fn close(self) -> Result<(), Error> {
        let entry = self.entry;
        let mut unwind = Unwind::default();
        poll_fn(|context| {
            // SAFETY: the handle is gone, so nothing points into the cell any more; the scope's
            // exits touch it only once this future, a part of the body, is gone.
            unsafe { entry.get() }.poll_exit(context, &mut unwind)
        })
        .await;
        unwind.finish::<(), ()>(Some(()))
    }
}

impl<R> std::ops::Deref for Lease<'_, R> {
    type Target = R;

    fn deref(&self) -> &R {
        // SAFETY: this is the only handle to a live resource.
        unsafe { self.resource.as_ptr().as_ref() }
    }
}

impl<R> std::ops::DerefMut for Lease<'_, R> {
    fn deref_mut(&mut self) -> &mut R {
        // SAFETY: this is the only handle to a live resource.
        unsafe { self.resource.as_ptr().as_mut() }
    }
}

impl<R: fmt::Debug> fmt::Debug for Lease<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}

// -------------------------------------------------------------------------------------- enter

/// Why a manager could not be entered on a frame.
pub(crate) enum EnterError<E> {
    Failed(E),
    /// The block has been left; the manager was not entered.
    Closed,
}

/// Enters `manager` as the newest of `frame`'s cells. The enter belongs to the frame from its
/// first poll on.
///
/// # Safety
///
/// The block is not left while this future is polled, nor while the resource is in use.
async unsafe fn enter_on<M, V>(
    frame: &AnyFrame,
    manager: M,
    site: Site,
    kind: Kind,
) -> Result<(CellPointer<M::Resource>, CellPointer<dyn Entry>), EnterError<M::Error>>
where
    M: AsyncContextManager<V> + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    V: Verdict,
{
    let meta = meta(&manager, site, kind, frame.id);
    let cell = Cell::new(meta, manager.enter_at(site), move |resource, case| {
        M::exit_at(resource, case, site)
    });
    // SAFETY: everything in the cell is `'static`.
    let (owned, pointer) = unsafe { OwnedCell::new(cell) };
    if frame.push(owned).is_err() {
        return Err(EnterError::Closed);
    }
    let erased: CellPointer<dyn Entry> = CellPointer::new(pointer.as_ptr());
    // SAFETY: a fresh cell of a frame that nobody leaves meanwhile (caller).
    let resource = unsafe { drive_enter(pointer) }
        .await
        .map_err(EnterError::Failed)?;
    Ok((resource, erased))
}

/// What is known of `manager` once it has been consumed.
fn meta<M, V>(manager: &M, site: Site, kind: Kind, parent: Id) -> Meta
where
    M: AsyncContextManager<V>,
    V: Verdict,
{
    let entry = EntryName::at(manager.name(), site);
    Meta::new(kind, entry, manager.exit_timeout(), parent)
}

/// Drives a cell's enter, and gives the way to its resource.
///
/// # Safety
///
/// The cell is alive and nothing has been lent out of it; it stays where it is, and nobody else
/// uses it while this future is polled.
async unsafe fn drive_enter<EF, R, E, X, XF>(
    cell: CellPointer<Cell<EF, R, X, XF>>,
) -> Result<CellPointer<R>, E>
where
    EF: Future<Output = Result<R, E>>,
{
    let entered = poll_fn(|context| {
        // SAFETY: as the caller promises.
        unsafe { cell.get() }.poll_enter(context)
    })
    .await;
    match entered {
        // SAFETY: as the caller promises.
        Entered::Live => Ok(unsafe { lend(cell) }),
        Entered::Failed(error) => Err(error),
        Entered::Panicked(payload) => resume_unwind(payload),
    }
}

/// # Safety
///
/// The cell is alive and live; nobody else uses it.
unsafe fn lend<EF, R, X, XF>(cell: CellPointer<Cell<EF, R, X, XF>>) -> CellPointer<R> {
    // SAFETY: as the caller promises.
    let resource = unsafe { cell.get() }.resource();
    let resource = resource.expect("an entered cell holds its resource");
    CellPointer::new(NonNull::from(resource))
}

// -------------------------------------------------------------------------------------- exits

/// Leaves a frame: runs its cells' exits, newest first, the block's own last.
pub(crate) struct Exits {
    frame: Arc<AnyFrame>,
    current: Current,
}

enum Current {
    /// Between two exits.
    None,
    Entered(OwnedCell),
    Own,
    Finished,
}

impl Drop for Exits {
    /// Reached in the middle of an exit only when the teardown is lost: the registry shows it.
    fn drop(&mut self) {
        if let Current::Entered(cell) = &mut self.current {
            // SAFETY: the body is gone (`new`).
            let cell = unsafe { cell.get() };
            note_destructor_panic(cell.clear());
        }
    }
}

/// How far [`Exits::poll_next`] got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// One exit has ended.
    Exited,
    /// All have.
    Finished,
}

impl Exits {
    /// # Safety
    ///
    /// It may be polled only once the body is gone and everything that was lent to it, and once no
    /// dropped dependant is left (`frame.orphans`). There is one for each frame.
    unsafe fn new(frame: Arc<AnyFrame>) -> Exits {
        Exits {
            frame,
            current: Current::None,
        }
    }

    pub(crate) fn frame(&self) -> &Arc<AnyFrame> {
        &self.frame
    }

    /// Runs the current exit, or the next one.
    pub(crate) fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        unwind: &mut Unwind,
    ) -> Poll<Step> {
        if matches!(self.current, Current::None) {
            // SAFETY: the body is gone (`new`).
            self.current = match unsafe { self.frame.pop() } {
                Some(cell) => Current::Entered(cell),
                None => Current::Own,
            };
        }
        let polled = match &mut self.current {
            // SAFETY: as above.
            Current::Entered(cell) => unsafe { cell.get() }.poll_exit(context, unwind),
            // SAFETY: as above.
            Current::Own => unsafe { self.frame.own() }.poll_exit(context, unwind),
            Current::None | Current::Finished => return Poll::Ready(Step::Finished),
        };
        polled.map(|()| self.next())
    }

    /// Drops the current exit unfinished; a panic in that is given back.
    pub(crate) fn give_up(&mut self) -> Result<Step, Payload> {
        let cleared = match &mut self.current {
            // SAFETY: the body is gone (`new`).
            Current::Entered(cell) => unsafe { cell.get() }.clear(),
            // SAFETY: as above.
            Current::Own => unsafe { self.frame.own() }.clear(),
            Current::None | Current::Finished => Ok(()),
        };
        let step = self.next();
        cleared.map(|()| step)
    }

    fn next(&mut self) -> Step {
        let own = matches!(self.current, Current::Own);
        self.current = Current::None;
        // An exit may have registered further entries: they run next.
        if own && self.frame.close() {
            self.current = Current::Finished;
            return Step::Finished;
        }
        Step::Exited
    }

    /// What is being exited, and how long it may take.
    pub(crate) fn current(&mut self) -> Option<(EntryName, Option<Duration>)> {
        let cell = match &mut self.current {
            // SAFETY: the body is gone (`new`).
            Current::Entered(cell) => unsafe { cell.get() },
            // SAFETY: as above.
            Current::Own => unsafe { self.frame.own() },
            Current::None | Current::Finished => return None,
        };
        let meta = cell.meta();
        Some((meta.entry.clone(), meta.exit_timeout))
    }

    /// Whether there is nothing to run.
    fn is_done(&self) -> bool {
        // SAFETY: asked by `Guard` once the body is gone.
        let own_is_done = || unsafe { self.frame.own() }.is_done();
        match self.current {
            Current::Finished => true,
            Current::None => {
                self.frame.is_empty() && self.frame.orphans.running() == 0 && own_is_done()
            }
            Current::Entered(_) | Current::Own => false,
        }
    }
}

// -------------------------------------------------------------------------------------- guard

/// Lives in a block's future; its destructor is the handover.
///
/// The body is declared after it, so it is dropped before it.
struct Guard {
    /// `None` once it has run in place, or was handed over.
    teardown: Option<Teardown>,
    /// Whether the body's ending is known; if not, it is being dropped.
    ended: bool,
}

const LEFT_ONCE: &str = "a block is left once";

impl Guard {
    /// # Safety
    ///
    /// The body is dropped before the guard and before `finish` is polled. There is one guard for
    /// each frame.
    unsafe fn new(frame: Arc<AnyFrame>) -> Guard {
        // SAFETY: as the caller promises; the teardown waits for the orphans.
        let exits = unsafe { Exits::new(frame) };
        Guard {
            teardown: Some(Teardown::new(exits)),
            ended: false,
        }
    }

    fn frame(&self) -> &Arc<AnyFrame> {
        let teardown = self.teardown.as_ref();
        teardown.expect(LEFT_ONCE).exits.frame()
    }

    fn unwind(&mut self) -> &mut Unwind {
        &mut self.teardown.as_mut().expect(LEFT_ONCE).unwind
    }

    /// Runs the body to its end or its deadline, and drops it.
    async fn body<F, T>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        timeout: Option<Duration>,
    ) -> Option<T>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let frame = self.frame();
        let mut timer = None;
        let ended = poll_fn(|context| {
            let running = body.as_mut().as_pin_mut().expect("dropped only below");
            match frame.enclosing(|| poll_caught(running, context)) {
                Poll::Ready(ended) => Poll::Ready(Ok(ended)),
                Poll::Pending => {
                    frame.suspending();
                    deadline::poll(&mut timer, timeout, context).map(Err)
                }
            }
        })
        .await;
        let dropped = match ended {
            Ok(_) => catch_unwind(AssertUnwindSafe(|| body.set(None))),
            Err(_) => catch_unwind(AssertUnwindSafe(|| {
                interruption::during(Interruption::TimedOut, || body.set(None));
            })),
        };
        self.ended = true;
        let unwind = self.unwind();
        let value = match ended {
            Ok(ended) => unwind.body(ended),
            Err(limit) => {
                unwind.timed_out(limit);
                None
            }
        };
        match dropped {
            Ok(()) => value,
            Err(payload) => unwind.body(Err(payload)),
        }
    }

    /// Awaits the exits in place.
    async fn finish<V: Verdict, T>(mut self, value: Option<T>) -> Result<V::Output<T>, Error> {
        self.ended = true;
        self.exits().await.finish::<V, T>(value)
    }

    async fn exits(&mut self) -> Unwind {
        let unwind = poll_fn(|context| {
            let teardown = self.teardown.as_mut().expect(LEFT_ONCE);
            let polled = Pin::new(&mut *teardown).poll(context);
            if polled.is_pending() {
                teardown.exits.frame().suspending();
            }
            polled
        })
        .await;
        self.teardown = None;
        unwind
    }

    /// Leaves a block without a body, as after `case`.
    async fn leave(mut self, case: ExitCase) -> Unwind {
        self.ended = true;
        *self.unwind() = Unwind::from_case(case);
        self.exits().await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(mut teardown) = self.teardown.take() else {
            return;
        };
        if !self.ended {
            teardown.unwind = Unwind::from_case(interruption::case_of_drop());
        }
        if !teardown.exits.is_done() {
            hand_over(teardown);
        }
    }
}

// ------------------------------------------------------------------------------------- stacks

/// A block without a body: its entries lend nothing by reference, and are left when its owner says
/// so. Its destructor is the handover.
pub(crate) struct StackFrame(Guard);

impl StackFrame {
    pub(crate) fn new(site: Site) -> StackFrame {
        let entry = EntryName::at("exit stack", site);
        let meta = Meta::new(Kind::Stack, entry, None, AnyFrame::current_id());
        // SAFETY: an empty cell borrows nothing.
        let (frame, _) = unsafe { Frame::new(Empty::new(meta), Settings::default(), None, false) };
        // Its owner may drop it at any time, not only where it suspends.
        frame.suspending();
        // SAFETY: what the entries lend is owned, not borrowed; the one future that uses a cell,
        // in `enter`, borrows this frame, so it is gone when that is left or dropped.
        StackFrame(unsafe { Guard::new(frame) })
    }

    pub(crate) fn frame(&self) -> &Arc<AnyFrame> {
        self.0.frame()
    }

    /// Enters `manager` as the newest entry, and gives a clone of what it lends.
    pub(crate) async fn enter<M, V>(
        &mut self,
        manager: M,
        site: Site,
    ) -> Result<M::Resource, M::Error>
    where
        M: AsyncContextManager<V> + Send + 'static,
        M::Resource: Clone + 'static,
        M::Error: 'static,
        V: Verdict,
    {
        let frame = self.0.frame();
        // SAFETY: this future borrows the stack, so that nobody leaves it meanwhile; the resource
        // is cloned here and used no further.
        match unsafe { enter_on::<M, V>(frame, manager, site, Kind::Resource) }.await {
            Ok((resource, _)) => {
                // SAFETY: as above.
                Ok(unsafe { resource.reborrow() }.clone())
            }
            Err(EnterError::Failed(error)) => Err(error),
            Err(EnterError::Closed) => unreachable!("only the owner closes a stack"),
        }
    }

    /// Runs the exits in place, as after `case`.
    pub(crate) async fn leave(self, case: ExitCase) -> Unwind {
        self.0.leave(case).await
    }
}

/// Registers an entry that is live already; gives false, having dropped it, on a block that has
/// been left.
pub(crate) fn push_live<R, X, XF, V, E>(
    frame: &AnyFrame,
    kind: Kind,
    entry: EntryName,
    resource: R,
    exit: X,
) -> Result<(), Rejected>
where
    R: Send + 'static,
    X: FnOnce(R, ExitCase) -> XF + Send + 'static,
    XF: Future<Output = Result<V, E>> + Send + 'static,
    V: Verdict,
    E: Into<BoxError> + Send + 'static,
{
    let meta = Meta::new(kind, entry, None, frame.id);
    let cell = Cell::<std::future::Ready<Result<R, E>>, _, _, _>::live(meta, resource, exit);
    // SAFETY: everything in the cell is `'static`.
    let (owned, _) = unsafe { OwnedCell::new(cell) };
    frame.push(owned).map_err(Rejected)
}

/// An entry that came too late for its block.
pub(crate) struct Rejected(OwnedCell);

impl Rejected {
    /// Registers it on another block.
    pub(crate) fn push_onto(self, frame: &AnyFrame) -> Result<(), Rejected> {
        frame.push(self.0).map_err(Rejected)
    }
}

// --------------------------------------------------------------------------------------- runs

pub(crate) async fn run_scope<T, B>(options: Options, site: Site, body: B) -> Result<T, Error>
where
    B: for<'s> AsyncFnOnce(Scope<'s>) -> Result<T, BoxError>,
{
    let entry = EntryName::at("scope", site);
    let meta = Meta::new(Kind::Scope, entry, None, AnyFrame::current_id());
    // SAFETY: an empty cell borrows nothing.
    let (frame, _) = unsafe { Frame::new(Empty::new(meta), Settings::from(&options), None, false) };
    // SAFETY: the guard holds the frame, and exits that hold the brand hold it too.
    let scope = unsafe { Scope::new(&frame) };
    // SAFETY: `running` is declared after the guard, and `Guard::body` drops it.
    let mut guard = unsafe { Guard::new(frame) };
    let running = pin!(Some(async move { body(scope).await }));
    let value = guard.body(running, options.timeout).await;
    guard.finish::<(), T>(value).await
}

pub(crate) async fn run_with<M, V, B, T>(
    options: Options,
    manager: M,
    site: Site,
    body: B,
) -> Result<V::Output<T>, Error>
where
    M: AsyncContextManager<V> + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    V: Verdict,
    B: AsyncFnOnce(&mut M::Resource) -> Result<T, BoxError>,
{
    let meta = meta(&manager, site, Kind::Resource, AnyFrame::current_id());
    let cell = Cell::new(meta, manager.enter_at(site), move |resource, case| {
        M::exit_at(resource, case, site)
    });
    // SAFETY: everything in the cell is `'static`.
    let (frame, own) = unsafe { Frame::new(cell, Settings::from(&options), None, true) };
    // SAFETY: `running` is declared after the guard, and `Guard::body` drops it.
    let mut guard = unsafe { Guard::new(frame) };
    // SAFETY: the guard's frame holds the cell; nothing has been lent out of it.
    let value = match unsafe { guard.enter(own) }.await {
        None => None,
        Some(resource) => {
            // SAFETY: the cell lives as long as the guard; the body has the only way to it.
            let resource = unsafe { resource.reborrow() };
            let running = pin!(Some(async move { body(resource).await }));
            guard.body(running, options.timeout).await
        }
    };
    guard.finish::<V, T>(value).await
}

impl Guard {
    /// Enters the block's own manager; what goes wrong is noted.
    ///
    /// # Safety
    ///
    /// `own` is the own cell of the guard's frame, fresh.
    async unsafe fn enter<EF, R, E, X, XF>(
        &mut self,
        own: CellPointer<Cell<EF, R, X, XF>>,
    ) -> Option<CellPointer<R>>
    where
        EF: Future<Output = Result<R, E>>,
        E: Into<BoxError>,
        Cell<EF, R, X, XF>: Entry,
    {
        let frame = self.frame();
        let entered = poll_fn(|context| {
            // SAFETY: as the caller promises.
            let polled = unsafe { own.get() }.poll_enter(context);
            if polled.is_pending() {
                frame.suspending();
            }
            polled
        })
        .await;
        // SAFETY: nothing is lent out of the cell yet.
        let entry = || unsafe { own.get() }.meta().entry.clone();
        match entered {
            // SAFETY: as above.
            Entered::Live => return Some(unsafe { lend(own) }),
            Entered::Failed(error) => {
                let entry = entry();
                self.unwind().enter_failed(entry, error.into());
            }
            Entered::Panicked(payload) => {
                let entry = entry();
                self.unwind().enter_panicked(entry, payload);
            }
        }
        None
    }
}

/// The block of a dependant, whose body is started by `$start`: `with` knows its future to be
/// `Send`, `with_local` need not.
macro_rules! run_dependant {
    ($scope:ident, $manager:ident, $site:ident, $verdict:ty, $value:ty, $start:expr) => {{
        let parent = $scope.frame();
        let meta = meta(&$manager, $site, Kind::Resource, parent.id);
        let cell = Cell::new(meta, $manager.enter_at($site), move |resource, case| {
            M::exit_at(resource, case, $site)
        });
        let settings = parent.settings.clone();
        // SAFETY: the cell borrows for `'s` only: cells of the parent and its ancestors, which
        // wait for this block's exits, and whose memory the frame keeps.
        let (frame, own) = unsafe { Frame::new(cell, settings, Some(parent), false) };
        // SAFETY: the guard holds the frame, and exits that hold the brand hold it too.
        let scope = unsafe { Scope::new(&frame) };
        // SAFETY: `running` is declared after the guard, and `Guard::body` drops it.
        let mut guard = unsafe { Guard::new(frame) };
        // SAFETY: the guard's frame holds the cell; nothing has been lent out of it.
        let value = match unsafe { guard.enter(own) }.await {
            None => None,
            Some(resource) => {
                // SAFETY: the cell lives as long as the guard; the body has the only way to it.
                let resource = unsafe { resource.reborrow() };
                let running = pin!(Some($start(scope, resource)));
                guard.body(running, None).await
            }
        };
        guard.finish::<$verdict, $value>(value).await
    }};
}

#[expect(clippy::manual_async_fn, reason = "the signature promises `Send`")]
pub(crate) fn run_with_dependant<'s, 'b, M, V, B, T>(
    scope: Scope<'s>,
    manager: M,
    site: Site,
    body: B,
) -> impl Future<Output = Result<V::Output<T>, Error>> + Send + use<'s, 'b, M, V, B, T>
where
    's: 'b,
    M: AsyncContextManager<V> + Send + 's,
    M::Resource: 's,
    M::Error: 's,
    V: Verdict,
    T: Send + 'b,
    B: for<'t> AsyncFnOnce(Scope<'t>, &'t mut M::Resource) -> Result<T, BoxError>
        + for<'t> SendFn2<Scope<'t>, &'t mut M::Resource, Result<T, BoxError>>
        + Send
        + 'b,
{
    async move {
        run_dependant!(scope, manager, site, V, T, |scope, resource| body
            .call(scope, resource))
    }
}

/// [`run_with_dependant`] for a body that stays on its thread.
pub(crate) async fn run_with_local_dependant<'s, M, V, B, T>(
    scope: Scope<'s>,
    manager: M,
    site: Site,
    body: B,
) -> Result<V::Output<T>, Error>
where
    M: AsyncContextManager<V> + Send + 's,
    M::Resource: 's,
    M::Error: 's,
    V: Verdict,
    B: for<'t> AsyncFnOnce(Scope<'t>, &'t mut M::Resource) -> Result<T, BoxError>,
{
    run_dependant!(scope, manager, site, V, T, |scope, resource| async move {
        body(scope, resource).await
    })
}

/// Polls `future` so that blocks opened in it belong to `frame`.
pub(crate) async fn poll_with_parent<F: Future>(frame: Arc<AnyFrame>, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| frame.enclosing(|| future.as_mut().poll(context))).await
}
