//! The two descriptors, and what std has buffered for them.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::BorrowedFd;

use crate::layers::{LayerId, Layers};
use crate::redirect::error::{Action, RedirectError};

static STDOUT: Layers = Layers::new();
static STDERR: Layers = Layers::new();

/// Saved descriptors stay clear of the standard ones, even where one of those is closed.
const FIRST_FREE: i32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Sends the stream to `target`, what was buffered before to where it belongs.
    pub(crate) fn redirect(self, target: BorrowedFd<'_>) -> Result<LayerId, RedirectError> {
        let error = |action| move |source: io::Error| RedirectError::new(self, action, source);
        self.locked(|std| {
            std.flush().map_err(error(Action::FlushBefore))?;
            self.layers().enter(|| {
                let saved = rustix::io::fcntl_dupfd_cloexec(self.fd(), FIRST_FREE)
                    .map_err(|errno| error(Action::Save)(errno.into()))?;
                self.replace(target)
                    .map_err(|errno| error(Action::Redirect)(errno.into()))?;
                Ok(saved)
            })
        })
    }

    /// Ends a redirection, what was buffered meanwhile going to its target.
    ///
    /// The old stream is restored even if the flush fails; then that is the error.
    pub(crate) fn restore(self, layer: LayerId) -> Result<(), RedirectError> {
        let error = |action| move |source: io::Error| RedirectError::new(self, action, source);
        self.locked(|std| {
            let flushed = std.flush().map_err(error(Action::FlushAfter));
            let restored = self.layers().exit(layer, |saved| {
                self.replace(saved)
                    .map_err(|errno| error(Action::Restore)(errno.into()))
            });
            restored.and(flushed)
        })
    }

    /// Writes out what std has buffered.
    pub(crate) fn flush(self) -> io::Result<()> {
        self.locked(|std| std.flush())
    }

    /// Runs `act` while no other thread can print: nothing is to slip in between flush and switch.
    ///
    /// The lock is always taken before that of the layers. A thread that redirects in the middle of
    /// printing has it already.
    fn locked<T>(self, act: impl FnOnce(&mut dyn Write) -> T) -> T {
        match self {
            Stream::Stdout => act(&mut io::stdout().lock()),
            Stream::Stderr => act(&mut io::stderr().lock()),
        }
    }

    fn layers(self) -> &'static Layers {
        match self {
            Stream::Stdout => &STDOUT,
            Stream::Stderr => &STDERR,
        }
    }

    fn fd(self) -> BorrowedFd<'static> {
        match self {
            Stream::Stdout => rustix::stdio::stdout(),
            Stream::Stderr => rustix::stdio::stderr(),
        }
    }

    fn replace(self, by: impl std::os::fd::AsFd) -> rustix::io::Result<()> {
        rustix::io::retry_on_intr(|| match self {
            Stream::Stdout => rustix::stdio::dup2_stdout(by.as_fd()),
            Stream::Stderr => rustix::stdio::dup2_stderr(by.as_fd()),
        })
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stream::Stdout => "standard output",
            Stream::Stderr => "standard error",
        })
    }
}
