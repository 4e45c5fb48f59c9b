//! One entered manager: a state machine from enter over resource to exit.
#![allow(unsafe_code, reason = "granted to this module; see `cell`")]

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use withal_core::unwind::{Payload, Unwind, poll_caught};
use withal_core::{BoxError, Error, ExitCase, Notice, NoticeKind, Verdict, emit_notice};

use super::header::{Header, State as Shown};
use crate::cancellable::poll_abandoned;

/// A cell with its types erased, as a frame and its exits see it.
///
/// All methods take it by `Pin<&mut Self>`: a shared reference to the whole cell would claim to
/// read the future in it, which may hold references into itself.
pub(crate) trait Entry: Send {
    /// Finishes an interrupted enter, then runs the exit. What comes of it goes into `unwind`.
    fn poll_exit(
        self: Pin<&mut Self>,
        header: &Header,
        context: &mut Context<'_>,
        unwind: &mut Unwind,
    ) -> Poll<()>;

    /// Drops what is left without running it; a panic in that is given back.
    fn clear(self: Pin<&mut Self>, header: &Header) -> Result<(), Payload>;
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
        // Whether the enter was finished by the teardown: its caller is gone.
        abandoned: bool,
        // Whether it has given up something then: its error is no news.
        gave_up: bool,
        exit: Option<X>,
        #[pin]
        state: State<EF, R, XF>,
    }
}

impl<EF, R, X, XF> Cell<EF, R, X, XF> {
    #[inline]
    pub(crate) fn new(enter: EF, exit: X) -> Self {
        Cell {
            abandoned: false,
            gave_up: false,
            exit: Some(exit),
            state: State::Entering { enter },
        }
    }

    /// A cell that needs no entering.
    pub(crate) fn live(resource: R, exit: X) -> Self {
        Cell {
            abandoned: false,
            gave_up: false,
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
    pub(crate) fn poll_enter(
        self: Pin<&mut Self>,
        header: &Header,
        context: &mut Context<'_>,
    ) -> Poll<Entered<E>> {
        let mut this = self.project();
        let StateProject::Entering { enter } = this.state.as_mut().project() else {
            // Only the caller's future polls it, and only until it is ready.
            unreachable!("a cell is entered once");
        };
        let ended = match poll_caught(enter, context) {
            Poll::Ready(ended) => ended,
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(match ended {
            Ok(Ok(resource)) => {
                this.state.set(State::Live { resource });
                header.set(Shown::Live);
                Entered::Live
            }
            Ok(Err(error)) => {
                this.state.set(State::Done);
                header.set(Shown::Over);
                Entered::Failed(error)
            }
            Err(payload) => {
                this.state.set(State::Done);
                header.set(Shown::Over);
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
    fn poll_exit(
        self: Pin<&mut Self>,
        header: &Header,
        context: &mut Context<'_>,
        unwind: &mut Unwind,
    ) -> Poll<()> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProject::Entering { enter } => {
                    *this.abandoned = true;
                    let (polled, gave_up) = poll_abandoned(|| poll_caught(enter, context));
                    *this.gave_up |= gave_up;
                    let ended = match polled {
                        Poll::Ready(ended) => ended,
                        Poll::Pending => return Poll::Pending,
                    };
                    match ended {
                        Ok(Ok(resource)) => this.state.set(State::Live { resource }),
                        Ok(Err(error)) => {
                            this.state.set(State::Done);
                            if !*this.gave_up {
                                unheard(header, error.into());
                            }
                        }
                        Err(payload) => {
                            this.state.set(State::Done);
                            unwind.enter_panicked(header.entry.clone(), payload);
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
                    header.set(Shown::Exiting);
                    match catch_unwind(AssertUnwindSafe(|| exit(resource, case))) {
                        Ok(exit) => this.state.set(State::Exiting { exit }),
                        Err(payload) => unwind.exited::<()>(&header.entry, Err(payload)),
                    }
                }
                StateProject::Exiting { exit } => {
                    let ended = match poll_caught(exit, context) {
                        Poll::Ready(ended) => ended,
                        Poll::Pending => return Poll::Pending,
                    };
                    unwind.exited(&header.entry, ended.map(|ended| ended.map_err(Into::into)));
                    let mut state = this.state.as_mut();
                    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| state.set(State::Done)))
                    {
                        unwind.exited::<()>(&header.entry, Err(payload));
                    }
                }
                StateProject::Done => {
                    header.set(Shown::Over);
                    return Poll::Ready(());
                }
            }
        }
    }

    fn clear(self: Pin<&mut Self>, header: &Header) -> Result<(), Payload> {
        let mut this = self.project();
        if !matches!(this.state.as_mut().project(), StateProject::Done) {
            header.abandon();
        }
        catch_unwind(AssertUnwindSafe(|| {
            drop(this.exit.take());
            this.state.set(State::Done);
        }))
    }
}

/// An enter failed whose caller is gone: nobody else will hear of it.
#[cold]
fn unheard(header: &Header, error: BoxError) {
    emit_notice(&Notice::new(
        NoticeKind::TeardownFailed,
        Some(&header.entry),
        Some(&Error::new(error)),
    ));
}

/// The cell of a block that has no manager of its own.
#[derive(Debug)]
pub(crate) struct Empty;

impl Entry for Empty {
    fn poll_exit(
        self: Pin<&mut Self>,
        header: &Header,
        _: &mut Context<'_>,
        _: &mut Unwind,
    ) -> Poll<()> {
        header.set(Shown::Over);
        Poll::Ready(())
    }

    fn clear(self: Pin<&mut Self>, header: &Header) -> Result<(), Payload> {
        header.set(Shown::Over);
        Ok(())
    }
}

/// A cell with its header, in a frame or in an [`OwnedCell`].
pub(crate) struct Node<C: ?Sized> {
    header: Header,
    cell: UnsafeCell<C>,
}

impl<C> Node<C> {
    #[inline]
    pub(crate) fn new(header: Header, cell: C) -> Node<C> {
        Node {
            header,
            cell: UnsafeCell::new(cell),
        }
    }
}

impl<C: ?Sized> Node<C> {
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }
}

/// The way to a node of the future that enters it, of its exits, and of those it lends to.
pub(crate) struct NodePointer<C: ?Sized>(NonNull<Node<C>>);

// SAFETY: stands for a `&mut` to a cell, which is `Send`; see `cell` for who uses it when.
unsafe impl<C: ?Sized> Send for NodePointer<C> {}
// SAFETY: gives nothing away by shared reference: its methods are unsafe or take it by value.
unsafe impl<C: ?Sized> Sync for NodePointer<C> {}

impl<C: ?Sized> Clone for NodePointer<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: ?Sized> Copy for NodePointer<C> {}

impl<C: ?Sized> NodePointer<C> {
    #[inline]
    pub(crate) fn new(node: NonNull<Node<C>>) -> Self {
        NodePointer(node)
    }

    /// # Safety
    ///
    /// The node must be alive for `'a`.
    #[inline]
    pub(crate) unsafe fn header<'a>(self) -> &'a Header {
        // SAFETY: as the caller promises; the cell beside it is not touched.
        unsafe { &(*self.0.as_ptr()).header }
    }

    /// # Safety
    ///
    /// The node must be alive, the cell pinned where it is, and used by nobody else for `'a`.
    #[inline]
    pub(crate) unsafe fn cell<'a>(self) -> Pin<&'a mut C> {
        // SAFETY: the node is alive (caller).
        let cell = unsafe { UnsafeCell::raw_get(&raw const (*self.0.as_ptr()).cell) };
        // SAFETY: as the caller promises.
        unsafe { Pin::new_unchecked(&mut *cell) }
    }
}

impl<'a, C: Entry + 'a> NodePointer<C> {
    #[inline]
    pub(crate) fn erase(self) -> NodePointer<dyn Entry + 'a> {
        NodePointer(self.0)
    }
}

/// What links the cells of a body: at the start of each box, so that it can be found from it.
pub(crate) struct Link {
    /// The one entered before it; null for the first. Not written once it is in a chain.
    older: *mut Link,
    boxed: NonNull<Boxed<dyn Entry>>,
}

/// A cell in a box of its own.
#[repr(C)]
struct Boxed<C: ?Sized> {
    link: Link,
    node: Node<C>,
}

/// A boxed cell, owned, its lifetimes erased.
///
/// It is a pointer because a `Box` would claim to be the only way to its contents each time it
/// moves, which would invalidate the `&'s mut R` lent out of the cell.
pub(crate) struct OwnedCell(NonNull<Link>);

// SAFETY: cells are `Send` (supertrait of `Entry`), and this owns one.
unsafe impl Send for OwnedCell {}

impl OwnedCell {
    /// Takes a cell over, and gives a pointer to it.
    ///
    /// # Safety
    ///
    /// What the cell borrows must live until the cell is dropped.
    pub(crate) unsafe fn new<'a, C: Entry + 'a>(
        header: Header,
        cell: C,
    ) -> (OwnedCell, NodePointer<C>) {
        let boxed = Box::new(Boxed {
            link: Link {
                older: ptr::null_mut(),
                // SAFETY: only the lifetime changes, of a pointer that leads nowhere.
                boxed: unsafe { erase(NonNull::<Boxed<C>>::dangling()) },
            },
            node: Node::new(header, cell),
        });
        let boxed = NonNull::from(Box::leak(boxed));
        let pointer = boxed.as_ptr();
        // SAFETY: just allocated, and ours alone; the caller vouches for the lifetime.
        unsafe { (*pointer).link.boxed = erase(boxed) };
        // SAFETY: a field of what is allocated.
        let node = unsafe { NonNull::new_unchecked(&raw mut (*pointer).node) };
        // The link is the first field, and the pointer may be used for the whole box.
        (OwnedCell(boxed.cast()), NodePointer::new(node))
    }

    /// Gives it up to a chain: whoever closes that makes it one again.
    pub(super) fn into_link(self) -> NonNull<Link> {
        std::mem::ManuallyDrop::new(self).0
    }

    /// # Safety
    ///
    /// It came from `into_link`, and nobody else owns it now.
    pub(super) unsafe fn from_link(link: NonNull<Link>) -> OwnedCell {
        OwnedCell(link)
    }
}

/// # Safety
///
/// What the cell borrows must live until it is dropped.
unsafe fn erase<'a, C: Entry + 'a>(boxed: NonNull<Boxed<C>>) -> NonNull<Boxed<dyn Entry>> {
    let erased: NonNull<Boxed<dyn Entry + 'a>> = boxed;
    // SAFETY: only the lifetime changes, which the caller vouches for.
    unsafe { std::mem::transmute(erased) }
}

impl Drop for OwnedCell {
    fn drop(&mut self) {
        // SAFETY: made from a leaked box in `new`.
        let boxed = unsafe { self.0.as_ref() }.boxed;
        // SAFETY: as above, and dropped once. Frames drop cells only when the body is gone.
        drop(unsafe { Box::from_raw(boxed.as_ptr()) });
    }
}

impl std::fmt::Debug for OwnedCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnedCell")
    }
}

impl Link {
    /// # Safety
    ///
    /// The link is not in a chain yet, and nobody else uses it.
    #[inline]
    pub(super) unsafe fn set_older(link: NonNull<Link>, older: *mut Link) {
        // SAFETY: as the caller promises.
        unsafe { (*link.as_ptr()).older = older };
    }

    /// # Safety
    ///
    /// The link is in a chain, and stays there meanwhile.
    #[inline]
    pub(super) unsafe fn older(link: NonNull<Link>) -> *mut Link {
        // SAFETY: as the caller promises; not written any more.
        unsafe { (*link.as_ptr()).older }
    }

    /// # Safety
    ///
    /// As for `older`.
    #[inline]
    pub(super) unsafe fn node(link: NonNull<Link>) -> NodePointer<dyn Entry> {
        // SAFETY: as the caller promises; not written any more.
        let boxed = unsafe { (*link.as_ptr()).boxed };
        // SAFETY: a field of what is alive.
        NodePointer::new(unsafe { NonNull::new_unchecked(&raw mut (*boxed.as_ptr()).node) })
    }
}

/// The way to a resource in its cell.
pub(crate) struct ResourcePointer<R: ?Sized>(NonNull<R>);

// SAFETY: stands for a `&mut R`, and `R` comes out of a cell, which is `Send`.
unsafe impl<R: ?Sized> Send for ResourcePointer<R> {}
// SAFETY: gives nothing away by shared reference: its methods are unsafe or take it by value.
unsafe impl<R: ?Sized> Sync for ResourcePointer<R> {}

impl<R: ?Sized> Clone for ResourcePointer<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: ?Sized> Copy for ResourcePointer<R> {}

impl<R: ?Sized> ResourcePointer<R> {
    pub(crate) fn new(resource: NonNull<R>) -> Self {
        ResourcePointer(resource)
    }

    pub(crate) fn as_ptr(self) -> NonNull<R> {
        self.0
    }

    /// # Safety
    ///
    /// It must be alive and used by nobody else for `'a`.
    #[inline]
    pub(crate) unsafe fn reborrow<'a>(self) -> &'a mut R {
        // SAFETY: as the caller promises.
        unsafe { &mut *self.0.as_ptr() }
    }
}
