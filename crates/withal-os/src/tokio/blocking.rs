//! Work for the runtime's blocking threads.

use std::borrow::Cow;
use std::fmt;
use std::panic::resume_unwind;

use tokio::task::{JoinError, spawn_blocking};
use withal_core::{AsyncContextManager, BoxError, ContextManager, ExitCase};

/// Makes an async manager of one that blocks: its enter and exit run on a blocking thread.
///
/// Use it for [`TempDir`](crate::TempDir), whose removal may take long, for
/// [`AtomicDir`](crate::AtomicDir), or for any manager of your own whose resource may change
/// threads.
///
/// # Cancel safety
///
/// Enter and exit run to their end once they have begun, whoever waits for them. Where the runtime
/// is shut down before they begin, the resource is dropped.
///
/// # Examples
///
/// ```
/// use withal_core::{AsyncContextManager, ExitCase};
/// use withal_os::TempDir;
/// use withal_os::tokio::blocking;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::BoxError> {
/// // In a scope: `let directory = s.enter(blocking(TempDir::new())).await?;`
/// let directory = blocking(TempDir::new()).enter().await?;
/// assert!(directory.path().is_dir());
/// withal_os::tokio::Blocking::<TempDir>::exit(directory, ExitCase::Succeeded).await?;
/// # Ok(())
/// # }
/// ```
pub fn blocking<M>(manager: M) -> Blocking<M>
where
    M: ContextManager + Send + 'static,
    M::Resource: Send + 'static,
    M::Error: Send + 'static,
{
    Blocking { manager }
}

/// A manager whose enter and exit run on a blocking thread; made by [`blocking()`].
#[derive(Clone)]
#[must_use = "nothing is entered before a block is entered with it"]
pub struct Blocking<M> {
    manager: M,
}

impl<M> fmt::Debug for Blocking<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").finish_non_exhaustive()
    }
}

impl<M> AsyncContextManager for Blocking<M>
where
    M: ContextManager + Send + 'static,
    M::Resource: Send + 'static,
    M::Error: Send + 'static,
{
    type Resource = M::Resource;
    type Error = BoxError;

    async fn enter(self) -> Result<M::Resource, BoxError> {
        run(move || self.manager.enter()).await?.map_err(Into::into)
    }

    async fn exit(resource: M::Resource, case: ExitCase) -> Result<(), BoxError> {
        run(move || M::exit(resource, case))
            .await?
            .map_err(Into::into)
    }

    fn name(&self) -> Cow<'static, str> {
        self.manager.name()
    }
}

/// Runs `work` on a blocking thread, to its end even if nobody waits for it. A panic goes on here.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RuntimeGone> {
    spawn_blocking(work).await.map_err(RuntimeGone::of)
}

/// The runtime was shut down before the work began.
#[derive(Debug)]
pub(crate) struct RuntimeGone;

impl RuntimeGone {
    /// Why a blocking task was not joined; a panic goes on.
    pub(crate) fn of(error: JoinError) -> RuntimeGone {
        match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            Err(_cancelled) => RuntimeGone,
        }
    }
}

impl fmt::Display for RuntimeGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the async runtime was shut down first")
    }
}

impl std::error::Error for RuntimeGone {}
