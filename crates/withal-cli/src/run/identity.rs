//! Which process something is, and which machine this is: to know both again later.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use nix::unistd::Pid;
use rustix::fs::{fstat, fstatfs};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use crate::message::Messages;

/// What the kernel calls the filesystem that handles of processes are on, since Linux 6.9.
const PID_FS_MAGIC: u64 = 0x5049_4446;

/// A process: its id, and what tells it from others that have the same id later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    /// When it was started, in clock ticks since the machine was.
    pub(crate) started: u64,
    /// The inode of its handle, which is never used again while the machine is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pidfs: Option<u64>,
}

impl Process {
    /// A process that is there; nothing if it is not, or if `/proc` does not say.
    pub(crate) fn of(pid: Pid) -> Option<Process> {
        let handle = open(pid.as_raw()).ok();
        Some(Process {
            pid: pid.as_raw(),
            started: Stat::of(pid.as_raw())?.started,
            pidfs: handle.and_then(inode),
        })
    }

    /// A handle of the process, if it is still there and the same.
    ///
    /// # Errors
    ///
    /// The kernel has no handles of processes: without one, the process could end, and its id become
    /// another's, between the look and the signal.
    pub(crate) fn handle(&self) -> io::Result<Option<OwnedFd>> {
        let handle = match open(self.pid) {
            Ok(handle) => handle,
            Err(Errno::SRCH | Errno::INVAL) => return Ok(None),
            Err(_) if !self.is_there() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Opened first, then checked: what is checked is what is signalled.
        let is_same = match (self.pidfs, inode(&handle)) {
            (Some(known), Some(found)) => known == found,
            _ => self.is_there(),
        };
        Ok(is_same.then_some(handle))
    }

    fn is_there(&self) -> bool {
        Stat::of(self.pid).is_some_and(|stat| stat.started == self.started && !stat.is_over)
    }
}

/// Warns if there are no handles of processes here: then nobody is signalled who is not a child.
pub(super) fn check_handles(messages: Messages) {
    if let Err(error) = open(nix::unistd::getpid().as_raw()) {
        let error = io::Error::from(error);
        messages.warn(format_args!(
            "there are no handles of processes here, so if withal is killed, both of its processes \
             at once, `withal recover` ends none of the command's: {error}"
        ));
    }
}

/// A handle of whatever process has this id now.
pub(crate) fn open(pid: i32) -> rustix::io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::INVAL)?;
    pidfd_open(pid, PidfdFlags::empty())
}

fn inode(handle: impl AsFd) -> Option<u64> {
    let filesystem = fstatfs(&handle).ok()?;
    let is_own = u64::try_from(filesystem.f_type) == Ok(PID_FS_MAGIC);
    is_own.then(|| fstat(&handle).ok().map(|stat| stat.st_ino))?
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat {
    /// Whether it has ended, and nobody has waited for it yet.
    is_over: bool,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) started: u64,
}

impl Stat {
    pub(crate) fn of(pid: i32) -> Option<Stat> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything; the rest are numbers.
        let (_, fields) = text.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        Some(Stat {
            is_over: matches!(fields.next()?, "Z" | "X"),
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            started: fields.nth(16)?.parse().ok()?,
        })
    }
}

/// A machine, while it is up, and the names of processes on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) name: String,
    /// Its id, where it has one.
    pub(crate) machine: Option<String>,
    /// Of the time since it was started.
    pub(crate) boot: String,
    /// The namespace that process ids are of.
    pub(crate) pidns: u64,
}

/// Where a run was, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    /// On this machine, since it was started, process ids meaning the same.
    Here,
    /// The same, in another namespace of process ids.
    OtherNamespace,
    /// On this machine before it was started anew.
    OtherBoot,
    OtherHost,
}

impl Host {
    pub(crate) fn this() -> Host {
        let read = |path: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.trim().to_owned()
        };
        Host {
            name: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
            machine: Some(read("/etc/machine-id")).filter(|id| !id.is_empty()),
            boot: read("/proc/sys/kernel/random/boot_id"),
            pidns: fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino()),
        }
    }

    /// How far away `other` is.
    pub(crate) fn distance(&self, other: &Host) -> Distance {
        if self.boot == other.boot && !self.boot.is_empty() {
            return match self.pidns == other.pidns {
                true => Distance::Here,
                false => Distance::OtherNamespace,
            };
        }
        let is_this = match (&self.machine, &other.machine) {
            (Some(this), Some(other)) => this == other,
            _ => self.name == other.name,
        };
        match is_this {
            true => Distance::OtherBoot,
            false => Distance::OtherHost,
        }
    }
}
