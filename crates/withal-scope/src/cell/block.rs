//! Running a block: enter, body, exits, and who may touch what when.
#![allow(unsafe_code, reason = "granted to this module; see `cell`")]

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use withal_core::unwind::{Payload, Unwind, poll_caught};
use withal_core::{
    AsyncContextManager, BoxError, Entry as EntryName, Error, ExitCase, Site, Verdict,
};

use super::frame::{AnyFrame, Frame, Settings, pointer, share};
use super::header::{Header, State};
use super::slot::{Cell, Empty, Entered, Entry, Link, NodePointer, OwnedCell, ResourcePointer};
use crate::interruption::{self, Interruption};
use crate::registry::{Id, Kind};
use crate::teardown::{Teardown, hand_over};
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
        Scope {
            frame: pointer(frame),
            brand: PhantomData,
        }
    }

    pub(crate) fn frame(self) -> Arc<AnyFrame> {
        // SAFETY: taken from an `Arc` that is alive (see `new`).
        unsafe { share(self.frame) }
    }

    pub(crate) fn id(self) -> Id {
        // SAFETY: as above.
        unsafe { self.frame.as_ref() }.id()
    }

    /// Enters a manager that borrows nothing, and lends its resource for the rest of the body.
    #[inline]
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
        let Acquired { resource, .. } = self.entering(manager, site, kind).await?;
        // SAFETY: the cell is freed only after the body, hence after `'s`; the resource is lent
        // to nobody else.
        Ok(unsafe { resource.reborrow() })
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
        let Acquired { resource, entry } = self.entering(manager, site, kind).await?;
        Ok(Lease {
            resource,
            entry,
            brand: PhantomData,
        })
    }

    #[inline]
    fn entering<M>(
        self,
        manager: M,
        site: Site,
        kind: Kind,
    ) -> impl Future<Output = Result<Acquired<M::Resource>, M::Error>> + Send + use<M>
    where
        M: AsyncContextManager + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
    {
        // SAFETY: alive for `'s`.
        let frame = unsafe { self.frame.as_ref() };
        // SAFETY: the future becomes a part of the body, as are all users of what is branded `'s`.
        let entering = unsafe { enter_on(frame, manager, site, kind) };
        entering.expect("a scope's handle is gone before the scope is closed")
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
    resource: ResourcePointer<R>,
    entry: NodePointer<dyn Entry>,
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
            let (cell, header) = unsafe { (entry.cell(), entry.header()) };
            cell.poll_exit(header, context, &mut unwind)
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

/// An entered resource, and the cell it lies in.
struct Acquired<R> {
    resource: ResourcePointer<R>,
    entry: NodePointer<dyn Entry>,
}

/// Starts to enter `manager` as the newest of `frame`'s cells: from now on it belongs to the frame.
/// `None` if the block has been left; the manager is then not entered.
///
/// # Safety
///
/// The block is not left while the future is polled, nor while the resource is in use.
#[inline]
unsafe fn enter_on<M, V>(
    frame: &AnyFrame,
    manager: M,
    site: Site,
    kind: Kind,
) -> Option<impl Future<Output = Result<Acquired<M::Resource>, M::Error>> + Send + use<M, V>>
where
    M: AsyncContextManager<V> + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    V: Verdict,
{
    let header = header(&manager, site, kind, frame.id());
    let cell = Cell::new(manager.enter_at(site), move |resource, case| {
        M::exit_at(resource, case, site)
    });
    // SAFETY: everything in the cell is `'static`.
    let (owned, node) = unsafe { OwnedCell::new(header, cell) };
    frame.push(owned).ok()?;
    Some(poll_fn(move |context| {
        // SAFETY: a fresh cell of a frame that nobody leaves meanwhile (caller).
        let (header, cell) = unsafe { (node.header(), node.cell()) };
        cell.poll_enter(header, context)
            .map(|entered| match entered {
                // SAFETY: as above.
                Entered::Live => Ok(Acquired {
                    resource: unsafe { lend(node) },
                    entry: node.erase(),
                }),
                Entered::Failed(error) => Err(error),
                Entered::Panicked(payload) => resume_unwind(payload),
            })
    }))
}

/// What is known of `manager` once it has been consumed.
#[inline]
fn header<M, V>(manager: &M, site: Site, kind: Kind, parent: Id) -> Header
where
    M: AsyncContextManager<V>,
    V: Verdict,
{
    let entry = EntryName::at(manager.name(), site);
    Header::new(kind, entry, manager.exit_timeout(), parent)
}

/// # Safety
///
/// The cell is alive and live; nobody else uses it.
unsafe fn lend<EF, R, X, XF>(cell: NodePointer<Cell<EF, R, X, XF>>) -> ResourcePointer<R> {
    // SAFETY: as the caller promises.
    let resource = unsafe { cell.cell() }.resource();
    let resource = resource.expect("an entered cell holds its resource");
    ResourcePointer::new(NonNull::from(resource))
}

// -------------------------------------------------------------------------------------- exits

/// Leaves a frame: runs its cells' exits, newest first, the block's own last.
pub(crate) struct Exits {
    frame: Arc<AnyFrame>,
    current: Current,
    /// The newest cell there was when the last exit began, and the next of those to look at.
    seen: *mut Link,
    next: *mut Link,
}

// SAFETY: the pointers lead to cells of the frame, which are `Send`.
unsafe impl Send for Exits {}

enum Current {
    /// Between two exits.
    None,
    Entered(NodePointer<dyn Entry>),
    Own,
    Finished,
}

impl Drop for Exits {
    /// Reached before the end only when the teardown is lost: the frame's destructor says what was
    /// not exited.
    fn drop(&mut self) {
        self.frame.forget();
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
            seen: ptr::null_mut(),
            next: ptr::null_mut(),
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
            self.current = match self.advance() {
                Some(cell) => Current::Entered(cell),
                None => Current::Own,
            };
        }
        let Some(node) = self.node() else {
            return Poll::Ready(Step::Finished);
        };
        // SAFETY: the body is gone (`new`), and we hold the frame.
        let (header, cell) = unsafe { (node.header(), node.cell()) };
        cell.poll_exit(header, context, unwind)
            .map(|()| self.next())
    }

    /// The newest cell that is not over. What an exit registered comes first.
    fn advance(&mut self) -> Option<NodePointer<dyn Entry>> {
        let newest = self.frame.newest();
        if newest != self.seen {
            self.seen = newest;
            self.next = newest;
        }
        while let Some(link) = NonNull::new(self.next) {
            // SAFETY: links are freed only when we close the block.
            let node = unsafe { Link::node(link) };
            // SAFETY: as above.
            self.next = unsafe { Link::older(link) };
            // SAFETY: as above.
            if !unsafe { node.header() }.is_over() {
                return Some(node);
            }
        }
        None
    }

    fn node(&self) -> Option<NodePointer<dyn Entry>> {
        match self.current {
            Current::Entered(cell) => Some(cell),
            Current::Own => Some(self.frame.own()),
            Current::None | Current::Finished => None,
        }
    }

    /// Drops the current exit unfinished; a panic in that is given back.
    pub(crate) fn give_up(&mut self) -> Result<Step, Payload> {
        let cleared = match self.node() {
            Some(node) => {
                // SAFETY: the body is gone (`new`), and we hold the frame.
                let (header, cell) = unsafe { (node.header(), node.cell()) };
                cell.clear(header)
            }
            None => Ok(()),
        };
        let step = self.next();
        cleared.map(|()| step)
    }

    fn next(&mut self) -> Step {
        let own = matches!(self.current, Current::Own);
        self.current = Current::None;
        // An exit may have registered further entries: they run next.
        // SAFETY: the body is gone (`new`), every exit has ended, and nothing here points to a
        // cell any more.
        if own && unsafe { self.frame.close(self.seen) } {
            self.seen = ptr::null_mut();
            self.current = Current::Finished;
            return Step::Finished;
        }
        Step::Exited
    }

    /// What is being exited, and how long it may take.
    pub(crate) fn current(&self) -> Option<(EntryName, Option<Duration>)> {
        // SAFETY: we hold the frame, and have not closed it while there is a current one.
        let header = unsafe { self.node()?.header() };
        Some((header.entry.clone(), header.exit_timeout))
    }

    /// Whether there is nothing to run.
    fn is_done(&self) -> bool {
        match self.current {
            Current::Finished => true,
            Current::None => {
                // SAFETY: we hold the frame.
                let own_is_over = unsafe { self.frame.own().header() }.is_over();
                own_is_over && self.frame.orphans.running() == 0 && self.frame.is_empty()
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
    /// `None` once it was handed over.
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
    #[inline]
    fn body<F, T>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        timeout: Option<Duration>,
    ) -> impl Future<Output = Option<T>>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let mut timer = None;
        poll_fn(move |context| {
            let frame = self.frame();
            let running = body.as_mut().as_pin_mut().expect("dropped only below");
            let ended = match frame.enclosing(|| poll_caught(running, context)) {
                Poll::Ready(ended) => Ok(ended),
                Poll::Pending => {
                    frame.suspending();
                    Err(ready!(deadline::poll(&mut timer, timeout, context)))
                }
            };
            Poll::Ready(self.body_ended(body.as_mut(), ended))
        })
    }

    fn body_ended<F, T>(
        &mut self,
        mut body: Pin<&mut Option<F>>,
        ended: Result<Result<Result<T, BoxError>, Payload>, Duration>,
    ) -> Option<T> {
        let dropped = catch_unwind(AssertUnwindSafe(|| match ended {
            Ok(_) => body.set(None),
            Err(_) => interruption::during(Interruption::TimedOut, || body.set(None)),
        }));
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
    fn exits(&mut self) -> impl Future<Output = Unwind> {
        self.ended = true;
        poll_fn(|context| {
            let teardown = self.teardown.as_mut().expect(LEFT_ONCE);
            let polled = Pin::new(&mut *teardown).poll(context);
            if polled.is_pending() {
                teardown.exits.frame().suspending();
            }
            polled
        })
    }

    /// Leaves a block without a body, as after `case`.
    async fn leave(mut self, case: ExitCase) -> Unwind {
        *self.unwind() = Unwind::from_case(case);
        self.exits().await
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let unfinished = |teardown: &mut Teardown| !teardown.exits.is_done();
        if let Some(mut teardown) = self.teardown.take_if(unfinished) {
            if !self.ended {
                teardown.unwind = Unwind::from_case(interruption::case_of_drop());
            }
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
        let header = Header::new(Kind::Stack, entry, None, AnyFrame::current_id());
        header.set(State::Live);
        // SAFETY: an empty cell borrows nothing.
        let (frame, _) = unsafe { Frame::new(header, Empty, Settings::default(), None, false) };
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
        let entering = unsafe { enter_on::<M, V>(frame, manager, site, Kind::Resource) };
        let Acquired { resource, .. } = entering.expect("only the owner closes a stack").await?;
        // SAFETY: as above.
        Ok(unsafe { resource.reborrow() }.clone())
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
    let header = Header::new(kind, entry, None, frame.id());
    header.set(State::Live);
    let cell = Cell::<std::future::Ready<Result<R, E>>, _, _, _>::live(resource, exit);
    // SAFETY: everything in the cell is `'static`.
    let (owned, _) = unsafe { OwnedCell::new(header, cell) };
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
    let header = Header::new(Kind::Scope, entry, None, AnyFrame::current_id());
    header.set(State::Live);
    // SAFETY: an empty cell borrows nothing.
    let (frame, _) = unsafe { Frame::new(header, Empty, Settings::from(&options), None, false) };
    // SAFETY: the guard holds the frame, and exits that hold the brand hold it too.
    let scope = unsafe { Scope::new(&frame) };
    // SAFETY: `running` is declared after the guard, and `Guard::body` drops it.
    let mut guard = unsafe { Guard::new(frame) };
    let running = pin!(Some(async move { body(scope).await }));
    let value = guard.body(running, options.timeout).await;
    guard.exits().await.finish::<(), T>(value)
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
    let header = header(&manager, site, Kind::Resource, AnyFrame::current_id());
    let cell = Cell::new(manager.enter_at(site), move |resource, case| {
        M::exit_at(resource, case, site)
    });
    // SAFETY: everything in the cell is `'static`.
    let (frame, own) = unsafe { Frame::new(header, cell, Settings::from(&options), None, true) };
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
    guard.exits().await.finish::<V, T>(value)
}

impl Guard {
    /// Enters the block's own manager; what goes wrong is noted.
    ///
    /// # Safety
    ///
    /// `own` is the own cell of the guard's frame, fresh.
    #[inline]
    unsafe fn enter<EF, R, E, X, XF>(
        &mut self,
        own: NodePointer<Cell<EF, R, X, XF>>,
    ) -> impl Future<Output = Option<ResourcePointer<R>>>
    where
        EF: Future<Output = Result<R, E>>,
        E: Into<BoxError>,
    {
        poll_fn(move |context| {
            // SAFETY: as the caller promises.
            let (header, cell) = unsafe { (own.header(), own.cell()) };
            let Poll::Ready(entered) = cell.poll_enter(header, context) else {
                self.frame().suspending();
                return Poll::Pending;
            };
            match entered {
                // SAFETY: nothing is lent out of the cell yet.
                Entered::Live => return Poll::Ready(Some(unsafe { lend(own) })),
                Entered::Failed(error) => {
                    self.unwind()
                        .enter_failed(header.entry.clone(), error.into());
                }
                Entered::Panicked(payload) => {
                    self.unwind().enter_panicked(header.entry.clone(), payload);
                }
            }
            Poll::Ready(None)
        })
    }
}

/// The block of a dependant, whose body is started by `$start`: `with` knows its future to be
/// `Send`, `with_local` need not.
macro_rules! run_dependant {
    ($scope:ident, $manager:ident, $site:ident, $verdict:ty, $value:ty, $start:expr) => {{
        let parent = $scope.frame();
        let header = header(&$manager, $site, Kind::Resource, parent.id());
        let cell = Cell::new($manager.enter_at($site), move |resource, case| {
            M::exit_at(resource, case, $site)
        });
        let settings = parent.settings.clone();
        // SAFETY: the cell borrows for `'s` only: cells of the parent and its ancestors, which
        // wait for this block's exits, and whose memory the frame keeps.
        let (frame, own) = unsafe { Frame::new(header, cell, settings, Some(parent), false) };
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
        guard.exits().await.finish::<$verdict, $value>(value)
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
