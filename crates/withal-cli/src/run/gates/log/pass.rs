//! Passing on what is logged.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Instant;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::input::PIPE;

/// One of withal's own streams.
#[derive(Debug)]
pub(super) struct Pass {
    stream: OwnedFd,
}

/// How far passing on has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed {
    All,
    /// So many bytes; then it was told to end, or the time was over.
    Interrupted(usize),
    /// Nobody reads any more.
    Closed,
}

impl Pass {
    /// A stream that never keeps its writer waiting: opened anew, where it can be, for it is shared
    /// with others, who would be surprised if it did not wait for them. A file has a position that
    /// is shared, and does not keep anybody waiting for long; a socket cannot be opened.
    pub(super) fn new(stream: OwnedFd) -> anyhow::Result<Pass> {
        let stat = rustix::fs::fstat(&stream).map_err(io::Error::from);
        let kind = FileType::from_raw_mode(stat.context("cannot look at a stream")?.st_mode);
        let opened = match kind {
            FileType::Fifo | FileType::CharacterDevice => open_anew(&stream).ok(),
            _ => None,
        };
        let stream = opened.unwrap_or(stream);
        // One that may not grow, or is no pipe, is used as it is.
        let _small = rustix::pipe::fcntl_setpipe_size(&stream, PIPE);
        Ok(Pass { stream })
    }

    /// Writes all of `bytes`, unless `told` is hung up or `until` is over first.
    pub(super) fn write(
        &self,
        bytes: &[u8],
        told: Option<&OwnedFd>,
        until: Option<Instant>,
    ) -> io::Result<Passed> {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match rustix::io::write(&self.stream, rest) {
                Ok(more) => written += more,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE) => return Ok(Passed::Closed),
                Err(Errno::AGAIN) => {
                    if !self.wait(told, until)? {
                        return Ok(Passed::Interrupted(written));
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Passed::All)
    }

    /// Waits until it can be written to; whether it can.
    fn wait(&self, told: Option<&OwnedFd>, until: Option<Instant>) -> io::Result<bool> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(Timespec::try_from).transpose();
        let timeout = timeout.map_err(io::Error::other)?;
        let mut polled = vec![PollFd::new(&self.stream, PollFlags::OUT)];
        polled.extend(told.map(|told| PollFd::new(told, PollFlags::IN)));
        match poll(&mut polled, timeout.as_ref()) {
            Ok(_) => Ok(polled
                .first()
                .is_some_and(|stream| !stream.revents().is_empty())),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

fn open_anew(stream: &OwnedFd) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, pipe};
    use std::os::fd::OwnedFd;

    use super::{Pass, Passed};

    #[test]
    fn a_stream_that_nobody_reads_keeps_nobody_waiting() {
        let (mut reader, writer) = pipe().unwrap();
        let pass = Pass::new(writer.into()).unwrap();
        let (told, guard) = pipe().unwrap();
        let told = OwnedFd::from(told);
        drop(guard);
        let bytes = vec![b'x'; 1 << 20];
        let Passed::Interrupted(written) = pass.write(&bytes, Some(&told), None).unwrap() else {
            panic!("a pipe has taken a megabyte");
        };
        assert!(written > 0);
        let mut read = vec![0; written];
        reader.read_exact(&mut read).unwrap();
        assert_eq!(pass.write(b"rest", Some(&told), None).unwrap(), Passed::All);
        drop(reader);
        assert_eq!(pass.write(b"x", None, None).unwrap(), Passed::Closed);
    }
}
