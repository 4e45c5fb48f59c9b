//! The nested form: one block, one manager.

use std::panic::Location;

use withal_core::{AsyncContextManager, BoxError, Error, Verdict};

use crate::{Options, Scope, cell};

/// Enters `manager`, runs `body` with its resource, and exits on every path out.
///
/// Several managers make one block as a tuple of up to eight or an array. The body's `?` takes any
/// error; the block's takes it on to `anyhow`, `Box<dyn Error + Send + Sync>` or your own type with
/// one `#[from] withal::Error`. If the manager may swallow errors ([`Flow`](withal_core::Flow)),
/// the block gives an `Option`.
///
/// # Errors
///
/// Everything that went wrong, in the order it happened: a failed enter, the body's error, a failed
/// exit.
///
/// # Panics
///
/// A panic of the body or of the exit goes on once the exit has run.
///
/// # Cancel safety
///
/// If this future is dropped, the body is dropped at once, and what is left of enter and exit runs
/// in the [`Reaper`](crate::Reaper), with
/// [`ExitCase::Cancelled`](withal_core::ExitCase::Cancelled): an enter is finished and exited, an
/// exit goes on where it was.
///
/// # Examples
///
/// ```
/// use withal_core::nullcontext;
/// use withal_scope::async_with;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// let length = async_with(nullcontext(String::from("text")), async |text| {
///     tokio::task::yield_now().await;
///     Ok(text.len())
/// })
/// .await?;
/// assert_eq!(length, 4);
/// # Ok(())
/// # }
/// ```
#[track_caller]
pub fn async_with<M, V, B, T>(
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
    cell::run_with(Options::new(), manager, Location::caller(), body)
}

/// Runs a [`scope`](crate::scope) whose body may take `limit`.
///
/// When it is over the body is dropped, and the exits are awaited in place: prefer it to
/// `tokio::time::timeout`, which can only hand them over. The exits are not bounded by it; see
/// [`Options::teardown_timeout`].
///
/// After `asyncio.timeout`.
///
/// # Errors
///
/// As `scope`; [`TimedOut`](withal_core::TimedOut) if the body took too long.
///
/// # Panics
///
/// As `scope`; also if the runtime's timer is not enabled.
///
/// # Cancel safety
///
/// As `scope`.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use withal_core::TimedOut;
/// use withal_scope::timeout;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let never = timeout(Duration::from_secs(1), async |_| Ok(std::future::pending::<()>().await));
/// assert!(never.await.unwrap_err().is::<TimedOut>());
/// # }
/// ```
#[track_caller]
pub fn timeout<T, B>(limit: std::time::Duration, body: B) -> impl Future<Output = Result<T, Error>>
where
    B: for<'s> AsyncFnOnce(Scope<'s>) -> Result<T, BoxError>,
{
    cell::run_scope(Options::new().timeout(limit), Location::caller(), body)
}
