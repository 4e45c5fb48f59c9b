//! Async functions and streams that run inside a block.

use std::fmt;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use withal_core::{AsyncContextManager, BoxError, Error, Site, Verdict};

use crate::{AsyncExitStack, AsyncLent, async_with};

/// A function whose every call runs `function`'s future inside a block, with a fresh manager.
///
/// The call is lazy, as async functions are: nothing is entered before its future is awaited, and
/// the body is inside the block for its whole run. For more arguments pass a tuple. For named
/// functions and methods use the attribute `#[withal::with(..)]`.
///
/// After `contextlib.AsyncContextDecorator`.
///
/// # Cancel safety
///
/// The calls are as cancel safe as [`async_with`].
///
/// ```
/// use withal_core::nullcontext;
/// use withal_scope::wrap_async;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// let double = wrap_async(|| nullcontext(()), async |n: u32| Ok(n * 2));
/// assert_eq!(double(21).await?, 42);
/// assert_eq!(double(4).await?, 8);
/// # Ok(())
/// # }
/// ```
pub fn wrap_async<A, N, M, V, B, T>(
    make: N,
    function: B,
) -> impl AsyncFn(A) -> Result<V::Output<T>, Error>
where
    N: Fn() -> M,
    M: AsyncContextManager<V> + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    V: Verdict,
    B: AsyncFn(A) -> Result<T, BoxError>,
{
    async move |argument| async_with(make(), async |_| function(argument).await).await
}

/// A stream that runs inside a block; made by [`wrap_stream`].
#[must_use = "a stream does nothing until it is polled"]
pub struct WrapStream<M: AsyncContextManager, S> {
    phase: Phase<M, S>,
    site: Site,
}

type Entering<R, E> =
    Pin<Box<dyn Future<Output = (AsyncExitStack, Result<AsyncLent<R>, E>)> + Send>>;
type Leaving = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

enum Phase<M: AsyncContextManager, S> {
    /// Nothing is entered before the first poll.
    Waiting(M, Pin<Box<S>>),
    Entering(Entering<M::Resource, M::Error>, Pin<Box<S>>),
    Running(AsyncExitStack, Option<AsyncLent<M::Resource>>, Pin<Box<S>>),
    Leaving(Leaving),
    Ended,
}

/// Runs `stream` inside a block: entered at its first poll, exited at its end.
///
/// The items are `stream`'s own. A failed enter or exit is one more item, an `Err`, and the last.
/// An abandoned stream is exited in the [`Reaper`](crate::Reaper); call
/// [`close`](WrapStream::close) to wait for that, or put it in [`aclosing`](crate::aclosing).
///
/// Python's generators leave a decorated block before their first item; see
/// [cpython 125862](https://github.com/python/cpython/issues/125862).
#[track_caller]
pub fn wrap_stream<M, S, T, E>(manager: M, stream: S) -> WrapStream<M, S>
where
    M: AsyncContextManager + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    S: Stream<Item = Result<T, E>>,
    E: From<Error>,
{
    WrapStream {
        phase: Phase::Waiting(manager, Box::pin(stream)),
        site: Location::caller(),
    }
}

impl<M, S> WrapStream<M, S>
where
    M: AsyncContextManager + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
{
    /// Drops the stream and awaits the exit.
    ///
    /// # Errors
    ///
    /// What the exit failed with.
    ///
    /// # Panics
    ///
    /// If the exit panics.
    ///
    /// # Cancel safety
    ///
    /// Dropped half way, the exit goes on in the reaper.
    pub async fn close(mut self) -> Result<(), Error> {
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Waiting(..) | Phase::Ended => Ok(()),
            Phase::Leaving(leaving) => leaving.await,
            Phase::Entering(entering, stream) => {
                drop(stream);
                let (stack, entered) = entering.await;
                drop(entered);
                leave(stack).await
            }
            Phase::Running(stack, lent, stream) => {
                drop((stream, lent));
                leave(stack).await
            }
        }
    }
}

async fn leave(mut stack: AsyncExitStack) -> Result<(), Error> {
    stack.close().await
}

/// What must stay in place is boxed.
impl<M: AsyncContextManager, S> Unpin for WrapStream<M, S> {}

impl<M, S, T, E> Stream for WrapStream<M, S>
where
    M: AsyncContextManager + Send + 'static,
    M::Resource: 'static,
    M::Error: 'static,
    S: Stream<Item = Result<T, E>>,
    E: From<Error>,
{
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            match &mut this.phase {
                Phase::Waiting(..) => {
                    let Phase::Waiting(manager, stream) =
                        std::mem::replace(&mut this.phase, Phase::Ended)
                    else {
                        return Poll::Ready(None);
                    };
                    let site = this.site;
                    let entering = Box::pin(async move {
                        let mut stack = AsyncExitStack::new();
                        let entered = stack.enter_from(manager, site).await;
                        (stack, entered)
                    });
                    this.phase = Phase::Entering(entering, stream);
                }
                Phase::Entering(entering, _) => {
                    let (stack, entered) = ready!(entering.as_mut().poll(context));
                    let Phase::Entering(_, stream) =
                        std::mem::replace(&mut this.phase, Phase::Ended)
                    else {
                        return Poll::Ready(None);
                    };
                    match entered {
                        Ok(lent) => this.phase = Phase::Running(stack, Some(lent), stream),
                        Err(error) => {
                            let error = Error::new(error);
                            return Poll::Ready(Some(Err(E::from(error))));
                        }
                    }
                }
                Phase::Running(_, _, stream) => {
                    if let Some(item) = ready!(stream.as_mut().poll_next(context)) {
                        return Poll::Ready(Some(item));
                    }
                    if let Phase::Running(stack, lent, stream) =
                        std::mem::replace(&mut this.phase, Phase::Ended)
                    {
                        drop((stream, lent));
                        this.phase = Phase::Leaving(Box::pin(leave(stack)));
                    }
                }
                Phase::Leaving(leaving) => {
                    let left = ready!(leaving.as_mut().poll(context));
                    this.phase = Phase::Ended;
                    return Poll::Ready(left.err().map(|error| Err(E::from(error))));
                }
                Phase::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl<M: AsyncContextManager, S> fmt::Debug for WrapStream<M, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapStream")
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}
