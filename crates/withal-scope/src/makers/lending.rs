//! A generator that lends something which borrows its own variables: the body runs inside it.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use withal_core::unwind::{Unwind, catch};
use withal_core::{BoxError, Entry, Error, ExitCase, Site};

use crate::cell::{AnyFrame, Orphan};
use crate::reaper::{Reaper, Work};
use crate::send::SendFn;

/// A type with a lifetime left open: what a lending generator lends, as in `Transaction<'_>`.
///
/// ```
/// use withal_scope::Family;
///
/// struct Transaction<'c>(&'c mut String);
/// struct Transactions;
/// impl Family for Transactions {
///     type Of<'x> = Transaction<'x>;
/// }
/// ```
pub trait Family: 'static {
    /// The type for one lifetime.
    type Of<'x>: ?Sized + Send;
}

/// Proof that [`Giver::give`] has ended on this generator.
#[must_use = "return it from the generator"]
pub struct Proof<'y>(PhantomData<fn(&'y ()) -> &'y ()>);

/// What a lending generator lends its resource to, once.
#[must_use = "a generator must give its resource exactly once"]
pub struct Giver<'y, F: Family> {
    body: &'y mut (dyn Run<F> + 'y),
    cancelled: &'y AtomicBool,
    brand: PhantomData<fn(&'y ()) -> &'y ()>,
}

/// The body as the generator sees it; `dyn`, because closures cannot be generic.
trait Run<F: Family>: Send {
    fn start<'a, 'x: 'a>(
        &'a mut self,
        resource: &'a mut F::Of<'x>,
    ) -> Pin<Box<dyn Future<Output = ExitCase> + Send + 'a>>;
}

impl<'y, F: Family> Giver<'y, F> {
    /// Runs the block's body with `resource`, and says how it ended.
    ///
    /// # Cancel safety
    ///
    /// Await it where it is called: dropping it drops the body.
    pub async fn give(self, resource: &mut F::Of<'_>) -> (ExitCase, Proof<'y>) {
        let mut body = Some(self.body.start(resource));
        let cancelled = self.cancelled;
        let case = poll_fn(move |context| {
            // Relaxed would do: it is set by the thread that then polls us. See `Lend::drop`.
            if cancelled.load(Ordering::Acquire) {
                body = None;
                return Poll::Ready(ExitCase::Cancelled);
            }
            match &mut body {
                Some(body) => body.as_mut().poll(context),
                None => Poll::Pending,
            }
        })
        .await;
        (case, Proof(PhantomData))
    }
}

struct Body<B, T> {
    /// Taken when the generator gives.
    body: Option<B>,
    unwind: Unwind,
    value: Option<T>,
}

impl<F, B, T> Run<F> for Body<B, T>
where
    F: Family,
    T: Send,
    B: for<'r, 'x> SendFn<&'r mut F::Of<'x>, Result<T, BoxError>> + Send,
{
    fn start<'a, 'x: 'a>(
        &'a mut self,
        resource: &'a mut F::Of<'x>,
    ) -> Pin<Box<dyn Future<Output = ExitCase> + Send + 'a>> {
        let body = self.body.take().expect("`give` consumes the giver");
        let Body { unwind, value, .. } = self;
        Box::pin(async move {
            let running = pin!(body.call(resource));
            *value = unwind.body(catch(running).await);
            unwind.case()
        })
    }
}

/// Runs blocks whose generator lends a family's types; made by [`lending`].
pub struct Lending<F>(PhantomData<fn() -> F>);

/// A block over a generator that lends something borrowing its own variables.
///
/// The body runs inside the generator, so `give(&mut resource)` may lend a transaction that borrows
/// a connection which is a local variable. In return everything must be `'static`: generator,
/// body, and what they capture.
///
/// # Examples
///
/// ```
/// use withal_scope::{Family, lending};
///
/// struct Connection(u32);
/// struct Transaction<'c>(&'c mut Connection);
/// struct Transactions;
/// impl Family for Transactions {
///     type Of<'x> = Transaction<'x>;
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), withal_core::Error> {
/// let rows = lending::<Transactions>()
///     .with(
///         async |g| {
///             let mut connection = Connection(1);
///             let mut transaction = Transaction(&mut connection);
///             let (case, done) = g.give(&mut transaction).await;
///             println!("{}", if case.is_succeeded() { "COMMIT" } else { "ROLLBACK" });
///             Ok::<_, std::io::Error>(done)
///         },
///         async |transaction| {
///             transaction.0.0 += 1;
///             Ok(transaction.0.0)
///         },
///     )
///     .await?;
/// assert_eq!(rows, 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "a generator does nothing until it is run with a body"]
pub fn lending<F: Family>() -> Lending<F> {
    Lending(PhantomData)
}

impl<F: Family> Lending<F> {
    /// Runs `generator`, and `body` inside it, where it gives.
    ///
    /// # Errors
    ///
    /// Everything that went wrong: the body's error first, then the generator's.
    ///
    /// # Panics
    ///
    /// A panic of the body goes on once the generator has ended.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the reaper drops the body and runs the generator to its end; its
    /// `give` answers `Cancelled`.
    #[track_caller]
    pub fn with<G, B, T, E>(
        self,
        generator: G,
        body: B,
    ) -> impl Future<Output = Result<T, Error>> + Send
    where
        T: Send + 'static,
        E: Into<BoxError> + Send + 'static,
        G: for<'y> AsyncFnOnce(Giver<'y, F>) -> Result<Proof<'y>, E>
            + for<'y> SendFn<Giver<'y, F>, Result<Proof<'y>, E>>
            + Send
            + 'static,
        B: for<'r, 'x> AsyncFnOnce(&'r mut F::Of<'x>) -> Result<T, BoxError>
            + for<'r, 'x> SendFn<&'r mut F::Of<'x>, Result<T, BoxError>>
            + Send
            + 'static,
    {
        let site = Location::caller();
        let cancelled = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&cancelled);
        Lend {
            running: Some(Box::pin(run(generator, body, flag, site))),
            cancelled,
            handover: None,
        }
    }
}

async fn run<F, G, B, T, E>(
    generator: G,
    body: B,
    cancelled: Arc<AtomicBool>,
    site: Site,
) -> (Unwind, Option<T>)
where
    F: Family,
    T: Send,
    E: Into<BoxError> + Send,
    G: for<'y> SendFn<Giver<'y, F>, Result<Proof<'y>, E>>,
    B: for<'r, 'x> SendFn<&'r mut F::Of<'x>, Result<T, BoxError>> + Send,
{
    let entry = Entry::at(std::any::type_name::<G>(), site);
    let mut body = Body {
        body: Some(body),
        unwind: Unwind::default(),
        value: None,
    };
    let ended = {
        let giver = Giver {
            body: &mut body,
            cancelled: &cancelled,
            brand: PhantomData,
        };
        catch(async move { generator.call(giver).await.map(|_proof| ()) }).await
    };
    let Body {
        body,
        mut unwind,
        value,
    } = body;
    match (body, ended) {
        (None, ended) => unwind.exited(&entry, ended.map(|ended| ended.map_err(Into::into))),
        (Some(_), Ok(Ok(()))) => {
            unreachable!("`Ok` needs the proof that only an ended `give` makes")
        }
        (Some(_), Ok(Err(error))) => unwind.enter_failed(entry, error.into()),
        (Some(_), Err(payload)) => unwind.enter_panicked(entry, payload),
    }
    (unwind, value)
}

type Running<T> = Pin<Box<dyn Future<Output = (Unwind, Option<T>)> + Send>>;

/// Where a dropped block goes, noted when it first suspends.
struct LendHandover {
    runtime: Option<Handle>,
    parent: Option<Arc<AnyFrame>>,
}

struct Lend<T: 'static> {
    running: Option<Running<T>>,
    cancelled: Arc<AtomicBool>,
    handover: Option<LendHandover>,
}

impl<T> Future for Lend<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let this = &mut *self;
        let running = this.running.as_mut().expect("polled after it was ready");
        match running.as_mut().poll(context) {
            Poll::Ready((unwind, value)) => {
                this.running = None;
                Poll::Ready(unwind.finish::<(), T>(value))
            }
            Poll::Pending => {
                let _ = this.handover.get_or_insert_with(|| LendHandover {
                    runtime: Handle::try_current().ok(),
                    parent: AnyFrame::current(),
                });
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Lend<T> {
    fn drop(&mut self) {
        // A block that never suspended is either over or was never begun.
        let (Some(running), Some(handover)) = (self.running.take(), self.handover.take()) else {
            return;
        };
        self.cancelled.store(true, Ordering::Release);
        let orphan = handover.parent.as_ref().map(Orphan::of);
        let work: Work = Box::pin(async move {
            // The generator goes before the orphan: the enclosing block waits for it.
            let _orphan = orphan;
            let (unwind, value) = running.await;
            drop(value);
            unwind.into_failures()
        });
        Reaper::global().adopt(handover.runtime, work);
    }
}

impl<F> fmt::Debug for Lending<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lending")
    }
}

impl<F: Family> fmt::Debug for Giver<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Giver")
    }
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof")
    }
}
