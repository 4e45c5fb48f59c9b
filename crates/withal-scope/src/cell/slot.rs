//! One entered manager: a state machine from enter over resource to exit.
#![allow(unsafe_code, reason = "granted to this module; see `cell`")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use withal_core::unwind::{Payload, Unwind, poll_caught};
use withal_core::{BoxError, Error, ExitCase, Notice, NoticeKind, Verdict, emit_notice};

use crate::cancellable::poll_abandoned;
use crate::registry::{Id, Kind, OpenState, Registration};

/// What errors, deadlines and the registry need to know of a cell.
#[derive(Debug)]
pub(crate) struct Meta {
    pub(crate) entry: withal_core::Entry,
    pub(crate) exit_timeout: Option<Duration>,
    pub(crate) registration: Registration,
}

impl Meta {
    pub(crate) fn new(
        kind: Kind,
        entry: withal_core::Entry,
        exit_timeout: Option<Duration>,
        parent: Id,
    ) -> Meta {
        Meta {
            entry,
            exit_timeout,
            registration: Registration::new(kind, parent),
        }
    }

    pub(crate) fn opened(&mut self) {
        self.registration.set(&self.entry, OpenState::Open);
    }

    /// It was not ready at once: from now on others can see it wait.
    #[cold]
    fn pending(&mut self, state: OpenState) {
        self.registration.set(&self.entry, state);
    }

    fn closed(&mut self) {
        self.registration.close();
    }
}

/// A cell with its types erased, as a frame and its exits see it.
///
/// All methods of a pinned cell take it by `Pin<&mut Self>`: a shared reference to the whole cell
/// would claim to read the future in it, which may hold references into itself.
pub(crate) trait Entry: Send {
    /// Its id in the registry. For a cell that is not pinned yet.
    fn id(&self) -> Id;

    fn meta(self: Pin<&mut Self>) -> &mut Meta;

    /// The next older cell of the frame.
    fn below(self: Pin<&mut Self>) -> &mut Option<OwnedCell>;

    /// Finishes an interrupted enter, then runs the exit. What comes of it goes into `unwind`.
    fn poll_exit(self: Pin<&mut Self>, context: &mut Context<'_>, unwind: &mut Unwind) -> Poll<()>;

    /// Whether there is nothing left to run.
    fn is_done(self: Pin<&mut Self>) -> bool;

    /// Drops what is left without running it; a panic in that is given back.
    fn clear(self: Pin<&mut Self>) -> Result<(), Payload>;
}

pin_project! {
    #[project = StateProject]
    #[project_replace = StateReplace]
    enum State<EF, R, XF> {
        Entering { #[pin] enter: EF },
        Live { resource: R },
        Exiting { #[pin] exit: XF },
        Done,
    }
}

pin_project! {
    pub(crate) struct Cell<EF, R, X, XF> {
        below: Option<OwnedCell>,
        meta: Meta,
        // Whether the enter was finished by the teardown: its caller is gone.
        abandoned: bool,
        exit: Option<X>,
        #[pin]
        state: State<EF, R, XF>,
    }
}

impl<EF, R, X, XF> Cell<EF, R, X, XF> {
    pub(crate) fn new(meta: Meta, enter: EF, exit: X) -> Self {
        Cell {
            below: None,
            meta,
            abandoned: false,
            exit: Some(exit),
            state: State::Entering { enter },
        }
    }

    /// A cell that needs no entering.
    pub(crate) fn live(mut meta: Meta, resource: R, exit: X) -> Self {
        meta.opened();
        Cell {
            below: None,
            meta,
            abandoned: false,
            exit: Some(exit),
            state: State::Live { resource },
        }
    }

    /// The resource, if it is there.
    pub(crate) fn resource(self: Pin<&mut Self>) -> Option<&mut R> {
        match self.project().state.project() {
            StateProject::Live { resource } => Some(resource),
            _ => None,
        }
    }
}

/// How an enter ended that its caller awaits.
pub(crate) enum Entered<E> {
    Live,
    Failed(E),
    Panicked(Payload),
}

impl<EF, R, E, X, XF> Cell<EF, R, X, XF>
where
    EF: Future<Output = Result<R, E>>,
{
    /// Drives the enter on behalf of its caller.
    pub(crate) fn poll_enter(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Entered<E>> {
        let mut this = self.project();
        let StateProject::Entering { enter } = this.state.as_mut().project() else {
            // Only the caller's future polls it, and only until it is ready.
            unreachable!("a cell is entered once");
        };
        let ended = match poll_caught(enter, context) {
            Poll::Ready(ended) => ended,
            Poll::Pending => {
                this.meta.pending(OpenState::Acquiring);
                return Poll::Pending;
            }
        };
        Poll::Ready(match ended {
            Ok(Ok(resource)) => {
                this.state.set(State::Live { resource });
                this.meta.opened();
                Entered::Live
            }
            Ok(Err(error)) => {
                this.state.set(State::Done);
                this.meta.closed();
                Entered::Failed(error)
            }
            Err(payload) => {
                this.state.set(State::Done);
                this.meta.closed();
                Entered::Panicked(payload)
            }
        })
    }
}

impl<EF, R, E, X, XF, V> Entry for Cell<EF, R, X, XF>
where
    R: Send,
    E: Into<BoxError>,
    V: Verdict,
    EF: Future<Output = Result<R, E>> + Send,
    X: FnOnce(R, ExitCase) -> XF + Send,
    XF: Future<Output = Result<V, E>> + Send,
{
    fn id(&self) -> Id {
        self.meta.registration.id()
    }

    fn meta(self: Pin<&mut Self>) -> &mut Meta {
        self.project().meta
    }

    fn below(self: Pin<&mut Self>) -> &mut Option<OwnedCell> {
        self.project().below
    }

    fn poll_exit(self: Pin<&mut Self>, context: &mut Context<'_>, unwind: &mut Unwind) -> Poll<()> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProject::Entering { enter } => {
                    *this.abandoned = true;
                    let (polled, gave_up) = poll_abandoned(|| poll_caught(enter, context));
                    let ended = match polled {
                        Poll::Ready(ended) => ended,
                        Poll::Pending => {
                            this.meta.pending(OpenState::Acquiring);
                            return Poll::Pending;
                        }
                    };
                    match ended {
                        Ok(Ok(resource)) => this.state.set(State::Live { resource }),
                        Ok(Err(error)) => {
                            this.state.set(State::Done);
                            if !gave_up {
                                unheard(this.meta, error.into());
                            }
                        }
                        Err(payload) => {
                            this.state.set(State::Done);
                            unwind.enter_panicked(this.meta.entry.clone(), payload);
                        }
                    }
                }
                StateProject::Live { .. } => {
                    let live = this.state.as_mut().project_replace(State::Done);
                    let (StateReplace::Live { resource }, Some(exit)) = (live, this.exit.take())
                    else {
                        unreachable!("a live cell has its resource and its exit");
                    };
                    let case = match unwind.case() {
                        case if *this.abandoned && !case.is_interrupted() => ExitCase::Cancelled,
                        case => case,
                    };
                    match catch_unwind(AssertUnwindSafe(|| exit(resource, case))) {
                        Ok(exit) => this.state.set(State::Exiting { exit }),
                        Err(payload) => unwind.exited::<()>(&this.meta.entry, Err(payload)),
                    }
                }
                StateProject::Exiting { exit } => {
                    let ended = match poll_caught(exit, context) {
                        Poll::Ready(ended) => ended,
                        Poll::Pending => {
                            this.meta.pending(OpenState::Closing);
                            return Poll::Pending;
                        }
                    };
                    unwind.exited(
                        &this.meta.entry,
                        ended.map(|ended| ended.map_err(Into::into)),
                    );
                    let mut state = this.state.as_mut();
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| state.set(State::Done)))
                    {
                        unwind.exited::<()>(&this.meta.entry, Err(payload));
                    }
                }
                StateProject::Done => {
                    this.meta.closed();
                    return Poll::Ready(());
                }
            }
        }
    }

    fn is_done(self: Pin<&mut Self>) -> bool {
        matches!(self.project().state.project(), StateProject::Done)
    }

    fn clear(self: Pin<&mut Self>) -> Result<(), Payload> {
        let mut this = self.project();
        if !matches!(this.state.as_mut().project(), StateProject::Done) {
            this.meta.registration.give_up(&this.meta.entry);
        }
        catch_unwind(AssertUnwindSafe(|| {
            drop(this.exit.take());
            this.state.set(State::Done);
        }))
    }
}

/// An enter failed whose caller is gone: nobody else will hear of it.
#[cold]
fn unheard(meta: &Meta, error: BoxError) {
    emit_notice(&Notice::new(
        NoticeKind::TeardownFailed,
        Some(&meta.entry),
        Some(&Error::new(error)),
    ));
}

/// The cell of a block that has no manager of its own.
#[derive(Debug)]
pub(crate) struct Empty {
    below: Option<OwnedCell>,
    meta: Meta,
}

impl Empty {
    pub(crate) fn new(mut meta: Meta) -> Empty {
        meta.opened();
        Empty { below: None, meta }
    }
}

impl Entry for Empty {
    fn id(&self) -> Id {
        self.meta.registration.id()
    }

    fn meta(self: Pin<&mut Self>) -> &mut Meta {
        &mut self.get_mut().meta
    }

    fn below(self: Pin<&mut Self>) -> &mut Option<OwnedCell> {
        &mut self.get_mut().below
    }

    fn poll_exit(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut Unwind) -> Poll<()> {
        self.get_mut().meta.closed();
        Poll::Ready(())
    }

    fn is_done(self: Pin<&mut Self>) -> bool {
        true
    }

    fn clear(self: Pin<&mut Self>) -> Result<(), Payload> {
        self.get_mut().meta.closed();
        Ok(())
    }
}

/// A boxed cell, owned, its lifetimes erased.
///
/// It is a pointer because a `Box` would claim to be the only way to its contents each time it
/// moves, which would invalidate the `&'s mut R` lent out of the cell.
pub(crate) struct OwnedCell(NonNull<dyn Entry>);

// SAFETY: cells are `Send` (supertrait of `Entry`), and this owns one.
unsafe impl Send for OwnedCell {}

impl OwnedCell {
    /// Takes a cell over, and gives a pointer to it.
    ///
    /// # Safety
    ///
    /// What the cell borrows must live until the cell is dropped.
    pub(crate) unsafe fn new<'a, C: Entry + 'a>(cell: C) -> (OwnedCell, CellPointer<C>) {
        let pointer = NonNull::from(Box::leak(Box::new(cell)));
        let erased: NonNull<dyn Entry + 'a> = pointer;
        // SAFETY: only the lifetime changes, which the caller vouches for.
        let erased: NonNull<dyn Entry> = unsafe { std::mem::transmute(erased) };
        (OwnedCell(erased), CellPointer(pointer))
    }

    /// # Safety
    ///
    /// Nothing lent out of the cell may be in use: the body is gone.
    pub(crate) unsafe fn get(&mut self) -> Pin<&mut dyn Entry> {
        // SAFETY: the pointer is ours and valid until drop; nobody else uses the cell (caller).
        let cell = unsafe { self.0.as_mut() };
        // SAFETY: the cell is boxed, and is dropped in its box.
        unsafe { Pin::new_unchecked(cell) }
    }
}

impl Drop for OwnedCell {
    fn drop(&mut self) {
        // SAFETY: made from a leaked box in `new`, and dropped once. Frames drop cells only when
        // the body is gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl std::fmt::Debug for OwnedCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnedCell")
    }
}

/// The way to a cell of the future that enters it, and of those it lends the resource to.
pub(crate) struct CellPointer<C: ?Sized>(NonNull<C>);

// SAFETY: stands for a `&mut` to a cell, which is `Send`; see `cell` for who uses it when.
unsafe impl<C: ?Sized> Send for CellPointer<C> {}
// SAFETY: gives nothing away by shared reference: its methods are unsafe or take it by value.
unsafe impl<C: ?Sized> Sync for CellPointer<C> {}

impl<C: ?Sized> Clone for CellPointer<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: ?Sized> Copy for CellPointer<C> {}

impl<C: ?Sized> CellPointer<C> {
    pub(crate) fn new(pointer: NonNull<C>) -> Self {
        CellPointer(pointer)
    }

    pub(crate) fn as_ptr(self) -> NonNull<C> {
        self.0
    }

    /// # Safety
    ///
    /// It must be alive and used by nobody else for `'a`.
    pub(crate) unsafe fn reborrow<'a>(self) -> &'a mut C {
        // SAFETY: as the caller promises.
        unsafe { &mut *self.0.as_ptr() }
    }

    /// # Safety
    ///
    /// The cell must be alive, pinned where it is, and used by nobody else for `'a`.
    pub(crate) unsafe fn get<'a>(self) -> Pin<&'a mut C> {
        // SAFETY: as the caller promises.
        let cell = unsafe { self.reborrow() };
        // SAFETY: as the caller promises.
        unsafe { Pin::new_unchecked(cell) }
    }
}
