//! Little memory while the command runs, which may be for days.
//!
//! What a process has run once stays in its memory: of this program five megabytes, most of it for
//! what is done before the command starts. The kernel would take that back if it had to; that it
//! need not, costs half a millisecond.
//!
//! Whatever runs after that is in memory again, with fifteen pages beside each that is used. So
//! whoever gives back sleeps at once. The keeper has to find its way back to what it waits for first:
//! it has a thread that gives back once it sleeps.

use std::pin::pin;
use std::thread;
use std::time::Duration;

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::timeout;

use crate::message::Messages;
use crate::process;

/// A command that has not ended by then may take long.
const SHORT: Duration = Duration::from_millis(200);

/// How long the keeper is given to fall asleep.
const SETTLING: Duration = Duration::from_millis(20);

/// Waits for `work`, with less memory if that takes long.
pub(super) async fn wait<T>(work: impl Future<Output = T>, messages: Messages) -> T {
    let mut work = pin!(work);
    if let Ok(done) = timeout(SHORT, &mut work).await {
        return done;
    }
    let thread = thread::Builder::new().name("idle".to_owned());
    let started = thread.spawn(move || {
        thread::park_timeout(SETTLING);
        // Ending would run more than staying does.
        let given = process::give_back_pages(|| {
            loop {
                thread::park();
            }
        });
        tell(given, messages);
    });
    tell(started.map_err(anyhow::Error::from), messages);
    work.await
}

/// Waits for a signal, with less memory if that takes long.
pub(super) fn wait_signal(signals: &SignalFd, messages: Messages) {
    let limit = Timespec::try_from(SHORT).ok();
    let mut signal = [PollFd::new(signals, PollFlags::IN)];
    if let Ok(0) = poll(&mut signal, limit.as_ref()) {
        let given = process::give_back_pages(|| {
            // If it fails, whoever reads the signal waits for it.
            let _came = poll(&mut signal, None);
        });
        tell(given, messages);
    }
}

fn tell<T>(given: anyhow::Result<T>, messages: Messages) {
    if let Err(error) = given {
        messages.step(format_args!("keeps its program in memory: {error}"));
    }
}
