//! What an exit stack holds.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::unwind::Unwind;
use crate::{BoxError, Entry, ExitCase, Verdict};

/// One exit, its types erased. It runs once: a second call finds it done.
pub(super) trait StackEntry {
    fn entry(&self) -> &Entry;
    fn exit(&self, unwind: &mut Unwind);
    /// Whether it has been exited ahead of the stack, so that nothing is left to do.
    fn is_done(&self) -> bool;
}

/// An exit that is a function.
pub(super) struct ExitFn<F> {
    entry: Entry,
    exit: RefCell<Option<F>>,
}

impl<F> ExitFn<F> {
    pub(super) fn new(entry: Entry, exit: F) -> ExitFn<F> {
        ExitFn {
            entry,
            exit: RefCell::new(Some(exit)),
        }
    }
}

impl<F, W, E> StackEntry for ExitFn<F>
where
    F: FnOnce(ExitCase) -> Result<W, E>,
    W: Verdict,
    E: Into<BoxError>,
{
    fn entry(&self) -> &Entry {
        &self.entry
    }

    fn exit(&self, unwind: &mut Unwind) {
        let Some(exit) = self.exit.take() else { return };
        let case = unwind.case();
        let ended = catch_unwind(AssertUnwindSafe(|| exit(case).map_err(Into::into)));
        unwind.exited(&self.entry, ended);
    }

    fn is_done(&self) -> bool {
        self.exit.borrow().is_none()
    }
}

/// What a callback may return: nothing, or a `Result` whose error joins the others.
///
/// This trait is sealed.
#[diagnostic::on_unimplemented(
    message = "a callback returns `()` or `Result<(), _>`, not `{Self}`",
    label = "end the callback with `;` or with `Ok(())`",
    note = "for an exit that may swallow errors use `push`; for a callback that waits use an `AsyncExitStack`"
)]
pub trait CallbackResult: sealed::Sealed {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), BoxError>;
}

impl CallbackResult for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> CallbackResult for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E> Sealed for Result<(), E> {}
}
