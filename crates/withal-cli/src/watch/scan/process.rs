//! One process. Its folder of `/proc` is held open, so that what is read is never that of another
//! process which has its number later.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::Duration;

use procfs::process::{LimitValue, Process, all_processes};
use procfs::{Current as _, ProcError, Uptime};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, SeekFrom, StatxFlags, openat, seek, statx};

use super::super::kind::Census;
use super::Lost;
use super::descriptors::{Found, Paths};
use super::sockets::Sockets;
use crate::message::shown;

/// How much of a folder is read at once: about 1,000 names.
const FOLDER: usize = 32 * 1024;

#[derive(Debug)]
pub(super) struct Watched {
    process: Process,
    /// Its folder `fd`.
    folder: OwnedFd,
    /// Whether the kernel keeps the number of descriptors as the folder's size: Linux 6.2 does.
    has_count: bool,
    paths: Paths,
}

impl Watched {
    pub(super) fn open(pid: i32) -> Result<Watched, Lost> {
        let process = Process::new(pid)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = process.open_relative_flags("fd", flags)?.into();
        // This one has a descriptor at least: the folder.
        let own = openat(rustix::fs::CWD, "/proc/self/fd", flags, Mode::empty())?;
        Ok(Watched {
            process,
            folder,
            has_count: size(&own)? > 0,
            paths: Paths::new(),
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.pid
    }

    pub(super) fn name_and_age(&self) -> Result<(String, Duration), Lost> {
        let stat = self.process.stat()?;
        let ticks = procfs::ticks_per_second().max(1);
        let started = Duration::from_millis(stat.starttime.saturating_mul(1_000) / ticks);
        let now = Uptime::current()?.uptime_duration();
        Ok((shown(&stat.comm), now.saturating_sub(started)))
    }

    /// The soft limit on its descriptors.
    pub(super) fn limit(&self) -> Result<Option<u64>, Lost> {
        Ok(match self.process.limits()?.max_open_files.soft_limit {
            LimitValue::Unlimited => None,
            LimitValue::Value(limit) => Some(limit),
        })
    }

    /// How many descriptors it has.
    pub(super) fn count(&self) -> Result<u64, Lost> {
        if self.has_count {
            return size(&self.folder);
        }
        let mut count = 0;
        self.each(|_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    }

    /// Adds what each of its descriptors is.
    pub(super) fn look(&mut self, sockets: &mut Sockets, census: &mut Census) -> Result<(), Lost> {
        let mut found = Found::new(self.pid(), &self.folder, &self.paths);
        self.each(|descriptor| found.add(descriptor))?;
        let keys = std::mem::take(&mut found.sockets);
        sockets.resolve(&self.process, &self.folder, keys, &mut found.census)?;
        // A process that is ending has none any more: what was seen of it may be a part only.
        if self.has_count {
            let _ = size(&self.folder)?;
        }
        for (kind, count) in found.census.counts {
            *census.counts.entry(kind).or_default() += count;
        }
        census.sockets.append(&mut found.census.sockets);
        self.paths = found.paths;
        Ok(())
    }

    /// Calls `visit` with the number of each descriptor.
    fn each(&self, mut visit: impl FnMut(u32) -> Result<(), Lost>) -> Result<(), Lost> {
        let mut buffer = [MaybeUninit::uninit(); FOLDER];
        let _ = seek(&self.folder, SeekFrom::Start(0))?;
        let mut names = RawDir::new(&self.folder, &mut buffer);
        while let Some(name) = names.next() {
            let name = name?;
            // Those that are no numbers are `.` and `..`.
            let number = name
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse().ok());
            if let Some(descriptor) = number {
                visit(descriptor)?;
            }
        }
        Ok(())
    }

    /// The processes that it has started, by any of its threads.
    pub(super) fn children(&self) -> Result<Vec<i32>, Lost> {
        let mut children = Vec::new();
        for thread in self.process.tasks()? {
            match thread.and_then(|thread| thread.children()) {
                Ok(found) => {
                    children.extend(found.into_iter().filter_map(|pid| i32::try_from(pid).ok()))
                }
                // The thread has just ended, or the kernel was built without this file.
                Err(ProcError::NotFound(_)) => return self.children_by_search(),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(children)
    }

    /// The same for any kernel, by looking at every process.
    fn children_by_search(&self) -> Result<Vec<i32>, Lost> {
        let stats = all_processes()?.filter_map(|process| process.ok()?.stat().ok());
        let children = stats.filter(|stat| stat.ppid == self.pid());
        Ok(children.map(|stat| stat.pid).collect())
    }
}

/// The process that a thread belongs to.
pub(in super::super) fn of_thread(id: i32) -> Result<i32, Lost> {
    Ok(Process::new(id)?.status()?.tgid)
}

/// Whether any process has this number.
pub(super) fn exists(pid: i32) -> bool {
    rustix::fs::access(format!("/proc/{pid}"), rustix::fs::Access::EXISTS).is_ok()
}

fn size(folder: &OwnedFd) -> Result<u64, Lost> {
    Ok(statx(folder, "", AtFlags::EMPTY_PATH, StatxFlags::SIZE)?.stx_size)
}
