//! Blocks whose manager borrows from the caller.

use std::panic::Location;
use std::pin::pin;

use withal_core::unwind::{Unwind, catch};
use withal_core::{AsyncContextManager, BoxError, Entry, Error, Verdict};

use crate::send::SendFn;

/// A manager whose resource can be let go at once, without waiting.
///
/// A block that borrows from its caller cannot be finished after its future is dropped: what it
/// borrows is about to end. Its last word is [`abandon`](RefContextManager::abandon). Leave a mark
/// there that the owner of what is borrowed acts on in its own exit: a connection with an
/// abandoned transaction is discarded, not returned to its pool.
pub trait RefContextManager<V: Verdict = ()>: AsyncContextManager<V> {
    /// Lets the resource go: the block's future is being dropped. It may not wait.
    fn abandon(resource: Self::Resource);
}

/// What is left of a block when it is dropped.
struct Abandon<M: RefContextManager<V>, V: Verdict>(Option<M::Resource>);

impl<M: RefContextManager<V>, V: Verdict> Drop for Abandon<M, V> {
    fn drop(&mut self) {
        if let Some(resource) = self.0.take() {
            M::abandon(resource);
        }
    }
}

/// [`async_with`](crate::async_with) for a manager that borrows: several transactions in turn on
/// one connection.
///
/// # Errors
///
/// Everything that went wrong, in the order it happened.
///
/// # Panics
///
/// A panic of the body or of the exit goes on once the exit has run.
///
/// # Cancel safety
///
/// Weaker than `async_with`: dropped in the body, the resource is
/// [abandoned](RefContextManager::abandon); dropped in enter or exit, those are cut off there.
/// Where that is not enough use [`Scope::with`](crate::Scope::with).
#[track_caller]
pub fn with_ref<M, V, B, T>(
    manager: M,
    body: B,
) -> impl Future<Output = Result<V::Output<T>, Error>> + Send
where
    M: RefContextManager<V> + Send,
    V: Verdict,
    T: Send,
    B: for<'r> AsyncFnOnce(&'r mut M::Resource) -> Result<T, BoxError>
        + for<'r> SendFn<&'r mut M::Resource, Result<T, BoxError>>
        + Send,
{
    let site = Location::caller();
    async move {
        let entry = Entry::at(manager.name(), site);
        let place = manager.place(site);
        let mut unwind = Unwind::default();
        let value = match catch(manager.enter_in(place.clone())).await {
            Ok(Ok(resource)) => {
                let mut abandon = Abandon::<M, V>(Some(resource));
                let value = match abandon.0.as_mut() {
                    Some(resource) => {
                        let running = pin!(body.call(resource));
                        unwind.body(catch(running).await)
                    }
                    None => None,
                };
                if let Some(resource) = abandon.0.take() {
                    let ended = catch(M::exit_in(resource, unwind.case(), place)).await;
                    unwind.exited(&entry, ended.map(|ended| ended.map_err(Into::into)));
                }
                value
            }
            Ok(Err(error)) => {
                unwind.enter_failed(entry, error.into());
                None
            }
            Err(payload) => {
                unwind.enter_panicked(entry, payload);
                None
            }
        };
        unwind.finish::<V, T>(value)
    }
}
