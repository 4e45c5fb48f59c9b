//! Optional deadlines, whose timers are made only if something waits.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

/// A deadline that has not been needed yet, or its timer.
pub(crate) type Timer = Option<Pin<Box<Sleep>>>;

/// Ready with the limit once it is over; never, if there is none.
pub(crate) fn poll(
    timer: &mut Timer,
    limit: Option<Duration>,
    context: &mut Context<'_>,
) -> Poll<Duration> {
    let Some(limit) = limit else {
        return Poll::Pending;
    };
    timer
        .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)))
        .as_mut()
        .poll(context)
        .map(|()| limit)
}
