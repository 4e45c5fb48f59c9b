//! Who holds a lock.

use std::fmt;
use std::fs;

use rustix::fs::Stat;

use crate::lock::record;
use crate::shown::shown;

/// A process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    pid: u32,
    command: Option<String>,
}

impl Holder {
    /// Looks for the holder of the file with this `stat`, open as `file`.
    ///
    /// The kernel's list is asked first, then what the holder wrote into the file. Either may be
    /// out of date by the time it is read, and on some filesystems neither knows.
    pub(crate) fn find(file: &fs::File, stat: &Stat) -> Option<Holder> {
        let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
        let listed = parse(&locks, stat.st_dev, stat.st_ino);
        Holder::of(listed.or_else(|| record::read(file))?)
    }

    /// `None` if there is no such process.
    fn of(pid: u32) -> Option<Holder> {
        let directory = format!("/proc/{pid}");
        let _exists = fs::metadata(&directory).ok()?;
        let command = fs::read_to_string(format!("{directory}/comm")).ok();
        Some(Holder {
            pid,
            command: command.map(|command| command.trim_end().to_owned()),
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name of its program, cut to 15 bytes as the kernel does.
    #[must_use]
    pub fn command(&self) -> Option<&str> {
        self.command.as_deref()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)?;
        match &self.command {
            Some(command) => write!(f, " ({})", shown(command)),
            None => Ok(()),
        }
    }
}

/// Finds the first holder in a text like `/proc/locks`, where waiters have an arrow:
/// `1: FLOCK  ADVISORY  WRITE 4711 fe:00:131 0 EOF`.
pub(crate) fn parse(locks: &str, device: u64, inode: u64) -> Option<u32> {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (kind, _advisory, _mode) = (fields.next()?, fields.next()?, fields.next()?);
        let (pid, of) = (fields.next()?, fields.next()?);
        // A holder outside this pid namespace is shown as 0 or below.
        (kind == "FLOCK" && of == file)
            .then(|| pid.parse().ok().filter(|pid| *pid > 0))
            .flatten()
    })
}
