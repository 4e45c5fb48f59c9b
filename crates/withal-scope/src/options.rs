//! Deadlines and the reaper of a block.

use std::panic::Location;
use std::time::Duration;

use withal_core::{AsyncContextManager, BoxError, Error, Verdict};

use crate::{Reaper, Scope, cell};

/// Deadlines for a block, and the reaper that takes over if its future is dropped.
///
/// Without any, exits may take as long as they like where somebody awaits them, as in Python, and
/// 30 s in the reaper.
///
/// ```
/// use std::time::Duration;
/// use withal_core::nullcontext;
/// use withal_scope::Options;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// let options = Options::new()
///     .timeout(Duration::from_secs(30))
///     .exit_timeout(Duration::from_secs(5));
/// let n = options
///     .scope(async |s| Ok(*s.enter(nullcontext(1)).await? + 1))
///     .await?;
/// assert_eq!(n, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "options do nothing until a block is run with them"]
pub struct Options {
    pub(crate) timeout: Option<Duration>,
    pub(crate) exit_timeout: Option<Duration>,
    pub(crate) teardown_timeout: Option<Duration>,
    pub(crate) reaper: Option<Reaper>,
}

impl Options {
    /// No deadlines, and the global reaper.
    pub fn new() -> Options {
        Options::default()
    }

    /// How long the body may take. When it is over the body is dropped and the exits are awaited
    /// in place, with [`ExitCase::TimedOut`](withal_core::ExitCase::TimedOut).
    pub fn timeout(mut self, limit: Duration) -> Options {
        self.timeout = Some(limit);
        self
    }

    /// How long each exit may take before it is dropped and reported; the older ones still run.
    pub fn exit_timeout(mut self, limit: Duration) -> Options {
        self.exit_timeout = Some(limit);
        self
    }

    /// How long all exits together may take. Once it is over, each exit that is not done at its
    /// first poll is dropped and reported.
    pub fn teardown_timeout(mut self, limit: Duration) -> Options {
        self.teardown_timeout = Some(limit);
        self
    }

    /// Who takes the teardown over if the block's future is dropped.
    pub fn reaper(mut self, reaper: &Reaper) -> Options {
        self.reaper = Some(reaper.clone());
        self
    }

    /// Runs [`scope`](crate::scope) with these options.
    ///
    /// # Errors
    ///
    /// As `scope`; a body that took too long fails with [`TimedOut`](withal_core::TimedOut).
    ///
    /// # Panics
    ///
    /// As `scope`; also if a deadline is set and the runtime's timer is not enabled.
    ///
    /// # Cancel safety
    ///
    /// As `scope`.
    #[track_caller]
    pub fn scope<T, B>(self, body: B) -> impl Future<Output = Result<T, Error>>
    where
        B: for<'s> AsyncFnOnce(Scope<'s>) -> Result<T, BoxError>,
    {
        cell::run_scope(self, Location::caller(), body)
    }

    /// Runs [`async_with`](crate::async_with) with these options.
    ///
    /// # Errors
    ///
    /// As `async_with`; a body that took too long fails with [`TimedOut`](withal_core::TimedOut).
    ///
    /// # Panics
    ///
    /// As `async_with`; also if a deadline is set and the runtime's timer is not enabled.
    ///
    /// # Cancel safety
    ///
    /// As `async_with`.
    #[track_caller]
    pub fn async_with<M, V, B, T>(
        self,
        manager: M,
        body: B,
    ) -> impl Future<Output = Result<V::Output<T>, Error>>
    where
        M: AsyncContextManager<V> + Send + 'static,
        M::Resource: 'static,
        M::Error: 'static,
        V: Verdict,
        B: AsyncFnOnce(&mut M::Resource) -> Result<T, BoxError>,
    {
        cell::run_with(self, manager, Location::caller(), body)
    }
}
