//! What a running block, its handles and its teardown share.
#![allow(unsafe_code, reason = "granted to this module; see `cell`")]

use std::cell::{Cell as StdCell, UnsafeCell};
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use tokio::runtime::Handle;

use super::slot::{CellPointer, Entry, OwnedCell};
use crate::countdown::Countdown;
use crate::registry::Id;
use crate::sync::{Mutex, get_mut, lock};
use crate::{Options, Reaper};

/// A frame whose own cell's type is forgotten.
pub(crate) type AnyFrame = Frame<dyn Entry>;

/// The state of one block. Its own manager's cell lies in the same allocation.
pub(crate) struct Frame<C: Entry + ?Sized> {
    /// Cells entered in the body, newest first.
    entered: Mutex<Entered>,
    /// Whether nobody has a handle to enter anything with: the list is then not looked at.
    sealed: bool,
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
    /// What entries of this block name as their parent in the registry.
    pub(crate) id: Id,
    /// The block's own manager. Last, because it may be unsized.
    own: UnsafeCell<C>,
}

// SAFETY: cells are `Send`; all else is.
unsafe impl<C: Entry + ?Sized> Send for Frame<C> {}
// SAFETY: `own` is reached only as `cell` describes, by one party at a time; all else is `Sync`.
unsafe impl<C: Entry + ?Sized> Sync for Frame<C> {}

/// The cells of a body, until the block has been left.
enum Entered {
    Open(Option<OwnedCell>),
    /// Every exit has run; what is registered now comes too late to be one of them.
    Closed,
}

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
    static CURRENT: StdCell<Option<CellPointer<AnyFrame>>> = const { StdCell::new(None) };
}

impl<C: Entry> Frame<C> {
    /// A block whose own cell is `own`.
    ///
    /// # Safety
    ///
    /// What `own` borrows must live until the frame is dropped; `lexical_parent` keeps its cells
    /// alive until then.
    pub(crate) unsafe fn new<'a>(
        own: C,
        settings: Settings,
        lexical_parent: Option<Arc<AnyFrame>>,
        sealed: bool,
    ) -> (Arc<AnyFrame>, CellPointer<C>)
    where
        C: 'a,
    {
        let frame = Arc::new(Frame {
            entered: Mutex::new(Entered::Open(None)),
            sealed,
            orphans: Countdown::default(),
            handover: OnceLock::new(),
            settings,
            lexical_parent,
            orphan: Mutex::new(None),
            id: own.id(),
            own: UnsafeCell::new(own),
        });
        let own = CellPointer::new(
            NonNull::new(frame.own.get()).expect("a field of an allocation is not null"),
        );
        let frame: Arc<Frame<dyn Entry + 'a>> = frame;
        // SAFETY: only the lifetime changes, which the caller vouches for.
        let frame: Arc<AnyFrame> = unsafe { std::mem::transmute(frame) };
        (frame, own)
    }
}

impl AnyFrame {
    /// Runs `poll` with this block as the one that blocks opened meanwhile belong to.
    pub(crate) fn enclosing<T>(self: &Arc<Self>, poll: impl FnOnce() -> T) -> T {
        struct Restore(Option<CellPointer<AnyFrame>>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        // From the `Arc`, so that it may be turned back into one.
        let frame = NonNull::new(Arc::as_ptr(self).cast_mut());
        let _restore = Restore(CURRENT.replace(frame.map(CellPointer::new)));
        poll()
    }

    /// The block that encloses the code running now, on this thread.
    pub(crate) fn current() -> Option<Arc<AnyFrame>> {
        let current = CURRENT.get()?.as_ptr();
        // SAFETY: `enclosing` takes it from an `Arc` that it borrows for as long as it is set.
        Some(unsafe { share(current) })
    }

    /// The registry's id of the enclosing block.
    pub(crate) fn current_id() -> Id {
        let Some(current) = CURRENT.get() else {
            return Id::default();
        };
        // SAFETY: as in `current`; `id` is never written after construction.
        unsafe { (*current.as_ptr().as_ptr()).id }
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
    pub(crate) fn push(&self, mut cell: OwnedCell) -> Result<(), OwnedCell> {
        let mut entered = lock(&self.entered);
        match &mut *entered {
            Entered::Closed => Err(cell),
            Entered::Open(newest) => {
                // SAFETY: the cell is new: nothing has been lent out of it.
                *unsafe { cell.get() }.below() = newest.take();
                *newest = Some(cell);
                Ok(())
            }
        }
    }

    /// Takes the newest cell off the list.
    ///
    /// # Safety
    ///
    /// The body is gone.
    pub(crate) unsafe fn pop(&self) -> Option<OwnedCell> {
        if self.sealed {
            return None;
        }
        let mut entered = lock(&self.entered);
        let Entered::Open(newest) = &mut *entered else {
            return None;
        };
        let mut cell = newest.take()?;
        // SAFETY: as the caller promises.
        *newest = unsafe { cell.get() }.below().take();
        Some(cell)
    }

    /// From now on nothing is registered any more; false if something still is.
    pub(crate) fn close(&self) -> bool {
        if self.sealed {
            return true;
        }
        let mut entered = lock(&self.entered);
        match &mut *entered {
            Entered::Open(Some(_)) => false,
            entered => {
                *entered = Entered::Closed;
                true
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        matches!(&*lock(&self.entered), Entered::Open(None) | Entered::Closed)
    }

    /// The block's own cell.
    ///
    /// # Safety
    ///
    /// The body is gone, and the caller is the only one who leaves the block.
    #[expect(
        clippy::mut_from_ref,
        reason = "out of an `UnsafeCell`, as the caller promises"
    )]
    pub(crate) unsafe fn own(&self) -> Pin<&mut dyn Entry> {
        // SAFETY: nobody else uses it, as the caller promises; it never moves out of the `Arc`.
        unsafe { Pin::new_unchecked(&mut *self.own.get()) }
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
        let mut next = match get_mut(&mut self.entered) {
            Entered::Open(newest) => newest.take(),
            Entered::Closed => None,
        };
        while let Some(mut cell) = next {
            // SAFETY: the frame is being dropped: nobody else holds it.
            next = unsafe { cell.get() }.below().take();
            // SAFETY: as above.
            let cleared = unsafe { cell.get() }.clear();
            crate::teardown::note_destructor_panic(cleared);
        }
        // SAFETY: it has not moved, and will not be used again.
        let mut own = unsafe { Pin::new_unchecked(self.own.get_mut()) };
        if !own.as_mut().is_done() {
            crate::teardown::note_destructor_panic(own.clear());
        }
        self.laid_to_rest();
    }
}

impl<C: Entry + ?Sized> std::fmt::Debug for Frame<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frame")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
