//! Little memory while the command runs, which may be for days.
//!
//! What a process has run once stays in its memory: of this program five megabytes, most of it for
//! what is done before the command starts. The kernel would take that back if it had to; that it
//! need not, costs half a millisecond.

use std::pin::pin;
use std::time::Duration;

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::timeout;

use crate::message::Messages;
use crate::process;

/// A command that has not ended by then may take long.
const SHORT: Duration = Duration::from_millis(200);

/// Waits for `work`, with less memory if that takes long.
pub(super) async fn wait<T>(work: impl Future<Output = T>, messages: Messages) -> T {
    let mut work = pin!(work);
    if let Ok(done) = timeout(SHORT, &mut work).await {
        return done;
    }
    give_back(messages);
    work.await
}

/// Waits for a signal, with less memory if that takes long.
pub(super) fn wait_signal(signals: &SignalFd, messages: Messages) {
    let limit = Timespec::try_from(SHORT).ok();
    let mut signal = [PollFd::new(signals, PollFlags::IN)];
    if let Ok(0) = poll(&mut signal, limit.as_ref()) {
        give_back(messages);
    }
}

fn give_back(messages: Messages) {
    if let Err(error) = process::give_back_pages() {
        messages.step(format_args!("keeps its program in memory: {error}"));
    }
}
