//! The signals withal gets, one by one, with where they came from.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpgid, getpgrp, getppid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, timeout_at};

use crate::message::say;
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
    pub(crate) origin: Origin,
}

/// Whom a signal was meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The terminal's whole foreground group.
    Terminal,
    /// This process alone: a process sent it, by the front or directly.
    Process,
    /// A process sent it to our whole process group.
    Group,
    /// Nobody sent it: the front has died, and this is what follows.
    LostFront,
}

impl Arrived {
    /// One that came to a process without a front before it.
    pub(super) fn of(info: &libc::signalfd_siginfo) -> Option<Arrived> {
        arrived(info, None)
    }

    pub(crate) fn asks_to_stop(&self) -> bool {
        STOP.contains(&self.signal)
    }

    /// Whether a process sent it, and not the terminal.
    pub(crate) fn was_sent(&self) -> bool {
        self.origin != Origin::Terminal
    }

    /// Whether, coming a second time, it means that there is no more waiting.
    pub(crate) fn insists(&self) -> bool {
        self.was_sent() && matches!(self.signal, Signal::SIGTERM | Signal::SIGINT)
    }

    /// What it is called in reports.
    pub(crate) fn name(&self) -> &'static str {
        self.sent().map_or("front killed", Signal::as_str)
    }

    /// The signal, if anybody sent one.
    pub(crate) fn sent(&self) -> Option<Signal> {
        (self.origin != Origin::LostFront).then_some(self.signal)
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
            Ok(code) if self.was_sent() => Exit::Code(code),
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

    /// Begins to read those that ask to stop, without a runtime.
    pub(crate) fn stops(&self) -> anyhow::Result<Stops> {
        Ok(Stops(self.open(SfdFlags::SFD_CLOEXEC)?))
    }

    /// Opens what they are read from, one by one, waiting.
    pub(super) fn read(&self) -> anyhow::Result<SignalFd> {
        self.open(SfdFlags::SFD_CLOEXEC)
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
        Ok(Signals {
            descriptor,
            front: None,
            told_twice: ToldTwice::default(),
        })
    }
}

/// Signals that ask to stop, one by one.
#[derive(Debug)]
pub(crate) struct Stops(SignalFd);

impl Stops {
    /// Waits for the next one; nothing if none comes before `deadline`, or none can be read.
    pub(crate) fn next_before(&self, deadline: Option<std::time::Instant>) -> Option<Arrived> {
        loop {
            if let Some(deadline) = deadline
                && !self.comes_before(deadline)
            {
                return None;
            }
            let info = self.0.read_signal().ok()??;
            if let Some(arrived) = Arrived::of(&info).filter(Arrived::asks_to_stop) {
                return Some(arrived);
            }
        }
    }

    /// Waits until there is any signal.
    fn comes_before(&self, deadline: std::time::Instant) -> bool {
        loop {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            let left = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], left.as_ref()) {
                Err(Errno::INTR) => {}
                ready => return ready.is_ok_and(|ready| ready > 0),
            }
        }
    }
}

/// Within this time a signal that the front passes on is the one that our group got, too.
const SAME: Duration = Duration::from_millis(200);

/// The signals as they arrive.
#[derive(Debug)]
pub(crate) struct Signals {
    descriptor: AsyncFd<SignalFd>,
    front: Option<Watched>,
    told_twice: ToldTwice,
}

/// The last signal that our whole group got, and when: the front got it, too, and passes it on.
#[derive(Debug, Default)]
struct ToldTwice(Option<(Signal, Instant)>);

impl ToldTwice {
    /// Whether the front only passes on what has come to all of us.
    fn is_again(&mut self, arrived: &Arrived, is_fronts: bool) -> bool {
        if arrived.origin == Origin::Group {
            self.0 = Some((arrived.signal, Instant::now()));
            return false;
        }
        let is_same = |(signal, at): &mut (Signal, Instant)| {
            *signal == arrived.signal && at.elapsed() <= SAME
        };
        is_fronts && self.0.take_if(is_same).is_some()
    }
}

/// The front, whose signals come through to here.
#[derive(Debug)]
struct Watched {
    pid: Pid,
    /// Whether it is in our process group.
    shares_group: bool,
    /// Readable once it is dead; then nobody looks any more.
    life: Option<AsyncFd<Arc<OwnedFd>>>,
}

impl Signals {
    /// Takes signals from the front, and its death as a request to stop.
    pub(super) fn follow(&mut self, pid: Pid, socket: Arc<OwnedFd>) -> anyhow::Result<()> {
        #[expect(
            deprecated,
            reason = "its unsafe successor is for types that lend a descriptor; this one owns it"
        )]
        let life = AsyncFd::with_interest(socket, Interest::READABLE);
        self.front = Some(Watched {
            pid,
            shares_group: getpgid(Some(pid)) == Ok(getpgrp()),
            life: Some(life.context("cannot watch the front")?),
        });
        Ok(())
    }

    /// The next signal.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is ready, it has taken no signal.
    pub(crate) async fn next(&mut self) -> Arrived {
        loop {
            let life = self.front.as_ref().and_then(|front| front.life.as_ref());
            let info = tokio::select! {
                biased;
                info = read(&self.descriptor) => info,
                () = end(life), if life.is_some() => {
                    if let Some(front) = &mut self.front {
                        front.life = None;
                    }
                    say("withal's first process was killed: stopping the command, undoing all");
                    return Arrived { signal: Signal::SIGTERM, origin: Origin::LostFront };
                }
            };
            if let Some(arrived) = arrived(&info, self.front.as_ref())
                && !self
                    .told_twice
                    .is_again(&arrived, self.sent_by_front(&info))
            {
                return arrived;
            }
        }
    }

    /// Whether there was a front, and it is dead.
    pub(super) fn have_lost_front(&self) -> bool {
        let front = self.front.as_ref();
        front.is_some_and(|front| front.pid != getppid())
    }

    fn sent_by_front(&self, info: &libc::signalfd_siginfo) -> bool {
        self.front.as_ref().is_some_and(|front| front.sent(info))
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

async fn read(descriptor: &AsyncFd<SignalFd>) -> libc::signalfd_siginfo {
    loop {
        let ready = descriptor.readable().await;
        let mut ready = ready.expect("the runtime's I/O driver lives as long as this future");
        let read = ready.try_io(|descriptor| match descriptor.get_ref().read_signal() {
            Ok(Some(info)) => Ok(info),
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error.into()),
        });
        if let Ok(Ok(info)) = read {
            return info;
        }
    }
}

/// Waits for the end of who has the other end: nothing is ever sent here.
async fn end(life: Option<&AsyncFd<Arc<OwnedFd>>>) {
    match life {
        Some(life) => drop(life.readable().await),
        None => std::future::pending().await,
    }
}

impl Watched {
    fn sent(&self, info: &libc::signalfd_siginfo) -> bool {
        info.ssi_code != libc::SI_KERNEL && i32::try_from(info.ssi_pid) == Ok(self.pid.as_raw())
    }
}

/// What a signal was, and where it came from. `front` is whose signals come through to here.
fn arrived(info: &libc::signalfd_siginfo, front: Option<&Watched>) -> Option<Arrived> {
    let number = i32::try_from(info.ssi_signo).ok()?;
    let origin = match front {
        _ if info.ssi_code == libc::SI_KERNEL => Origin::Terminal,
        Some(front) if front.shares_group && !front.sent(info) => Origin::Group,
        _ => Origin::Process,
    };
    Some(Arrived {
        signal: Signal::try_from(number).ok()?,
        origin,
    })
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::{Arrived, Origin, SAME, ToldTwice};

    #[tokio::test(start_paused = true)]
    async fn what_the_whole_group_got_is_not_taken_from_the_front_again() {
        let from = |signal, origin| Arrived { signal, origin };
        let mut told = ToldTwice::default();
        let mut check = |signal, origin, is_fronts, expected| {
            let is_again = told.is_again(&from(signal, origin), is_fronts);
            assert_eq!(is_again, expected, "{signal} {origin:?}");
        };
        let (term, int) = (Signal::SIGTERM, Signal::SIGINT);
        check(term, Origin::Process, true, false);
        check(term, Origin::Group, false, false);
        check(int, Origin::Process, true, false);
        check(term, Origin::Terminal, false, false);
        check(term, Origin::Process, true, true);
        // The next one is another one.
        check(term, Origin::Process, true, false);
        check(term, Origin::Group, false, false);
        tokio::time::advance(SAME * 2).await;
        check(term, Origin::Process, true, false);
    }
}
