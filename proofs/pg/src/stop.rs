//! Futures that are dropped where they wait.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// Where to drop a future.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    /// When it waits for the so-manieth time, counted from 0.
    pub(crate) at: usize,
    /// So long after that: what it waits for may have come, with nobody to take it.
    pub(crate) after: Duration,
}

/// What the future gives, if it does not wait that often.
pub(crate) async fn stop<F: Future>(stop: Stop, future: F) -> Option<F::Output> {
    let mut future = Box::pin(future);
    let mut waited = 0;
    let ended = poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if waited == stop.at => Poll::Ready(None),
        Poll::Pending => {
            waited += 1;
            Poll::Pending
        }
    })
    .await;
    if ended.is_none() && !stop.after.is_zero() {
        tokio::time::sleep(stop.after).await;
    }
    ended
}
