//! The flat form: one block, any number of managers.

use std::panic::Location;

use withal_core::{AsyncContextManager, BoxError, ContextManager, Error, ExitCase, Verdict};

use crate::Options;
use crate::cell::{self, Lease, Scope};
use crate::makers::{Deferred, FromSync, Task, TaskManager};
use crate::registry::Kind;
use crate::send::{SendFn, SendFn2};

/// Runs `body` with a handle to enter managers on; exits them all, newest first, on every path.
///
/// The flat form of nested `async_with` blocks: no pyramid, and a number of managers known only at
/// run time. Resources are lent for the rest of the body and exited when it is over, whether it
/// returned, failed, panicked or was dropped. The body's `?` takes any error; the scope's takes it
/// on to `anyhow`, `Box<dyn Error + Send + Sync>` or your own type with one
/// `#[from] withal::Error`.
///
/// # Errors
///
/// Everything that went wrong, in the order it happened: the body's error, then failed exits.
///
/// # Panics
///
/// A panic of the body or of an exit goes on once all exits have run.
///
/// # Cancel safety
///
/// If this future is dropped, the body is dropped at once, and the exits run in the
/// [`Reaper`](crate::Reaper), in the same order, with
/// [`ExitCase::Cancelled`](withal_core::ExitCase::Cancelled). An enter that was running is finished
/// first, and exited too. An exit that was running goes on where it was. An enclosing scope's
/// exits wait for them. A future that is merely no longer polled keeps everything open.
///
/// # Examples
///
/// ```
/// use withal_core::nullcontext;
/// use withal_scope::scope;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// let total = scope(async |s| {
///     let first = s.enter(nullcontext(20)).await?;
///     let second = s.enter(nullcontext(22)).await?;
///     s.defer(async |case| Ok(println!("the body ended: {case:?}")));
///     Ok(*first + *second)
/// })
/// .await?;
/// assert_eq!(total, 42);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn scope<T, B>(body: B) -> impl Future<Output = Result<T, Error>>
where
    B: for<'s> AsyncFnOnce(Scope<'s>) -> Result<T, BoxError>,
{
    cell::run_scope(Options::new(), Location::caller(), body)
}

impl<'s> Scope<'s> {
    /// Enters `manager` and lends its resource for the rest of the body.
    ///
    /// The manager may not borrow: it has to be finished even if this body is dropped. For one
    /// that borrows a resource of this scope use [`with`](Scope::with), for one that borrows
    /// something else [`with_ref`](crate::with_ref).
    ///
    /// # Errors
    ///
    /// The manager's own error; nothing is then left to exit.
    ///
    /// # Panics
    ///
    /// If the manager's enter panics.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way (by a `select!` in the body), the enter is finished when the scope is
    /// left, and exited with `Cancelled`; parts in [`cancellable`](crate::cancellable) are given
    /// up instead.
    #[track_caller]
    pub fn enter<M>(
        self,
        manager: M,
    ) -> impl Future<Output = Result<&'s mut M::Resource, M::Error>> + Send + use<'s, M>
    where
        M: AsyncContextManager + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
    {
        self.enter_static(manager, Location::caller(), Kind::Resource)
    }

    /// Enters a sync manager, in the same order as the async ones.
    ///
    /// # Errors
    ///
    /// The manager's own error; nothing is then left to exit.
    ///
    /// # Panics
    ///
    /// If the manager's enter panics.
    #[track_caller]
    pub fn enter_context<M>(self, manager: M) -> Result<&'s mut M::Resource, M::Error>
    where
        M: ContextManager + Send + 'static,
        M::Resource: Send + 'static,
        M::Error: Send + 'static,
    {
        let site = Location::caller();
        ready_now(self.enter_static(FromSync::new(manager), site, Kind::Resource))
    }

    /// Runs a nested block whose manager may borrow what this scope has lent: a transaction on a
    /// connection.
    ///
    /// The body gets a handle of its own level and the resource. What it returns may not contain
    /// either. If the manager may swallow errors ([`Flow`](withal_core::Flow)), the block gives an
    /// `Option`.
    ///
    /// The lent resource stays borrowed for the rest of the outer body, because a block dropped by
    /// a `select!` is still being torn down. For several blocks in turn on one resource use
    /// [`with_ref`](crate::with_ref).
    ///
    /// # Errors
    ///
    /// Everything that went wrong, as [`scope`].
    ///
    /// # Panics
    ///
    /// As [`scope`].
    ///
    /// # Cancel safety
    ///
    /// As [`scope`]; the outer scope's exits wait for this block's.
    #[track_caller]
    pub fn with<'b, M, V, B, T>(
        self,
        manager: M,
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
        cell::run_with_dependant(self, manager, Location::caller(), body)
    }

    /// [`with`](Scope::with) for a body that stays on its thread: one that holds an `Rc` across an
    /// `.await`, in `block_on` or a `LocalSet`.
    ///
    /// # Errors
    ///
    /// As `with`.
    ///
    /// # Panics
    ///
    /// As `with`.
    ///
    /// # Cancel safety
    ///
    /// As `with`.
    #[track_caller]
    pub fn with_local<M, V, B, T>(
        self,
        manager: M,
        body: B,
    ) -> impl Future<Output = Result<V::Output<T>, Error>> + use<'s, M, V, B, T>
    where
        M: AsyncContextManager<V> + Send + 's,
        M::Resource: 's,
        M::Error: 's,
        V: Verdict,
        B: for<'t> AsyncFnOnce(Scope<'t>, &'t mut M::Resource) -> Result<T, BoxError>,
    {
        cell::run_with_local_dependant(self, manager, Location::caller(), body)
    }

    /// [`enter`](Scope::enter), with the right to exit the resource ahead of the scope.
    ///
    /// # Errors
    ///
    /// As `enter`.
    ///
    /// # Panics
    ///
    /// As `enter`.
    ///
    /// # Cancel safety
    ///
    /// As `enter`.
    ///
    /// # Examples
    ///
    /// ```
    /// # use withal_core::nullcontext;
    /// # use withal_scope::scope;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), withal_core::Error> {
    /// scope(async |s| {
    ///     let upload = s.lease(nullcontext("file")).await?;
    ///     println!("{}", *upload);
    ///     upload.close().await?; // closed here, not at the end
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    #[track_caller]
    pub fn lease<M>(
        self,
        manager: M,
    ) -> impl Future<Output = Result<Lease<'s, M::Resource>, M::Error>> + Send + use<'s, M>
    where
        M: AsyncContextManager + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
    {
        self.lease_static(manager, Location::caller(), Kind::Resource)
    }

    /// Registers an exit without a resource.
    ///
    /// It may not borrow from the environment; move what it needs into it.
    #[track_caller]
    pub fn defer<X>(self, exit: X)
    where
        X: AsyncFnOnce(ExitCase) -> Result<(), BoxError>
            + SendFn<ExitCase, Result<(), BoxError>, Future: 'static>
            + Send
            + 'static,
    {
        let site = Location::caller();
        let exit = self.enter_static(Deferred::<_, (), BoxError>::new(exit), site, Kind::Callback);
        // Only registering: an exit without a resource has nothing to acquire.
        drop(ready_now(exit));
    }

    /// Starts a task that ends with this scope.
    ///
    /// When the scope is left the task is asked to stop ([`stop_requested`](crate::stop_requested)),
    /// given a grace period, aborted, and awaited. An error or panic of the task that nobody took
    /// with [`Task::join`] is an error of the scope.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Examples
    ///
    /// ```
    /// # use withal_scope::{scope, stop_requested};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), withal_core::Error> {
    /// scope(async |s| {
    ///     let _heartbeat = s.spawn(async {
    ///         stop_requested().await; // or `select!` on it beside the work
    ///         Ok(println!("last heartbeat sent"))
    ///     });
    ///     let answer = s.spawn(async { Ok(42) });
    ///     assert_eq!(answer.join().await?, 42);
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    #[track_caller]
    pub fn spawn<F, T>(self, task: F) -> &'s mut Task<T>
    where
        F: Future<Output = Result<T, BoxError>> + Send + 'static,
        T: Send + 'static,
    {
        let site = Location::caller();
        let manager = TaskManager::new(task, self.frame());
        match ready_now(self.enter_static(manager, site, Kind::Task)) {
            Ok(task) => task,
            Err(error) => unreachable!("starting a task does not fail: {error}"),
        }
    }
}

/// The output of a future that never waits.
pub(crate) fn ready_now<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => unreachable!("the enter of a sync manager does not wait"),
    }
}
