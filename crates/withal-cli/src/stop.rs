//! Being asked to stop, where there is no command to pass that on to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::message::Messages;
use crate::process;
use crate::run::{Arrived, Blocked};

/// After this time without an end, who has asked is told what can be done.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a signal has asked this process to stop.
///
/// The first one is noted, and wakes who polls the descriptor; the second one ends the process at
/// once.
#[derive(Debug)]
pub(crate) struct Stop {
    asked: Arc<OnceLock<Arrived>>,
    /// Its other end is closed when a signal has come.
    wake: OwnedFd,
}

impl Stop {
    /// Begins to listen; to be called before there are other threads, which inherit the signal
    /// mask. `unfinished` is what to say if nobody waits for the end.
    pub(crate) fn listen(unfinished: &'static str, messages: Messages) -> anyhow::Result<Stop> {
        let blocked = Blocked::new()?;
        let stops = blocked.stops()?;
        let (wake, other_end) = std::io::pipe().context("cannot make a pipe")?;
        let asked = Arc::new(OnceLock::new());
        let note = Arc::clone(&asked);
        let listening = move || {
            let Some(first) = stops.next_before(None) else {
                return;
            };
            let _first = note.set(first);
            drop(other_end);
            let mut second = stops.next_before(Some(Instant::now() + PATIENCE));
            if second.is_none() {
                let name = first.signal.as_str();
                messages.warn(format_args!(
                    "{name}: not done yet with what was read; a second one ends it at once"
                ));
                second = stops.next_before(None);
            }
            if let Some(second) = second {
                messages.error(unfinished);
                process::end(second.exit());
            }
        };
        let thread = std::thread::Builder::new().name("withal-signals".to_owned());
        let _listens_until_the_end = thread
            .spawn(listening)
            .context("cannot start a thread for signals")?;
        Ok(Stop {
            asked,
            wake: wake.into(),
        })
    }

    /// The signal, if one has come.
    pub(crate) fn asked(&self) -> Option<Arrived> {
        self.asked.get().copied()
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}
