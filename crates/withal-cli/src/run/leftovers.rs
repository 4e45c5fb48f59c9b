//! Processes that a dead run has left, found and ended without ever touching another's.
//!
//! A process id alone means nothing: it may have been given to somebody else since. So a handle is
//! opened first, then what it is a handle of is checked, and then the handle is signalled. A process
//! counts as the run's if the journal knows it and inode or start time match, if its parent is such
//! a process, or if its environment holds the run's id.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::unistd::{Pid, getpid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use tokio::time::{Instant, sleep};

use super::RunId;
use super::identity::{Distance, Stat, open};
use super::journal::Story;
use super::tree;
use crate::message::Messages;

/// The variable that marks all that descends from a command: ids of runs, the innermost last.
pub(super) const COOKIE: &str = "WITHAL_RUNS";

/// How long processes have to end after they were asked to.
const GRACE: Duration = Duration::from_secs(5);

/// How long they have after they were killed.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// How often is looked whether they are gone.
const PAUSE: Duration = Duration::from_millis(10);

/// Ends what is left of the run's command, then of its services.
///
/// # Errors
///
/// Who cannot be ended, and why.
pub(super) async fn end(
    story: &Story,
    distance: Distance,
    messages: Messages,
) -> Result<(), String> {
    end_command(story, distance, messages).await?;
    end_all(messages, || find(story, distance, |_| true)).await
}

/// The same for the command alone.
pub(super) async fn end_command(
    story: &Story,
    distance: Distance,
    messages: Messages,
) -> Result<(), String> {
    end_all(messages, || {
        find(story, distance, |pid| !is_service(story, pid))
    })
    .await
}

/// What there is to be ended now, by pid; for `--dry-run`.
pub(super) fn look(story: &Story, distance: Distance) -> Result<Vec<i32>, String> {
    Ok(find(story, distance, |_| true)?.into_keys().collect())
}

async fn end_all(
    messages: Messages,
    find: impl Fn() -> Result<BTreeMap<i32, OwnedFd>, String>,
) -> Result<(), String> {
    let mut asked = HashSet::new();
    let start = Instant::now();
    loop {
        let found = find()?;
        if found.is_empty() {
            return Ok(());
        }
        if start.elapsed() > GRACE + KILL_LIMIT {
            let left: Vec<Pid> = found.keys().copied().map(Pid::from_raw).collect();
            let names = tree::describe_all(&left);
            return Err(format!("cannot be killed: {names}"));
        }
        let kills = start.elapsed() > GRACE;
        for (pid, handle) in &found {
            let signals = match kills {
                true => &[Signal::KILL][..],
                false if asked.insert(*pid) => {
                    let name = tree::describe(Pid::from_raw(*pid));
                    messages.step(format_args!("stopping {name}"));
                    &[Signal::TERM, Signal::CONT]
                }
                false => &[],
            };
            for signal in signals {
                match pidfd_send_signal(handle, *signal) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => {
                        return Err(format!("cannot stop {pid}: {}", io::Error::from(error)));
                    }
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Handles of all processes of the run that live and are meant.
fn find(
    story: &Story,
    distance: Distance,
    is_meant: impl Fn(i32) -> bool,
) -> Result<BTreeMap<i32, OwnedFd>, String> {
    let mut found = BTreeMap::new();
    if distance == Distance::OtherBoot || distance == Distance::OtherHost {
        return Ok(found);
    }
    if distance == Distance::Here {
        let known = story.command.iter().chain(&story.services);
        for process in known.filter(|process| is_meant(process.pid)) {
            let handle = process
                .handle()
                .map_err(|error| no_handles(process.pid, &error))?;
            found.extend(handle.map(|handle| (process.pid, handle)));
        }
    }
    let mut processes = processes().map_err(|error| format!("cannot read /proc: {error}"))?;
    processes.retain(|pid| is_meant(*pid));
    for pid in &processes {
        match open(*pid) {
            Ok(handle) if has_cookie(*pid, story.opened.id) => {
                let _ = found.insert(*pid, handle);
            }
            Err(error @ (Errno::NOSYS | Errno::PERM)) if has_cookie(*pid, story.opened.id) => {
                return Err(no_handles(*pid, &error.into()));
            }
            _ => {}
        }
    }
    // Whose parent is the run's is the run's; its own children come in the next pass.
    loop {
        let before = found.len();
        for pid in &processes {
            if !found.contains_key(pid)
                && let Ok(handle) = open(*pid)
                && Stat::of(*pid).is_some_and(|stat| found.contains_key(&stat.parent))
            {
                let _ = found.insert(*pid, handle);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.retain(|_, handle| is_alive(handle));
    forbid_suicide(&found)?;
    Ok(found)
}

/// Who recovers a run from inside of it would end itself first.
fn forbid_suicide(found: &BTreeMap<i32, OwnedFd>) -> Result<(), String> {
    let mut pid = getpid().as_raw();
    while pid > 0 {
        if found.contains_key(&pid) {
            let name = tree::describe(Pid::from_raw(pid));
            return Err(format!(
                "{name} belongs to the run and to you: recover it from outside"
            ));
        }
        pid = Stat::of(pid).map_or(0, |stat| stat.parent);
    }
    Ok(())
}

fn no_handles(pid: i32, error: &io::Error) -> String {
    let process = tree::describe(nix::unistd::Pid::from_raw(pid));
    format!(
        "{process}: no handle of a process can be had, so it is not known whether it is still the \
         same: {error}"
    )
}

fn is_service(story: &Story, pid: i32) -> bool {
    let group = Stat::of(pid).map(|stat| stat.group);
    let mut services = story.services.iter();
    services.any(|service| service.pid == pid || Some(service.pid) == group)
}

fn is_alive(handle: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(handle, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Readable once it has ended.
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready == 0)
}

fn has_cookie(pid: i32, id: RunId) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let id = id.to_string();
    environment.split(|byte| *byte == 0).any(|variable| {
        let runs = variable
            .strip_prefix(COOKIE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="));
        runs.is_some_and(|runs| {
            runs.split(|byte| *byte == b':')
                .any(|run| run == id.as_bytes())
        })
    })
}

fn processes() -> io::Result<Vec<i32>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        processes.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(processes)
}
