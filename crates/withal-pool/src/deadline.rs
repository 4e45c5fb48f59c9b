//! Steps of the user's code: with a deadline, and panics caught.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Sleep, sleep};
use withal_core::unwind::{Payload, poll_caught};
use withal_core::{BoxError, Panicked, TimedOut};

/// What became of a step that did not succeed.
pub(crate) enum Trouble<E> {
    Failed(E),
    TimedOut(Duration),
    Panicked(Payload),
}

impl<E: Into<BoxError>> Trouble<E> {
    /// The error to tell of it, and the panic to go on with.
    pub(crate) fn split(self) -> (BoxError, Option<Payload>) {
        match self {
            Trouble::Failed(error) => (error.into(), None),
            Trouble::TimedOut(limit) => (Box::new(TimedOut::new(limit)), None),
            Trouble::Panicked(payload) => (Box::new(Panicked::new(&*payload)), Some(payload)),
        }
    }
}

/// Goes on with a panic, if there was one.
pub(crate) fn go_on(panic: Option<Payload>) {
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
}

/// Runs `step`, for `limit` at most. The timer is made, and `on_wait` called, only if it waits.
pub(crate) async fn attempt<T, E>(
    limit: Option<Duration>,
    step: impl Future<Output = Result<T, E>>,
    on_wait: impl FnOnce(),
) -> Result<T, Trouble<E>> {
    let mut step = pin!(step);
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let mut on_wait = Some(on_wait);
    poll_fn(move |context| {
        if let Poll::Ready(ended) = poll_caught(step.as_mut(), context) {
            return Poll::Ready(match ended {
                Ok(result) => result.map_err(Trouble::Failed),
                Err(payload) => Err(Trouble::Panicked(payload)),
            });
        }
        if let Some(on_wait) = on_wait.take() {
            on_wait();
            timer = limit.map(sleep).map(Box::pin);
        }
        let Some((timer, limit)) = timer.as_mut().zip(limit) else {
            return Poll::Pending;
        };
        let elapsed = timer.as_mut().poll(context);
        elapsed.map(|()| Err(Trouble::TimedOut(limit)))
    })
    .await
}
