//! Two processes: the *front*, which the user sees, and its child, the *keeper*, which holds the
//! gates and is the command's parent.
//!
//! Whichever is killed, the other notices and tears down. The front does little, so little can go
//! wrong in it: it has no runtime and no threads, passes on what only it is sent, and ends as the
//! keeper says. Both are subreapers, so that what the keeper leaves behind becomes the front's.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context as _;
use nix::libc;
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::{ForkResult, Pid, getpid, setsid};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{WaitOptions, wait};

use super::idle;
use super::signals::{Arrived, Blocked, Origin};
use super::status::Exit;
use crate::message::Messages;
use crate::process;

/// Which of the two this process is.
pub(super) enum Side {
    Front(Front),
    Keeper(Keeper),
}

/// What the front knows of the keeper.
#[derive(Debug)]
pub(super) struct Front {
    keeper: Pid,
    /// Says how to end, once the keeper has ended; empty if it was killed.
    verdict: File,
    /// What the keeper has deposited lies in it. The keeper sees it closed when this process ends.
    _socket: OwnedFd,
}

/// What the keeper knows of the front.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) front: Pid,
    pub(super) socket: Arc<OwnedFd>,
    verdict: File,
}

/// Makes the keeper; to be called before there are threads.
pub(super) fn split(has_terminal: bool) -> anyhow::Result<Side> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(std::io::Error::from)
    .context("cannot make a socket")?;
    let (read, write) = std::io::pipe().context("cannot make a pipe")?;
    let front = getpid();
    match process::fork().context("cannot fork")? {
        ForkResult::Parent { child } => Ok(Side::Front(Front {
            keeper: child,
            verdict: File::from(OwnedFd::from(read)),
            _socket: ours,
        })),
        ForkResult::Child => {
            if !has_terminal {
                // Out of reach of what is meant for the front's group. It leads none, being a child
                // just made, so this cannot fail.
                let _ = setsid();
            }
            let _ = nix::sys::prctl::set_name(c"withal-keeper");
            Ok(Side::Keeper(Keeper {
                front,
                socket: Arc::new(theirs),
                verdict: File::from(OwnedFd::from(write)),
            }))
        }
    }
}

impl Keeper {
    /// Leaves word of how the front is to end.
    pub(super) fn tell(mut self, exit: Exit) {
        let (kind, number) = match exit {
            Exit::Code(code) => (0, i32::from(code)),
            Exit::Signal(signal) => (1, signal),
        };
        let [a, b, c, d] = number.to_ne_bytes();
        // A front that is gone needs no word.
        let _gone = self.verdict.write_all(&[kind, a, b, c, d]);
    }
}

/// How the keeper ended.
#[derive(Debug)]
pub(super) enum Kept {
    /// It did all there was to do.
    Done(Exit),
    /// It was killed; its children are ours now.
    Killed,
}

impl Front {
    /// Passes signals on until the keeper has ended.
    pub(super) fn wait(
        mut self,
        blocked: &Blocked,
        is_shells_job: bool,
        strangers: &mut HashSet<Pid>,
        messages: Messages,
    ) -> anyhow::Result<(Kept, OwnedFd)> {
        let signals = blocked.read()?;
        idle::wait_signal(&signals, messages);
        loop {
            let info = match signals.read_signal() {
                Ok(Some(info)) => info,
                Ok(None) | Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error).context("cannot read signals"),
            };
            let Some(arrived) = Arrived::of(&info) else {
                continue;
            };
            if arrived.signal == Signal::SIGCHLD {
                match self.look_after_children(strangers) {
                    Change::Ended => return Ok((self.verdict(), self._socket)),
                    // The shell sees this process only. Continued, it goes on here, and so do all.
                    Change::Stopped if is_shells_job => {
                        let _ = raise(Signal::SIGSTOP);
                    }
                    Change::Stopped | Change::None => {}
                }
            } else if arrived.origin != Origin::Terminal {
                let _ = kill(self.keeper, arrived.signal);
            }
        }
    }

    fn look_after_children(&self, strangers: &mut HashSet<Pid>) -> Change {
        let mut change = Change::None;
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            let pid = Pid::from_raw(pid.as_raw_nonzero().get());
            if pid != self.keeper {
                if !status.stopped() {
                    let _ = strangers.remove(&pid);
                }
                continue;
            }
            if !status.stopped() {
                return Change::Ended;
            }
            change = Change::Stopped;
        }
        change
    }

    fn verdict(&mut self) -> Kept {
        let mut word = [0; 5];
        // The keeper's end is closed: what is there is all.
        match self.verdict.read_exact(&mut word) {
            Ok(()) => {
                let [kind, number @ ..] = word;
                let number = i32::from_ne_bytes(number);
                Kept::Done(match kind {
                    0 => Exit::Code(u8::try_from(number).unwrap_or(u8::MAX)),
                    _ => Exit::Signal(number),
                })
            }
            Err(_) => Kept::Killed,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Stopped,
    Ended,
}

/// Whether there is anything for a keeper to outlive: with process 1 its whole namespace ends.
pub(super) fn is_needed(messages: Messages) -> bool {
    let is_first = getpid().as_raw() == libc::pid_t::from(1);
    if is_first {
        messages.step("process 1: there is no need for a second process");
    }
    !is_first
}
