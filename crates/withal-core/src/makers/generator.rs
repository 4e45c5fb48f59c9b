//! A manager written as one function: open, give, close.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::{BoxError, ContextManager, ExitCase};

/// Proof that [`Yielder::give`] was called, and that its block has ended.
///
/// Only `give` makes one, and a generator must return it: giving never, twice, or returning
/// another generator's proof does not compile.
pub struct Given<'y>(Brand<'y>);

/// Ties a proof to its generator: invariant in `'y`.
type Brand<'y> = PhantomData<fn(&'y ()) -> &'y ()>;

/// What a generator gives its resource to, once.
///
/// Sync generators get one from [`contextmanager`], async ones from `asynccontextmanager`.
#[must_use = "a generator must give its resource exactly once"]
pub struct Yielder<'y, R, S = Rc<RefCell<Slot<R>>>> {
    slot: S,
    brand: Brand<'y>,
    resource: PhantomData<fn(R) -> R>,
}

/// Where a resource is between a generator and its block.
#[doc(hidden)]
#[derive(Debug)]
pub enum Slot<R> {
    /// Not given yet, or already back in the generator's hands.
    Empty,
    /// Given; the block has not picked it up.
    Given(R),
    /// In the block.
    Out,
    /// The block has ended.
    Back(R, ExitCase),
}

/// How a generator and its block share the slot: `Rc` on one thread, `Arc` across threads.
#[doc(hidden)]
pub trait SharedSlot<R> {
    fn replace(&self, slot: Slot<R>) -> Slot<R>;
}

impl<R> SharedSlot<R> for Rc<RefCell<Slot<R>>> {
    fn replace(&self, slot: Slot<R>) -> Slot<R> {
        RefCell::replace(self, slot)
    }
}

impl<R> SharedSlot<R> for std::sync::Arc<std::sync::Mutex<Slot<R>>> {
    fn replace(&self, slot: Slot<R>) -> Slot<R> {
        let mut current = self
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::replace(&mut current, slot)
    }
}

impl<'y, R, S: SharedSlot<R>> Yielder<'y, R, S> {
    #[doc(hidden)]
    pub fn new(slot: S) -> Yielder<'y, R, S> {
        Yielder {
            slot,
            brand: PhantomData,
            resource: PhantomData,
        }
    }

    /// Lends `resource` to the block; gives it back with the block's ending when that is over.
    ///
    /// Python's `yield`, with the outcome as a value: what follows runs on every path, no
    /// `try`/`finally` needed.
    ///
    /// # Cancel safety
    ///
    /// Await it where it is called. A generator that drops it has given nothing, cannot return
    /// `Ok`, and takes the resource with it.
    pub async fn give(self, resource: R) -> (R, ExitCase, Given<'y>) {
        let _ = self.slot.replace(Slot::Given(resource));
        let retract = Retract(self.slot, PhantomData);
        let (resource, case) = poll_fn(|_| match retract.0.replace(Slot::Empty) {
            Slot::Back(resource, case) => Poll::Ready((resource, case)),
            // Only the block's exit polls a generator again, after it has put the resource back.
            other => {
                let _ = retract.0.replace(other);
                Poll::Pending
            }
        })
        .await;
        (resource, case, Given(PhantomData))
    }
}

/// Takes an offer back that the generator dropped before the block began.
struct Retract<R, S: SharedSlot<R>>(S, PhantomData<fn(R) -> R>);

impl<R, S: SharedSlot<R>> Drop for Retract<R, S> {
    fn drop(&mut self) {
        match self.0.replace(Slot::Empty) {
            offered @ Slot::Given(_) => drop(offered),
            other => {
                let _ = self.0.replace(other);
            }
        }
    }
}

/// Calls an async closure; says in a bound what `AsyncFnOnce` cannot, that its future can be
/// boxed.
#[doc(hidden)]
pub trait GeneratorFn<'y, R, E>: FnOnce(Yielder<'y, R>) -> Self::Fut {
    type Fut: Future<Output = Result<Given<'y>, E>>;
}

impl<'y, R, E, F, Fut> GeneratorFn<'y, R, E> for F
where
    F: FnOnce(Yielder<'y, R>) -> Fut,
    Fut: Future<Output = Result<Given<'y>, E>>,
{
    type Fut = Fut;
}

/// A generator as a manager; made by [`contextmanager`].
#[must_use = "a manager does nothing until it is entered"]
pub struct Generator<'g, G, R, E>(G, Gives<'g, R, E>);

/// A generator gives an `R`, may fail with an `E`, and borrows for `'g`.
type Gives<'g, R, E> = PhantomData<fn(&'g ()) -> (R, E)>;

/// A manager written as one function: what stands before `give` is the enter, what stands after
/// it is the exit.
///
/// The closure is `async` only because that is how Rust spells a function that can pause: `give`
/// is Python's `yield`, nothing else may be awaited, and no runtime is needed. It gives exactly
/// once, or returns an error before it does; anything else does not compile.
///
/// After `contextlib.contextmanager`. For generators that wait, use `asynccontextmanager`.
///
/// # Panics
///
/// If the closure awaits something other than `give` that is not ready at once.
///
/// # Examples
///
/// ```
/// use withal_core::{contextmanager, with};
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let tag = contextmanager(async |y| {
///     let html = String::from("<p>");
///     let (mut html, case, done) = y.give(html).await;
///     html.push_str("</p>");
///     assert_eq!(html, "<p>hello</p>");
///     assert!(case.is_succeeded());
///     Ok::<_, std::fmt::Error>(done)
/// });
/// with(tag, |html| Ok(html.push_str("hello")))?;
/// # Ok(())
/// # }
/// ```
pub fn contextmanager<'g, G, R, E>(generator: G) -> Generator<'g, G, R, E>
where
    G: for<'y> AsyncFnOnce(Yielder<'y, R>) -> Result<Given<'y>, E> + 'g,
{
    Generator(generator, PhantomData)
}

/// What a generator's block is lent: the resource it gave.
pub struct Yielded<R, Rest, S = Rc<RefCell<Slot<R>>>> {
    resource: R,
    slot: S,
    rest: Rest,
}

impl<R, Rest, S: SharedSlot<R>> Yielded<R, Rest, S> {
    #[doc(hidden)]
    pub fn new(resource: R, slot: S, rest: Rest) -> Self {
        Yielded {
            resource,
            slot,
            rest,
        }
    }

    /// Gives the resource back to the generator, whose rest is then to be run.
    #[doc(hidden)]
    pub fn into_rest(self, case: ExitCase) -> Rest {
        let _ = self.slot.replace(Slot::Back(self.resource, case));
        self.rest
    }
}

/// The part of a generator that has not run yet.
type Rest<'g, E> = Pin<Box<dyn Future<Output = Result<(), E>> + 'g>>;

impl<'g, G, R, E> ContextManager for Generator<'g, G, R, E>
where
    R: 'g,
    E: Into<BoxError> + 'g,
    G: for<'y> GeneratorFn<'y, R, E> + 'g,
{
    type Resource = Yielded<R, Rest<'g, E>>;
    type Error = E;

    fn enter(self) -> Result<Self::Resource, E> {
        let slot = Rc::new(RefCell::new(Slot::Empty));
        let yielder = Yielder::new(Rc::clone(&slot));
        let generator = self.0;
        let mut rest: Rest<'g, E> = Box::pin(async move { run(generator, yielder).await });
        if let Poll::Ready(ended) = poll_once(rest.as_mut()) {
            return Err(ended.expect_err("`Ok` needs the proof that only an ended `give` makes"));
        }
        match slot.replace(Slot::Out) {
            Slot::Given(resource) => Ok(Yielded::new(resource, slot, rest)),
            _ => panic!("{NOT_GIVE}"),
        }
    }

    fn exit(yielded: Self::Resource, case: ExitCase) -> Result<(), E> {
        match poll_once(yielded.into_rest(case).as_mut()) {
            Poll::Ready(ended) => ended,
            Poll::Pending => panic!("{NOT_GIVE}"),
        }
    }

    fn name(&self) -> std::borrow::Cow<'static, str> {
        std::any::type_name::<G>().into()
    }
}

const NOT_GIVE: &str = "a sync generator awaited something other than `give`: \
                        use `asynccontextmanager` for one that waits";

async fn run<'y, G, R, E>(generator: G, yielder: Yielder<'y, R>) -> Result<(), E>
where
    G: GeneratorFn<'y, R, E>,
{
    generator(yielder).await.map(|Given(_)| ())
}

fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

impl<R, Rest, S> Deref for Yielded<R, Rest, S> {
    type Target = R;

    fn deref(&self) -> &R {
        &self.resource
    }
}

impl<R, Rest, S> DerefMut for Yielded<R, Rest, S> {
    fn deref_mut(&mut self) -> &mut R {
        &mut self.resource
    }
}

impl<R: fmt::Debug, Rest, S> fmt::Debug for Yielded<R, Rest, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Yielded").field(&self.resource).finish()
    }
}

impl fmt::Debug for Given<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Given")
    }
}

impl<R, S> fmt::Debug for Yielder<'_, R, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Yielder")
    }
}

impl<G, R, E> fmt::Debug for Generator<'_, G, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Generator")
    }
}
