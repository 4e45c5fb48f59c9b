//! Who is watched, and how it ends.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitOptions, WaitStatus, pidfd_open, waitpid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::arguments;
use super::scan::{self, Lost};
use crate::run::{Arrived, Blocked, Exit, NotStarted, Running, Terminal};

/// How long a command may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// The process that is watched.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) pid: Pid,
    /// Becomes readable when it ends; it never means another process.
    end: AsyncFd<OwnedFd>,
    /// Set if we have started it.
    command: Option<Running>,
}

/// Why there is nothing to watch.
#[derive(Debug)]
pub(super) enum Absent {
    Lost(Pid, Lost),
    NotStarted(NotStarted),
}

impl Subject {
    /// Finds the process, or starts it; to be called in a runtime.
    pub(super) fn open(subject: arguments::Subject, blocked: &Blocked) -> Result<Subject, Absent> {
        let (pid, command) = match subject {
            arguments::Subject::Process(pid) => (pid, None),
            arguments::Subject::Command { program, arguments } => {
                let mut command = Command::new(program);
                let _ = command.args(arguments);
                let running = Running::start(command, blocked.inherited(), Terminal::look());
                let running = running.map_err(Absent::NotStarted)?;
                (running.pid, Some(running))
            }
        };
        let end = end_of(pid).map_err(|lost| Absent::Lost(pid, lost))?;
        Ok(Subject { pid, end, command })
    }

    pub(super) fn is_ours(&self) -> bool {
        self.command.is_some()
    }

    /// Waits until it has ended.
    ///
    /// # Cancel safety
    ///
    /// May be dropped and called again.
    pub(super) async fn ended(&self) {
        let ended = self.end.readable().await;
        drop(ended.expect("the runtime's I/O driver lives as long as this future"));
    }

    /// Whether it has ended, without waiting.
    pub(super) fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(&self.end, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut polled, Some(&now)), Ok(1))
    }

    /// Passes a signal on to a command.
    pub(super) fn pass_on(&self, arrived: &Arrived) {
        if let Some(command) = &self.command
            && !arrived.is_about_children()
        {
            command.pass_on(arrived);
        }
    }

    /// Ends a command whose time is over.
    pub(super) async fn stop(&self) {
        let Some(command) = &self.command else {
            return;
        };
        command.stop(Signal::SIGTERM);
        if timeout(GRACE, self.ended()).await.is_err() {
            command.stop(Signal::SIGKILL);
            self.ended().await;
        }
    }

    /// How a command ended; none for what is no child of ours.
    pub(super) fn status(&self) -> anyhow::Result<Option<Exit>> {
        if self.command.is_none() {
            return Ok(None);
        }
        let pid = rustix::process::Pid::from_raw(self.pid.as_raw());
        let waited = waitpid(pid, WaitOptions::empty()).context("cannot wait for the command")?;
        let status: Option<WaitStatus> = waited.map(|(_, status)| status);
        Ok(status.map(Exit::of_command))
    }
}

fn end_of(pid: Pid) -> Result<AsyncFd<OwnedFd>, Lost> {
    let raw = rustix::process::Pid::from_raw(pid.as_raw()).ok_or(Lost::Gone)?;
    let end = match pidfd_open(raw, PidfdFlags::NONBLOCK) {
        Ok(end) => end,
        // There is such an id: that of a thread.
        Err(Errno::INVAL | Errno::NOENT) => {
            return Err(Lost::Thread(scan::of_thread(pid.as_raw())?));
        }
        Err(Errno::SRCH) => return Err(Lost::Gone),
        Err(error) => {
            let error = anyhow::Error::new(error);
            return Err(Lost::Failed(
                error.context("cannot wait for its end (Linux 5.10 can)"),
            ));
        }
    };
    readiness(end).map_err(|error| Lost::Failed(error.into()))
}

/// Lets a descriptor be waited for until it can be read.
pub(super) fn readiness(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(
        deprecated,
        reason = "its unsafe successor is for types that lend a descriptor; this one owns it"
    )]
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}
