//! Parts of an enter that may be given up.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Enter {
    /// Somebody awaits it.
    Wanted,
    /// Its caller is gone; it is being finished on their behalf.
    Abandoned,
    /// As before, and a cancellable part was given up.
    GivenUp,
}

thread_local! {
    static ENTER: Cell<Enter> = const { Cell::new(Enter::Wanted) };
}

/// Polls an enter whose caller is gone. The second value says that it gave something up, so that
/// its error is no news.
pub(crate) fn poll_abandoned<T>(poll: impl FnOnce() -> T) -> (T, bool) {
    struct Restore(Enter);
    impl Drop for Restore {
        fn drop(&mut self) {
            ENTER.set(self.0);
        }
    }
    let _restore = Restore(ENTER.replace(Enter::Abandoned));
    let polled = poll();
    (polled, ENTER.get() == Enter::GivenUp)
}

/// Marks a part of an `enter` that may be given up: waiting for a permit, connecting.
///
/// An enter runs to its end even if its caller is gone, because half an acquisition cannot be
/// undone. The parts before anything is acquired can: inside `cancellable`, a future whose caller
/// is gone is dropped and gives `None`. Return an error then; nobody is waiting, and it is not
/// reported. Everything outside `cancellable` still runs to its end.
///
/// After cats-effect's `makeFull(poll => …)`.
///
/// # Cancel safety
///
/// That of `future`.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// use tokio::sync::{OwnedSemaphorePermit, Semaphore};
/// use withal_core::{AsyncContextManager, BoxError, ExitCase};
/// use withal_scope::cancellable;
///
/// struct Permit(Arc<Semaphore>);
///
/// impl AsyncContextManager for Permit {
///     type Resource = OwnedSemaphorePermit;
///     type Error = BoxError;
///
///     async fn enter(self) -> Result<OwnedSemaphorePermit, BoxError> {
///         let permit = cancellable(self.0.acquire_owned()).await.ok_or("cancelled")?;
///         Ok(permit?)
///     }
///
///     async fn exit(_permit: OwnedSemaphorePermit, _case: ExitCase) -> Result<(), BoxError> {
///         Ok(())
///     }
/// }
/// ```
pub async fn cancellable<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| {
        if ENTER.get() != Enter::Wanted {
            ENTER.set(Enter::GivenUp);
            return Poll::Ready(None);
        }
        future.as_mut().poll(context).map(Some)
    })
    .await
}
