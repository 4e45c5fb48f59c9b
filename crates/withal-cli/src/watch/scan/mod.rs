//! What `/proc` says of a process and, if asked for, of all below it.

mod descriptors;
mod process;
mod sockets;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use nix::unistd::Pid;
use procfs::ProcError;
use rustix::io::Errno;

use super::kind::Census;
use crate::message::say;
use process::Watched;

pub(super) use process::of_thread;

/// Why a process cannot be watched, or not any more.
#[derive(Debug)]
pub(super) enum Lost {
    /// It has ended, or never was.
    Gone,
    /// It has ended, but its parent has not asked how.
    Zombie,
    /// It is but a thread of this process.
    Thread(i32),
    /// It may not be looked at.
    Denied,
    /// Anything else.
    Failed(anyhow::Error),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Gone => f.write_str("no such process; `ps -e` lists those that are there"),
            Lost::Zombie => f.write_str("it has ended; only its parent has not taken note yet"),
            Lost::Thread(process) => write!(f, "a thread of process {process}; watch that"),
            Lost::Denied => f.write_str(
                "no permission to see its descriptors; run withal as the user it runs as, or as \
                 root",
            ),
            Lost::Failed(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<ProcError> for Lost {
    fn from(error: ProcError) -> Lost {
        match error {
            ProcError::NotFound(_) => Lost::Gone,
            ProcError::PermissionDenied(_) => Lost::Denied,
            ProcError::Io(error, path) => {
                match error.raw_os_error().map(Errno::from_raw_os_error) {
                    Some(errno) => errno.into(),
                    None => Lost::Failed(anyhow::Error::new(error).context(format!("{path:?}"))),
                }
            }
            error => Lost::Failed(error.into()),
        }
    }
}

impl From<Errno> for Lost {
    fn from(error: Errno) -> Lost {
        match error {
            Errno::NOENT | Errno::SRCH => Lost::Gone,
            Errno::ACCESS | Errno::PERM => Lost::Denied,
            error => Lost::Failed(anyhow::Error::new(error).context("cannot read /proc")),
        }
    }
}

/// What the header says of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct About {
    pub(super) pid: Pid,
    pub(super) name: String,
    pub(super) up: Duration,
    /// The soft limit on its descriptors; none for a tree, in which each has its own.
    pub(super) limit: Option<u64>,
    /// How many processes are counted, itself among them.
    pub(super) processes: usize,
    /// How many below it may not be looked at.
    pub(super) hidden: usize,
}

/// Looks at a process again and again.
#[derive(Debug)]
pub(super) struct Scanner {
    root: Watched,
    /// The processes below it that are known; none unless asked for.
    below: Vec<Watched>,
    /// Processes below that may not be looked at.
    hidden: HashSet<i32>,
    has_tree: bool,
    sockets: sockets::Sockets,
}

impl Scanner {
    pub(super) fn open(pid: Pid, has_tree: bool) -> Result<Scanner, Lost> {
        Ok(Scanner {
            root: Watched::open(pid.as_raw())?,
            below: Vec::new(),
            hidden: HashSet::new(),
            has_tree,
            sockets: sockets::Sockets::default(),
        })
    }

    pub(super) fn about(&self) -> Result<About, Lost> {
        let (name, up) = self.root.name_and_age()?;
        Ok(About {
            pid: Pid::from_raw(self.root.pid()),
            name,
            up,
            limit: match self.has_tree {
                true => None,
                false => self.root.limit()?,
            },
            processes: 1 + self.below.len(),
            hidden: self.hidden.len(),
        })
    }

    /// How many descriptors there are, in one system call for each process.
    pub(super) fn count(&self) -> Result<u64, Lost> {
        let mut total = self.root.count()?;
        for process in &self.below {
            match process.count() {
                Ok(count) => total += count,
                // The next full look forgets it.
                Err(Lost::Gone) => {}
                Err(lost) => return Err(lost),
            }
        }
        Ok(total)
    }

    /// What each descriptor is.
    pub(super) fn look(&mut self) -> Result<Census, Lost> {
        if self.has_tree {
            self.find_below()?;
        }
        let mut census = Census::default();
        self.sockets.begin();
        self.root.look(&mut self.sockets, &mut census)?;
        self.below.retain_mut(|process| {
            let pid = process.pid();
            match process.look(&mut self.sockets, &mut census) {
                Ok(()) => true,
                Err(Lost::Gone) => false,
                Err(lost) => {
                    if self.hidden.insert(pid) {
                        say(format_args!("{pid}, below it, is left out: {lost}"));
                    }
                    false
                }
            }
        });
        self.sockets.end();
        Ok(census)
    }

    /// Finds the processes below. One that is known stays so if its parent ends before it.
    fn find_below(&mut self) -> Result<(), Lost> {
        let mut known: HashSet<i32> = self.below.iter().map(Watched::pid).collect();
        self.hidden.retain(|pid| process::exists(*pid));
        let mut next = 0;
        let mut children = self.root.children()?;
        loop {
            for pid in children.drain(..) {
                if self.hidden.contains(&pid) || !known.insert(pid) {
                    continue;
                }
                match Watched::open(pid) {
                    Ok(process) => self.below.push(process),
                    Err(Lost::Gone) => {}
                    Err(lost) => {
                        let _ = self.hidden.insert(pid);
                        say(format_args!("{pid}, below it, is left out: {lost}"));
                    }
                }
            }
            let Some(process) = self.below.get(next) else {
                return Ok(());
            };
            next += 1;
            children = process.children().or_else(|lost| match lost {
                Lost::Gone => Ok(Vec::new()),
                lost => Err(lost),
            })?;
        }
    }
}
