//! Ending a service whose run has died.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::run::RunId;
use crate::run::gates::{Recovery, Undo};

/// The variable by which a service and all it starts are known.
pub(super) const COOKIE: &str = "WITHAL_SERVICE";

/// How long killed processes may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(10);

/// A value that no other service has.
pub(super) fn cookie(run: RunId) -> anyhow::Result<String> {
    Ok(format!("{run}-{}", RunId::random()?.short()))
}

/// Which process it is: its number alone may be another's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pid: i32,
    /// When it was started, in ticks since the machine was.
    started: u64,
    /// What the kernel numbers processes by, where it does; never given twice until the machine is
    /// started again.
    number: Option<u64>,
}

impl Identity {
    pub(super) fn of(pid: Pid) -> anyhow::Result<Identity> {
        let handle = open(pid.as_raw()).context("cannot open a process")?;
        Identity::behind(pid.as_raw(), &handle).context("cannot identify a process")
    }

    /// Of the process that `handle` is of.
    fn behind(pid: i32, handle: &OwnedFd) -> io::Result<Identity> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name, in parentheses, may hold anything.
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let started = fields.and_then(|fields| fields.split(' ').nth(19)?.parse().ok());
        Ok(Identity {
            pid,
            started: started.ok_or(io::ErrorKind::InvalidData)?,
            number: number(handle),
        })
    }
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Handles have a number of their own if they are files of `pidfs`; else all have the same.
fn number(handle: &OwnedFd) -> Option<u64> {
    const PIDFS: i64 = 0x5049_4446;
    let is_pidfs = rustix::fs::fstatfs(handle).is_ok_and(|stat| stat.f_type == PIDFS);
    let stat = is_pidfs.then(|| rustix::fs::fstat(handle).ok()).flatten();
    stat.map(|stat| stat.st_ino)
}

/// Ends the service and all it has started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stop {
    cookie: String,
    /// Known once it is started.
    process: Option<Identity>,
    signal: i32,
    grace: Duration,
}

impl Stop {
    pub(super) fn new(
        cookie: &str,
        process: Option<Identity>,
        signal: Signal,
        grace: Duration,
    ) -> Stop {
        Stop {
            cookie: cookie.to_owned(),
            process,
            signal: signal as i32,
            grace,
        }
    }
}

impl Undo for Stop {
    const OUTLIVES_REBOOT: bool = false;

    async fn undo(self, recovery: &Recovery) -> anyhow::Result<()> {
        if !recovery.is_same_boot {
            return Ok(());
        }
        let signal = rustix::process::Signal::from_named_raw(self.signal);
        let signal = signal.unwrap_or(rustix::process::Signal::TERM);
        let start = Instant::now();
        let mut asked: Vec<i32> = Vec::new();
        loop {
            let left = self.left()?;
            if left.is_empty() {
                return Ok(());
            }
            let is_late = start.elapsed() >= self.grace;
            if start.elapsed() >= self.grace + KILL_LIMIT {
                let pids: Vec<String> = left.iter().map(|(pid, _)| pid.to_string()).collect();
                anyhow::bail!("cannot be killed: {}", pids.join(", "));
            }
            for (pid, handle) in &left {
                if is_late {
                    send(handle, rustix::process::Signal::KILL)?;
                } else if !asked.contains(pid) {
                    asked.push(*pid);
                    send(handle, signal)?;
                    send(handle, rustix::process::Signal::CONT)?;
                }
            }
            sleep(PAUSE).await;
        }
    }
}

/// Signals what the handle is of, and nobody else, whoever has its number by now.
fn send(handle: &OwnedFd, signal: rustix::process::Signal) -> anyhow::Result<()> {
    match pidfd_send_signal(handle, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(io::Error::from(error)).context("cannot signal a process of the service"),
    }
}

impl Stop {
    /// The service and what it has started, each with its handle, opened before it was looked at.
    fn left(&self) -> anyhow::Result<Vec<(i32, OwnedFd)>> {
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").context("cannot list processes")? {
            let entry = entry.context("cannot list processes")?;
            let pid = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            // One that cannot be opened has just ended.
            if let Some(pid) = pid
                && let Ok(handle) = open(pid)
                && self.is_ours(pid, &handle)
            {
                left.push((pid, handle));
            }
        }
        Ok(left)
    }

    fn is_ours(&self, pid: i32, handle: &OwnedFd) -> bool {
        let is_alive = !is_zombie(pid);
        is_alive && (self.is_leader(pid, handle) || has_cookie(pid, &self.cookie))
    }

    fn is_leader(&self, pid: i32, handle: &OwnedFd) -> bool {
        let leader = self.process.filter(|process| process.pid == pid);
        leader.is_some_and(|leader| Identity::behind(pid, handle).is_ok_and(|it| it == leader))
    }
}

/// One that has ended and waits for its parent to look.
fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    fields.is_none_or(|fields| fields.starts_with(['Z', 'X']))
}

/// Whether its environment says so; that of another user cannot be read.
fn has_cookie(pid: i32, cookie: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let expected = format!("{COOKIE}={cookie}");
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|variable| variable == expected.as_bytes())
}
