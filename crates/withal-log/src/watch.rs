//! Waiting until something happens in a directory.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::Duration;

/// Tells when files of a directory are made, written or removed.
#[derive(Debug)]
pub(crate) struct Watch {
    #[cfg(target_os = "linux")]
    inotify: std::os::fd::OwnedFd,
}

#[cfg(target_os = "linux")]
impl Watch {
    pub(crate) fn new(directory: &Path) -> io::Result<Watch> {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let events = WatchFlags::CREATE | WatchFlags::MODIFY | WatchFlags::MOVED_TO;
        let _ = add_watch(&inotify, directory, events | WatchFlags::DELETE)?;
        Ok(Watch { inotify })
    }

    /// Whether something has happened since the last call, after at most `limit`.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<bool> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        // One that the system cannot count is none.
        let limit = Timespec::try_from(limit).ok();
        let mut polled = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut polled, limit.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(false),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut space = [MaybeUninit::<u8>::uninit(); 4096];
        // What happened in particular is no matter.
        loop {
            match rustix::io::read(&self.inotify, &mut space) {
                Ok((read, _)) if !read.is_empty() => {}
                Ok(_) | Err(rustix::io::Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
impl Watch {
    pub(crate) fn new(_: &Path) -> io::Result<Watch> {
        Ok(Watch {})
    }

    /// Looks again after a moment.
    pub(crate) fn wait(&self, limit: Duration) -> io::Result<bool> {
        std::thread::park_timeout(limit.min(Duration::from_millis(100)));
        Ok(true)
    }
}
