//! A pipe that processes write to, read to its end or until nobody waits for more.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::input::{PIPE, make_room, read_at_most};

/// How long what is still written is read once the reader was told to end: those who had to write
/// are gone by then, so that only a process that nobody could end keeps the pipe.
const DRAIN: Duration = Duration::from_millis(250);

/// The end that is read.
#[derive(Debug)]
pub(super) struct Source {
    pipe: OwnedFd,
    /// Hung up once the reader is to end.
    told: OwnedFd,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// Nobody has asked for it.
    Open,
    Draining {
        until: Instant,
    },
    /// The time is over: what lies in the pipe now, and no more.
    Left(usize),
}

/// Tells a [`Source`] to end, when it is dropped.
#[derive(Debug)]
pub(super) struct EndGuard {
    _told: OwnedFd,
}

/// A pipe: what reads it, what ends that, and what is written to.
pub(super) fn pipe() -> anyhow::Result<(Source, EndGuard, OwnedFd)> {
    let make = || pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from);
    let (pipe, write) = make().context("cannot make a pipe")?;
    let (told, guard) = make().context("cannot make a pipe")?;
    // One that may not grow is used as it is.
    let _small = rustix::pipe::fcntl_setpipe_size(&pipe, PIPE);
    let source = Source {
        pipe,
        told,
        end: End::Open,
    };
    Ok((source, EndGuard { _told: guard }, write))
}

impl Source {
    /// The descriptor that is read.
    pub(super) fn pipe(&self) -> &OwnedFd {
        &self.pipe
    }

    /// What is hung up once this is to end.
    pub(super) fn told(&self) -> &OwnedFd {
        &self.told
    }

    /// Whether it was told to end, as far as that has been noticed.
    pub(super) fn is_ending(&self) -> bool {
        !matches!(self.end, End::Open)
    }

    /// Takes note that it was told to end.
    pub(super) fn begin_to_end(&mut self) {
        if let End::Open = self.end {
            let until = Instant::now() + DRAIN;
            self.end = End::Draining { until };
        }
    }

    /// Reads what there is, about `most` bytes, behind what `buffer` holds, and waits if there is
    /// nothing yet; 0 at the end.
    pub(super) fn read(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        make_room(buffer, most);
        loop {
            let (limit, timeout) = match self.end {
                End::Open => (None, None),
                End::Draining { until } => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        let len = rustix::io::ioctl_fionread(&self.pipe)?;
                        self.end = End::Left(usize::try_from(len).unwrap_or(0));
                        continue;
                    }
                    (None, Some(left))
                }
                End::Left(0) => return Ok(0),
                End::Left(left) => (Some(left), Some(Duration::ZERO)),
            };
            let timeout = timeout.map(Timespec::try_from).transpose();
            let timeout = timeout.map_err(io::Error::other)?;
            let mut polled = [
                PollFd::new(&self.pipe, PollFlags::IN),
                PollFd::new(&self.told, PollFlags::IN),
            ];
            let watched = match self.end {
                End::Open => polled.as_mut_slice(),
                // It is hung up, and would be ready always.
                _ => polled.split_at_mut(1).0,
            };
            match poll(watched, timeout.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [is_ready, is_told] = polled.map(|polled| !polled.revents().is_empty());
            if is_told {
                self.begin_to_end();
            }
            if !is_ready {
                if let End::Left(_) = self.end {
                    return Ok(0);
                }
                continue;
            }
            let read = match limit {
                Some(most) => read_at_most(&self.pipe, buffer, most),
                None => rustix::io::read(&self.pipe, spare_capacity(buffer)),
            };
            match read {
                Ok(read) => {
                    if let End::Left(left) = &mut self.end {
                        *left -= read;
                    }
                    return Ok(read);
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pipe;

    #[test]
    fn it_ends_with_its_writers_or_when_it_is_told_to() {
        let mut buffer = Vec::with_capacity(8);
        let (mut source, _guard, write) = pipe().unwrap();
        assert_eq!(rustix::io::write(&write, b"one").unwrap(), 3);
        drop(write);
        assert_eq!(source.read(&mut buffer, 8).unwrap(), 3);
        assert_eq!(source.read(&mut buffer, 8).unwrap(), 0);

        let (mut source, guard, write) = pipe().unwrap();
        assert_eq!(rustix::io::write(&write, b"0123456789").unwrap(), 10);
        drop(guard);
        buffer.clear();
        assert_eq!(source.read(&mut buffer, 8).unwrap(), 8);
        buffer.clear();
        assert!(source.is_ending());
        assert_eq!(source.read(&mut buffer, 8).unwrap(), 2);
        // The writer is still there.
        assert_eq!(source.read(&mut buffer, 8).unwrap(), 0);
    }
}
