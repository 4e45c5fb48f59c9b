//! The signals withal gets, one by one, with where they came from.

use std::io;

use anyhow::Context as _;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use crate::process;
use crate::run::Exit;

/// Signals that ask to stop.
const STOP: [Signal; 4] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
];

/// Signals that mean whatever the command takes them for.
const PASSED_ON: [Signal; 4] = [
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
];

/// A signal that has arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) signal: Signal,
    /// Whether a process sent it, and not the terminal: then it reached withal alone.
    pub(crate) was_sent: bool,
}

impl Arrived {
    pub(crate) fn asks_to_stop(&self) -> bool {
        STOP.contains(&self.signal)
    }

    /// A child ended, stopped or continued.
    pub(crate) fn is_about_children(&self) -> bool {
        self.signal == Signal::SIGCHLD
    }

    /// How withal ends if this signal stopped it, rather than the command.
    ///
    /// It dies of a Ctrl-C, so that the shell's loop around it ends, too.
    pub(crate) fn exit(&self) -> Exit {
        let number = self.signal as i32;
        match u8::try_from(128 + number) {
            Ok(code) if self.was_sent => Exit::Code(code),
            _ => Exit::Signal(number),
        }
    }
}

/// The signals this process handles, blocked; made before there are threads, which inherit it.
#[derive(Debug)]
pub(crate) struct Blocked {
    handled: SigSet,
    inherited: SigSet,
}

impl Blocked {
    /// Blocks what will be read. What came in ignored stays ignored, here and in the command.
    pub(crate) fn new() -> anyhow::Result<Blocked> {
        process::wait_for_children();
        let kept = STOP.into_iter().chain(PASSED_ON);
        let mut handled: SigSet = kept
            .filter(|signal| !process::came_ignored(*signal as i32))
            .collect();
        handled.add(Signal::SIGCHLD);
        let inherited = SigSet::thread_get_mask().context("cannot read the signal mask")?;
        handled.thread_block().context("cannot block signals")?;
        Ok(Blocked { handled, inherited })
    }

    /// The signal mask this process came with.
    pub(crate) fn inherited(&self) -> SigSet {
        self.inherited
    }

    /// Begins to read them without a runtime: each call waits for the next one that asks to stop.
    pub(crate) fn stops(&self) -> anyhow::Result<impl Iterator<Item = Arrived> + Send + use<>> {
        let descriptor = self.open(SfdFlags::SFD_CLOEXEC)?;
        let stops = std::iter::from_fn(move || {
            loop {
                let info = descriptor.read_signal().ok()??;
                if let Some(arrived) = arrived(&info).filter(Arrived::asks_to_stop) {
                    return Some(arrived);
                }
            }
        });
        Ok(stops)
    }

    fn open(&self, flags: SfdFlags) -> anyhow::Result<SignalFd> {
        let descriptor = SignalFd::with_flags(&self.handled, flags).map_err(io::Error::from);
        descriptor.context("cannot read signals")
    }

    /// Begins to read them, in a runtime.
    pub(crate) fn listen(&self) -> anyhow::Result<Signals> {
        let descriptor = self.open(SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its unsafe successor is for types that lend a descriptor; this one owns it"
        )]
        let descriptor = AsyncFd::new(descriptor).context("cannot wait for signals")?;
        Ok(Signals { descriptor })
    }
}

/// The signals as they arrive.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: AsyncFd<SignalFd>,
}

impl Signals {
    /// The next signal.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken no signal.
    pub(crate) async fn next(&mut self) -> Arrived {
        loop {
            let ready = self.descriptor.readable().await;
            let mut ready = ready.expect("the runtime's I/O driver lives as long as this future");
            let read = ready.try_io(|descriptor| match descriptor.get_ref().read_signal() {
                Ok(Some(info)) => Ok(info),
                Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            });
            if let Ok(Ok(info)) = read
                && let Some(arrived) = arrived(&info)
            {
                return arrived;
            }
        }
    }

    /// The next signal, or nothing once `deadline` is over.
    pub(crate) async fn next_before(&mut self, deadline: Option<Instant>) -> Option<Arrived> {
        match deadline {
            Some(deadline) => timeout_at(deadline, self.next()).await.ok(),
            None => Some(self.next().await),
        }
    }

    /// The next signal that asks to stop; others are dropped.
    pub(crate) async fn next_stop(&mut self) -> Arrived {
        loop {
            let arrived = self.next().await;
            if arrived.asks_to_stop() {
                return arrived;
            }
        }
    }
}

fn arrived(info: &libc::signalfd_siginfo) -> Option<Arrived> {
    let number = i32::try_from(info.ssi_signo).ok()?;
    Some(Arrived {
        signal: Signal::try_from(number).ok()?,
        was_sent: info.ssi_code != libc::SI_KERNEL,
    })
}
