//! An async manager written as one function, its resource given by value.

use std::borrow::Cow;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use withal_core::generator::{SharedSlot, Slot};
use withal_core::{AsyncContextManager, BoxError, ExitCase, Given, Yielded, Yielder};

use crate::send::SendFn;

type ArcSlot<R> = Arc<Mutex<Slot<R>>>;

/// What an async generator gives its resource to, once.
pub type AsyncYielder<'y, R> = Yielder<'y, R, ArcSlot<R>>;

/// The part of a generator that has not run yet.
type Rest<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// What an async generator's block is lent: the resource it gave.
pub type AsyncYielded<R, E> = Yielded<R, Rest<E>, ArcSlot<R>>;

/// An async generator as a manager; made by [`asynccontextmanager`].
#[must_use = "a manager does nothing until it is entered"]
pub struct AsyncGenerator<G, R, E>(G, PhantomData<fn() -> (R, E)>);

/// A manager written as one function: what stands before `give` is the enter, what stands after
/// it is the exit, and both may wait.
///
/// It gives exactly once, or returns an error before it does; anything else does not compile. What
/// follows `give` runs on every path, with the body's ending as a value: no `try`/`finally` needed.
///
/// The resource travels by value to the block and back, so this manager works in every form. To
/// lend something that borrows the generator's own variables, use [`lending`](crate::lending).
///
/// After `contextlib.asynccontextmanager`.
///
/// # Examples
///
/// ```
/// use withal_scope::{asynccontextmanager, scope};
///
/// # #[derive(Debug)] struct Connection;
/// # impl Connection {
/// #     async fn open() -> Result<Connection, std::io::Error> { Ok(Connection) }
/// #     async fn execute(&mut self, _: &str) -> Result<(), std::io::Error> { Ok(()) }
/// #     async fn close(self) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// let transaction = asynccontextmanager(async |y| {
///     let mut connection = Connection::open().await?;
///     connection.execute("BEGIN").await?;
///     let (mut connection, case, done) = y.give(connection).await;
///     let verdict = if case.is_succeeded() { "COMMIT" } else { "ROLLBACK" };
///     connection.execute(verdict).await?;
///     connection.close().await?;
///     Ok::<_, std::io::Error>(done)
/// });
/// scope(async |s| {
///     let connection = s.enter(transaction).await?;
///     connection.execute("INSERT …").await?;
///     Ok(())
/// })
/// .await
/// # }
/// ```
pub fn asynccontextmanager<G, R, E>(generator: G) -> AsyncGenerator<G, R, E>
where
    G: for<'y> AsyncFnOnce(AsyncYielder<'y, R>) -> Result<Given<'y>, E>,
{
    AsyncGenerator(generator, PhantomData)
}

impl<G, R, E> AsyncContextManager for AsyncGenerator<G, R, E>
where
    R: Send + 'static,
    E: Into<BoxError> + Send + 'static,
    G: for<'y> SendFn<AsyncYielder<'y, R>, Result<Given<'y>, E>> + Send + 'static,
{
    type Resource = AsyncYielded<R, E>;
    type Error = E;

    async fn enter(self) -> Result<AsyncYielded<R, E>, E> {
        let slot = ArcSlot::<R>::new(Mutex::new(Slot::Empty));
        let yielder = Yielder::new(Arc::clone(&slot));
        let generator = self.0;
        let mut rest: Rest<E> =
            Box::pin(async move { generator.call(yielder).await.map(|_given| ()) });
        let resource = poll_fn(|context| {
            if let Poll::Ready(ended) = rest.as_mut().poll(context) {
                let error =
                    ended.expect_err("`Ok` needs the proof that only an ended `give` makes");
                return Poll::Ready(Err(error));
            }
            match slot.replace(Slot::Out) {
                Slot::Given(resource) => Poll::Ready(Ok(resource)),
                other => {
                    drop(slot.replace(other));
                    Poll::Pending
                }
            }
        })
        .await?;
        Ok(Yielded::new(resource, slot, rest))
    }

    async fn exit(yielded: AsyncYielded<R, E>, case: ExitCase) -> Result<(), E> {
        yielded.into_rest(case).await
    }

    fn name(&self) -> Cow<'static, str> {
        std::any::type_name::<G>().into()
    }
}

impl<G, R, E> fmt::Debug for AsyncGenerator<G, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncGenerator")
    }
}
