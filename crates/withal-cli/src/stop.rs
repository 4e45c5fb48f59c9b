//! Being asked to stop, where there is no command to pass that on to.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;

use crate::message::say;
use crate::process;
use crate::run::{Arrived, Blocked};

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
    pub(crate) fn listen(unfinished: &'static str) -> anyhow::Result<Stop> {
        let blocked = Blocked::new()?;
        let mut stops = blocked.stops()?;
        let (wake, other_end) = std::io::pipe().context("cannot make a pipe")?;
        let asked = Arc::new(OnceLock::new());
        let note = Arc::clone(&asked);
        let listening = move || {
            if let Some(first) = stops.next() {
                let _first = note.set(first);
                drop(other_end);
            }
            if let Some(second) = stops.next() {
                say(unfinished);
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
