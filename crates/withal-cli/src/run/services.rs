//! Processes that gates have started: not the command's, so they are not ended with it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::{Pid, getpgid};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, WaitOptions, WaitStatus, pidfd_open, wait, waitpid};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

use super::identity::Process;
use super::journal::{Journal, Record};
use crate::message::Messages;

/// Between two looks, where the kernel does not tell when a process has ended.
const PAUSE: Duration = Duration::from_millis(10);

/// The processes that gates have started and will end.
///
/// Each leads a process group of its own; the supervisor leaves it and its group alone. It must be
/// registered before anything is awaited, and it is waited for here, not by the gate: whoever reaps
/// the command's processes comes across it, too.
#[derive(Clone, Debug, Default)]
pub(crate) struct Services {
    known: Arc<Mutex<HashMap<Pid, Option<WaitStatus>>>>,
    /// Where they are noted, with who tells that this fails; nowhere outside of a run.
    journal: Option<(Journal, Messages)>,
}

/// A process that a gate has started.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pid: Pid,
    services: Services,
}

impl Services {
    pub(super) fn new(journal: Journal, messages: Messages) -> Services {
        Services {
            known: Arc::default(),
            journal: Some((journal, messages)),
        }
    }

    /// Takes note of a child, which leads its own process group.
    pub(crate) fn register(&self, pid: Pid) -> Service {
        if let Some((journal, messages)) = &self.journal
            && let Some(process) = Process::of(pid)
            && let Err(error) = journal.write(&Record::Service { process })
        {
            messages.warn(format_args!("{error:#}"));
        }
        let _ = self.lock().insert(pid, None);
        Service {
            pid,
            services: self.clone(),
        }
    }

    /// Takes note of those that a dead keeper has left.
    pub(super) fn adopt(&self, processes: &[Process]) {
        let pids = processes.iter().map(|process| Pid::from_raw(process.pid));
        self.lock().extend(pids.map(|pid| (pid, None)));
    }

    /// From now on they are processes like all others.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// Whether a child is a service or belongs to one's group.
    pub(super) fn contains(&self, pid: Pid) -> bool {
        let services = self.lock();
        let leads = |group: Pid| services.contains_key(&group);
        leads(pid) || (!services.is_empty() && getpgid(Some(pid)).is_ok_and(leads))
    }

    /// Reaps a child that has ended, whoever it is; a service's status is kept for its gate.
    pub(super) fn reap(&self) -> Option<(Pid, WaitStatus)> {
        // Under the lock, so that a gate that asks meanwhile finds the status here.
        let mut services = self.lock();
        let (pid, status) = wait(WaitOptions::NOHANG).ok()??;
        let pid = Pid::from_raw(pid.as_raw_nonzero().get());
        if let Some(service) = services.get_mut(&pid) {
            *service = Some(status);
        }
        Some((pid, status))
    }

    /// Reaps all that have ended, while the command does not run: what a gate's process has left is
    /// looked for by others, to whom one that nobody has waited for is still there.
    pub(super) fn reap_all(&self) {
        while self.reap().is_some() {}
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pid, Option<WaitStatus>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// How it has ended, if it has.
    pub(crate) fn status(&self) -> Option<WaitStatus> {
        let mut services = self.services.lock();
        let known = services.get_mut(&self.pid)?;
        if known.is_none() {
            let pid = rustix::process::Pid::from_raw(self.pid.as_raw());
            let ended = waitpid(pid, WaitOptions::NOHANG).ok().flatten();
            *known = ended.map(|(_, status)| status);
        }
        *known
    }

    async fn look_until_ended(&self) -> WaitStatus {
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// There is no descriptor left for a handle of it.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it has changed nothing.
    pub(crate) async fn ended(&self) -> anyhow::Result<WaitStatus> {
        if let Some(status) = self.status() {
            return Ok(status);
        }
        let pid = rustix::process::Pid::from_raw(self.pid.as_raw()).context("no process")?;
        // Not reaped yet, so it is this process that is opened.
        let handle = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            // Before Linux 5.3, or in a sandbox that does not know it.
            Err(Errno::NOSYS | Errno::PERM) => return Ok(self.look_until_ended().await),
            handle => handle.map_err(io::Error::from),
        };
        let handle = handle.context("cannot wait for a process")?;
        #[expect(
            deprecated,
            reason = "its unsafe successor is for types that lend a descriptor; this one owns it"
        )]
        let handle = AsyncFd::with_interest(handle, Interest::READABLE)?;
        let _ready = handle.readable().await?;
        self.status().context("somebody else has waited for it")
    }
}
