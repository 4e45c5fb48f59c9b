//! stdin, until it ends or a signal asks to stop.

use std::io::{self, IoSliceMut};
use std::os::fd::AsFd as _;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ReadWriteFlags};

use crate::run::Arrived;
use crate::stop::Stop;

/// How much a pipe is asked to hold, so that its writer need not wait for each read; more would
/// not stay in the caches.
const PIPE: usize = 256 * 1024;

/// What came first.
enum Waited {
    /// Input, or its end.
    Ready,
    Stopped,
    /// The deadline.
    Late,
}

/// Reads stdin.
#[derive(Debug)]
pub(crate) struct Input {
    stop: Stop,
    /// How much is still read after a signal.
    left: Option<usize>,
}

impl Input {
    pub(crate) fn new(stop: Stop) -> Input {
        // What is no pipe, or may not grow, is read as it is.
        let _ = rustix::pipe::fcntl_setpipe_size(io::stdin(), PIPE);
        Input { stop, left: None }
    }

    /// Reads what there is, and waits if there is nothing yet; 0 at the end.
    ///
    /// After a signal it reads what lies in the pipe by then, and no more.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_before(buffer, None)
            .map(Option::unwrap_or_default)
    }

    /// As `read`; nothing if nothing comes before `deadline`.
    pub(crate) fn read_before(
        &mut self,
        buffer: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        loop {
            if self.left.is_none()
                && self.stop.asked().is_none()
                && let Some(read) = read_at_once(buffer)
            {
                return Ok(Some(read));
            }
            let wanted = match self.left {
                None => match self.wait(deadline)? {
                    Waited::Stopped => {
                        self.left = Some(waiting());
                        continue;
                    }
                    Waited::Late => return Ok(None),
                    Waited::Ready => buffer.len(),
                },
                Some(left) if left > 0 && has_input()? => left.min(buffer.len()),
                Some(_) => return Ok(Some(0)),
            };
            let (space, _) = buffer.split_at_mut(wanted);
            match rustix::io::read(io::stdin(), space) {
                Ok(read) => {
                    self.left = self.left.map(|left| left - read);
                    return Ok(Some(read));
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The signal that asked to stop, if one did.
    pub(crate) fn stopped(&self) -> Option<Arrived> {
        self.stop.asked()
    }

    fn wait(&self, deadline: Option<Instant>) -> io::Result<Waited> {
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose();
            let left = left.map_err(io::Error::other)?;
            let stdin = io::stdin();
            let mut polled = [
                PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
                PollFd::new(&stdin, PollFlags::IN),
            ];
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => return Ok(Waited::Late),
                Ok(_) => {
                    let [stop, _] = polled;
                    return Ok(match stop.revents().is_empty() {
                        true => Waited::Ready,
                        false => Waited::Stopped,
                    });
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads what a pipe holds already, which saves asking it first; nothing if that cannot be done,
/// for whatever reason: whoever waits and reads then hears of it.
fn read_at_once(buffer: &mut [u8]) -> Option<usize> {
    const NO_OFFSET: u64 = u64::MAX;
    let mut space = [IoSliceMut::new(buffer)];
    rustix::io::preadv2(io::stdin(), &mut space, NO_OFFSET, ReadWriteFlags::NOWAIT).ok()
}

/// Whether a read would not wait.
fn has_input() -> io::Result<bool> {
    let stdin = io::stdin();
    let mut polled = [PollFd::new(&stdin, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    Ok(poll(&mut polled, Some(&now))? > 0)
}

/// How much lies in the pipe; nothing that is no pipe is lost when it is not read.
fn waiting() -> usize {
    use std::os::unix::fs::FileTypeExt as _;
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let is_pipe = stdin
        .and_then(|stdin| std::fs::File::from(stdin).metadata())
        .is_ok_and(|data| data.file_type().is_fifo() || data.file_type().is_socket());
    let len = rustix::io::ioctl_fionread(io::stdin());
    match is_pipe {
        true => len.map_or(0, |len| usize::try_from(len).unwrap_or(0)),
        false => 0,
    }
}
