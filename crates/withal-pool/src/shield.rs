//! What is finished even if whoever began it leaves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use withal_core::{Error, NoticeKind};

use crate::Manager;
use crate::acquire::AcquireResult;
use crate::permit::Permit;
use crate::shared::Shared;

/// Work for the reaper; it gives what failed.
pub(crate) type Work = Pin<Box<dyn Future<Output = Option<Error>> + Send>>;

/// A future that goes on in the reaper, where it was, if it is dropped half way.
pub(crate) struct Shield<M: Manager, T: Settle<M>> {
    shared: Arc<Shared<M>>,
    /// `None` once it has ended.
    work: Option<Pin<Box<dyn Future<Output = T> + Send>>>,
}

/// What becomes of the output of a shielded future that nobody awaits.
pub(crate) trait Settle<M: Manager>: Send + 'static {
    /// Finds its place.
    fn settle(self, shared: &Shared<M>) -> impl Future<Output = ()> + Send;
}

impl<M: Manager, T: Settle<M>> Shield<M, T> {
    pub(crate) fn new(
        shared: Arc<Shared<M>>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Shield<M, T> {
        Shield {
            shared,
            work: Some(Box::pin(work)),
        }
    }
}

impl<M: Manager, T: Settle<M>> Future for Shield<M, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Out of its place meanwhile, so that nobody goes on with one that has panicked.
        let mut work = self.work.take().expect("polled after its end");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<M: Manager, T: Settle<M>> Drop for Shield<M, T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            let shared = Arc::clone(&self.shared);
            self.shared.hand_over(Box::pin(async move {
                work.await.settle(&shared).await;
                None
            }));
        }
    }
}

impl<M: Manager> Settle<M> for () {
    async fn settle(self, _: &Shared<M>) {}
}

impl<M: Manager> Settle<M> for Permit<M> {
    async fn settle(self, _: &Shared<M>) {}
}

impl<M: Manager> Settle<M> for AcquireResult<M> {
    /// A connection whose waiter has left lands idle.
    async fn settle(self, shared: &Shared<M>) {
        match self {
            Ok(out) => out.land().await,
            Err(error) => shared.note(NoticeKind::WorkedAround, error),
        }
    }
}
