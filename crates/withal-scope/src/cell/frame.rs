//! What a running block, its handles and its teardown share.
#![allow(unsafe_code, reason = "granted to this module; see `cell`")]

use std::cell::Cell as StdCell;
use std::ptr::{self, NonNull};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::header::Header;
#[cfg(feature = "registry")]
use super::listed::Listing;
use super::slot::{Entry, Link, Node, NodePointer, OwnedCell};
use crate::chain::{Chain, Closed};
use crate::countdown::Countdown;
use crate::registry::Id;
use crate::sync::{Mutex, lock};
use crate::{Options, Reaper};

/// A frame whose own cell's type is forgotten.
pub(crate) type AnyFrame = Frame<dyn Entry>;

/// The state of one block. Its own manager's cell lies in the same allocation.
pub(crate) struct Frame<C: Entry + ?Sized> {
    /// Cells entered in the body.
    entered: Chain<Link>,
    /// Whether nobody has a handle to enter anything with: the chain is then not looked at.
    sealed: bool,
    #[cfg(feature = "registry")]
    listing: Listing,
    /// Teardowns of dropped inner blocks: our exits wait for them.
    pub(crate) orphans: Countdown,
    /// Where to hand over to, noted when the block first suspends: before that its future cannot
    /// be dropped half way, so a block that never waits does not pay for it.
    handover: OnceLock<Handover>,
    pub(crate) settings: Settings,
    /// The block whose cells ours may borrow from: kept alive until our cells are gone.
    lexical_parent: Option<Arc<AnyFrame>>,
    /// Held from a handover until our cells are gone: the enclosing block waits for it. It lies
    /// here, not with the teardown, because a dying runtime drops teardowns in any order, while a
    /// frame is dropped only after the frames that borrow from it.
    orphan: Mutex<Option<Orphan>>,
    /// The block's own manager. Last, because it may be unsized.
    own: Node<C>,
}

// SAFETY: cells are `Send`; all else is.
unsafe impl<C: Entry + ?Sized> Send for Frame<C> {}
// SAFETY: `own` is reached only as `cell` describes, by one party at a time; all else is `Sync`.
unsafe impl<C: Entry + ?Sized> Sync for Frame<C> {}

/// The deadlines and the reaper of a block, inherited by its dependants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) exit_timeout: Option<Duration>,
    pub(crate) teardown_timeout: Option<Duration>,
    pub(crate) reaper: Option<Reaper>,
}

impl From<&Options> for Settings {
    fn from(options: &Options) -> Settings {
        Settings {
            exit_timeout: options.exit_timeout,
            teardown_timeout: options.teardown_timeout,
            reaper: options.reaper.clone(),
        }
    }
}

/// Who finishes a block whose future is dropped.
#[derive(Debug)]
pub(crate) struct Handover {
    /// The block it was opened in, unless it borrows from one. Weak, because that block may own
    /// this one: a stack is a resource of the block it is used in.
    parent: Option<Weak<AnyFrame>>,
    pub(crate) runtime: Option<Handle>,
    #[cfg(feature = "tracing")]
    pub(crate) span: tracing::Span,
}

/// Counts as a running teardown of the block it was made for, until it is dropped.
#[derive(Debug)]
pub(crate) struct Orphan(Arc<AnyFrame>);

impl Orphan {
    pub(crate) fn of(parent: &Arc<AnyFrame>) -> Orphan {
        parent.orphans.start();
        Orphan(Arc::clone(parent))
    }
}

impl Drop for Orphan {
    fn drop(&mut self) {
        self.0.orphans.finish();
    }
}

thread_local! {
    /// The innermost block whose body this thread is polling.
    static CURRENT: StdCell<Option<NonNull<AnyFrame>>> = const { StdCell::new(None) };
}

impl<C: Entry> Frame<C> {
    /// A block whose own cell is `own`, listed among those that are open.
    ///
    /// # Safety
    ///
    /// What `own` borrows must live until the frame is dropped; `lexical_parent` keeps its cells
    /// alive until then. The caller owns it until it has called `close` or `forget`.
    #[inline(always)]
    pub(crate) unsafe fn new<'a>(
        header: Header,
        own: C,
        settings: Settings,
        lexical_parent: Option<Arc<AnyFrame>>,
        sealed: bool,
    ) -> (Arc<AnyFrame>, NodePointer<C>)
    where
        C: 'a,
    {
        // Made in place: cells can be large.
        let mut frame = Arc::new_uninit();
        let empty = Arc::get_mut(&mut frame).expect("just made");
        let _ = empty.write(Frame {
            entered: Chain::default(),
            sealed,
            #[cfg(feature = "registry")]
            listing: Listing::default(),
            orphans: Countdown::default(),
            handover: OnceLock::new(),
            settings,
            lexical_parent,
            orphan: Mutex::new(None),
            own: Node::new(header, own),
        });
        // SAFETY: just written.
        let frame = unsafe { frame.assume_init() };
        let own = NodePointer::new(NonNull::from(&frame.own));
        let frame: Arc<Frame<dyn Entry + 'a>> = frame;
        // SAFETY: only the lifetime changes, which the caller vouches for.
        let frame: Arc<AnyFrame> = unsafe { std::mem::transmute(frame) };
        #[cfg(feature = "registry")]
        // SAFETY: `close` and `forget` take it off again, and they are called while the caller
        // owns it; cells are freed only after that.
        unsafe {
            frame.listing.add(pointer(&frame));
        }
        (frame, own)
    }
}

/// From the `Arc`, so that it may be turned back into one.
#[inline]
pub(super) fn pointer(frame: &Arc<AnyFrame>) -> NonNull<AnyFrame> {
    NonNull::new(Arc::as_ptr(frame).cast_mut()).expect("an `Arc` is not null")
}

impl AnyFrame {
    /// Runs `poll` with this block as the one that blocks opened meanwhile belong to.
    #[inline]
    pub(crate) fn enclosing<T>(self: &Arc<Self>, poll: impl FnOnce() -> T) -> T {
        struct Restore(Option<NonNull<AnyFrame>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(Some(pointer(self))));
        poll()
    }

    /// The block that encloses the code running now, on this thread.
    pub(crate) fn current() -> Option<Arc<AnyFrame>> {
        let current = CURRENT.get()?;
        // SAFETY: `enclosing` takes it from an `Arc` that it borrows for as long as it is set.
        Some(unsafe { share(current) })
    }

    /// The registry's id of the enclosing block.
    #[inline]
    pub(crate) fn current_id() -> Id {
        let Some(current) = CURRENT.get() else {
            return Id::default();
        };
        // SAFETY: as in `current`.
        unsafe { current.as_ref() }.id()
    }

    /// What entries of this block name as their parent in the registry.
    #[inline]
    pub(crate) fn id(&self) -> Id {
        self.own.header().record.id()
    }

    /// Notes where to hand over to, the first time the block suspends.
    pub(crate) fn suspending(&self) {
        let _ = self.handover.get_or_init(|| Handover {
            parent: match self.lexical_parent {
                Some(_) => None,
                None => AnyFrame::current().map(|parent| Arc::downgrade(&parent)),
            },
            runtime: Handle::try_current().ok(),
            #[cfg(feature = "tracing")]
            span: tracing::Span::current(),
        });
    }

    pub(crate) fn handover(&self) -> Option<&Handover> {
        self.handover.get()
    }

    /// Makes the enclosing block wait until this one's cells are gone.
    pub(crate) fn become_orphan(&self) {
        let opened_in = || self.handover()?.parent.as_ref()?.upgrade();
        if let Some(parent) = self.lexical_parent.clone().or_else(opened_in) {
            let _ = lock(&self.orphan).get_or_insert_with(|| Orphan::of(&parent));
        }
    }

    /// Registers a cell as the newest; gives it back if the block has been left.
    #[inline]
    pub(crate) fn push(&self, cell: OwnedCell) -> Result<(), OwnedCell> {
        let link = cell.into_link();
        // SAFETY: `push` calls it only before the link is in the chain.
        let set_older = |older| unsafe { Link::set_older(link, older) };
        let pushed = self.entered.push(link.as_ptr(), set_older);
        // SAFETY: the chain has not taken it.
        pushed.map_err(|Closed| unsafe { OwnedCell::from_link(link) })
    }

    /// The newest cell entered, if the block is open.
    #[inline]
    pub(super) fn newest(&self) -> *mut Link {
        match self.sealed {
            true => ptr::null_mut(),
            false => self.entered.newest(),
        }
    }

    /// From now on nothing is registered any more, and the block is not listed; its cells are
    /// freed. False if there is a newer one than `seen`.
    ///
    /// # Safety
    ///
    /// The caller leaves the block; nothing lent out of a cell is in use, and nobody has a pointer
    /// to one.
    #[inline]
    pub(super) unsafe fn close(&self, seen: *mut Link) -> bool {
        if !self.sealed && !self.entered.close(seen) {
            return false;
        }
        self.forget();
        // SAFETY: the chain was ours to close, and nobody sees it any more.
        unsafe { free(seen) };
        true
    }

    /// Takes it off the list of what is open.
    #[inline]
    pub(super) fn forget(&self) {
        #[cfg(feature = "registry")]
        self.listing.remove();
    }

    /// Whether nothing that was entered is left to exit.
    pub(crate) fn is_empty(&self) -> bool {
        let mut link = self.newest();
        while let Some(newest) = NonNull::new(link) {
            // SAFETY: links are freed by whoever leaves the block, which is the caller, or waits
            // for it: a stack's owner, or a guard.
            let (header, older) = unsafe { (Link::node(newest).header(), Link::older(newest)) };
            if !header.is_over() {
                return false;
            }
            link = older;
        }
        true
    }

    /// The block's own cell.
    #[inline]
    pub(crate) fn own(&self) -> NodePointer<dyn Entry> {
        NodePointer::new(NonNull::from(&self.own))
    }
}

#[cfg(feature = "registry")]
impl AnyFrame {
    pub(super) fn own_header(&self) -> &Header {
        self.own.header()
    }

    /// Shows `look` the cells entered, newest first.
    ///
    /// # Safety
    ///
    /// The block is not closed meanwhile.
    pub(super) unsafe fn each_entered(&self, look: &mut impl FnMut(&Header)) {
        let mut link = self.newest();
        while let Some(newest) = NonNull::new(link) {
            // SAFETY: nothing is freed before the block is closed.
            look(unsafe { Link::node(newest).header() });
            // SAFETY: as above.
            link = unsafe { Link::older(newest) };
        }
    }
}

/// Frees a chain.
///
/// # Safety
///
/// Its block is closed, or being dropped; nobody else has a pointer to any of it.
unsafe fn free(newest: *mut Link) {
    let mut link = newest;
    while let Some(newest) = NonNull::new(link) {
        // SAFETY: as the caller promises.
        link = unsafe { Link::older(newest) };
        // SAFETY: as the caller promises.
        drop(unsafe { OwnedCell::from_link(newest) });
    }
}

/// An `Arc` of a frame from a pointer to it.
///
/// # Safety
///
/// The pointer was taken from an `Arc` that is still alive.
pub(super) unsafe fn share(frame: NonNull<AnyFrame>) -> Arc<AnyFrame> {
    // SAFETY: as the caller promises.
    unsafe {
        Arc::increment_strong_count(frame.as_ptr());
    }
    // SAFETY: the count was raised for this one.
    unsafe { Arc::from_raw(frame.as_ptr()) }
}

impl<C: Entry + ?Sized> Frame<C> {
    /// No cell is left: the enclosing block need not wait any longer.
    #[inline]
    pub(crate) fn laid_to_rest(&self) {
        // Only a block that has suspended can have been handed over.
        if self.handover.get().is_some() {
            let orphan = lock(&self.orphan).take();
            drop(orphan);
        }
    }
}

impl<C: Entry + ?Sized> Drop for Frame<C> {
    /// Cells go newest first, and before the parent, in whose cells they may have borrowed.
    /// A panic in a destructor must not keep the others, so it is caught, and said.
    fn drop(&mut self) {
        let newest = self.entered.newest();
        let mut link = newest;
        while let Some(newest) = NonNull::new(link) {
            // SAFETY: the frame is being dropped: nobody else holds it.
            let (node, older) = unsafe { (Link::node(newest), Link::older(newest)) };
            // SAFETY: as above.
            unsafe { clear(node) };
            link = older;
        }
        // SAFETY: as above.
        unsafe { free(newest) };
        // SAFETY: as above; it has not moved, and will not be used again.
        unsafe { clear(NodePointer::new(NonNull::from(&mut self.own))) };
        self.laid_to_rest();
    }
}

/// Drops what is left of a cell that was never exited.
///
/// # Safety
///
/// Nobody else uses it.
unsafe fn clear<C: Entry + ?Sized>(node: NodePointer<C>) {
    // SAFETY: as the caller promises.
    let header = unsafe { node.header() };
    if !header.is_over() {
        // SAFETY: as the caller promises.
        crate::teardown::note_destructor_panic(unsafe { node.cell() }.clear(header));
    }
}

impl<C: Entry + ?Sized> std::fmt::Debug for Frame<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("id", &self.own.header().record.id())
            .finish_non_exhaustive()
    }
}
