//! The processes below this one.
//!
//! As a subreaper this process becomes the parent of every descendant whose own parent has ended,
//! whatever group or session it has moved to. So "end the children, wait, repeat until there are
//! none" reaches everything the command ever forked. Only children are ever signalled: until they
//! are reaped, which happens here, their process ids mean nobody else.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io;

use nix::sys::prctl::{get_child_subreaper, set_child_subreaper};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};
use rustix::process::{WaitId, WaitIdOptions, WaitStatus, waitid};

use super::services::Services;
use crate::message::Messages;

/// The command and what has become of its descendants.
#[derive(Debug)]
pub(super) struct Tree {
    command: Option<Pid>,
    ended: Option<WaitStatus>,
    /// Children this process had before the command.
    strangers: HashSet<Pid>,
    /// What the gates have started, which they will end themselves.
    services: Services,
    /// Whom we have asked to end.
    asked: HashSet<Pid>,
}

/// Makes this process the parent of orphaned descendants.
pub(super) fn adopt_orphans(messages: Messages) {
    if let Err(error) = set_child_subreaper(true)
        && !is_reaper()
    {
        let error = std::io::Error::from(error);
        messages.warn(format_args!(
            "no process can adopt orphans here, so of what leaves the command's tree only that is \
             ended which has kept its environment: {error}"
        ));
    }
}

/// Whether this process becomes the parent of orphans.
pub(super) fn is_reaper() -> bool {
    getpid().as_raw() == 1 || get_child_subreaper().unwrap_or(false)
}

/// The children there are; none where `/proc` cannot be read.
pub(super) fn children_now() -> Vec<Pid> {
    children().unwrap_or_default()
}

impl Tree {
    pub(super) fn new(command: Pid, strangers: HashSet<Pid>, services: Services) -> Tree {
        Tree {
            command: Some(command),
            ended: None,
            strangers,
            services,
            asked: HashSet::new(),
        }
    }

    /// What a process that was killed has left to us: all the same to us.
    pub(super) fn left_behind(strangers: HashSet<Pid>, services: Services) -> Tree {
        Tree {
            command: None,
            ..Tree::new(Pid::from_raw(0), strangers, services)
        }
    }

    /// How the command ended, if it has.
    pub(super) fn ended(&self) -> Option<WaitStatus> {
        self.ended
    }

    /// Takes note of every child that has ended, adopted ones included.
    pub(super) fn reap(&mut self) {
        while let Some((pid, status)) = self.services.reap() {
            let _ = self.asked.remove(&pid);
            let _ = self.strangers.remove(&pid);
            if Some(pid) == self.command {
                self.ended = Some(status);
            }
        }
    }

    /// Whether the command is stopped; each stop is told once.
    pub(super) fn has_stopped(&self) -> bool {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let command = self.command;
        let command = command.and_then(|pid| rustix::process::Pid::from_raw(pid.as_raw()));
        let is_stop = |command| matches!(waitid(WaitId::Pid(command), options), Ok(Some(_)));
        self.ended.is_none() && command.is_some_and(is_stop)
    }

    /// The children that are left, the command among them.
    ///
    /// Where `/proc` cannot be read, the command is all we know of.
    pub(super) fn left(&self) -> Vec<Pid> {
        let known = match children() {
            Ok(children) => children,
            Err(_) if self.ended.is_none() => self.command.into_iter().collect(),
            Err(_) => Vec::new(),
        };
        let ours = known.into_iter();
        ours.filter(|pid| !self.strangers.contains(pid) && !self.services.contains(*pid))
            .collect()
    }

    /// Asks each of `processes` to end, once.
    ///
    /// A stopped process is continued, for it could not answer otherwise.
    pub(super) fn ask(&mut self, processes: &[Pid], signal: Signal) {
        for pid in processes {
            if self.asked.insert(*pid) {
                let _ = kill(*pid, signal);
                let _ = kill(*pid, Signal::SIGCONT);
            }
        }
    }
}

/// Kills each of `processes`; who cannot be killed is still there afterwards.
pub(super) fn kill_all(processes: &[Pid]) {
    for pid in processes {
        let _ = kill(*pid, Signal::SIGKILL);
    }
}

/// `123 (sleep)`, for messages; the name is looked up when it is shown.
pub(super) fn describe(pid: Pid) -> impl fmt::Display {
    fmt::from_fn(
        move |f| match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => write!(f, "{pid} ({})", name.trim_end()),
            Err(_) => write!(f, "{pid}"),
        },
    )
}

/// The same for all of `processes`.
pub(super) fn describe_all(processes: &[Pid]) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        let mut before = "";
        for pid in processes {
            write!(f, "{before}{}", describe(*pid))?;
            before = ", ";
        }
        Ok(())
    })
}

/// The children of this process.
fn children() -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        match fs::read_to_string(thread?.path().join("children")) {
            Ok(listed) => children.extend(listed.split_whitespace().filter_map(parse)),
            // The kernel was built without this file, or a thread has just ended.
            Err(_) => return children_by_search(),
        }
    }
    Ok(children)
}

/// The same for any kernel, by looking at every process.
fn children_by_search() -> io::Result<Vec<Pid>> {
    let me = getpid();
    let mut children = Vec::new();
    for process in fs::read_dir("/proc")? {
        let process = process?;
        let Some(pid) = process.file_name().to_str().and_then(parse) else {
            continue;
        };
        // The name, in parentheses, may hold anything; the state and the parent follow it.
        let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
        let parent = fields.and_then(|fields| fields.split(' ').nth(1)?.parse().ok());
        if parent.map(Pid::from_raw) == Some(me) {
            children.push(pid);
        }
    }
    Ok(children)
}

fn parse(pid: &str) -> Option<Pid> {
    pid.parse().ok().map(Pid::from_raw)
}
