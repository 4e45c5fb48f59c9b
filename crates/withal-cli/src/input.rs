//! stdin, until it ends or a signal asks to stop.

use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::run::Arrived;
use crate::stop::Stop;

/// How much a pipe is asked to hold, so that its writer need not wait for each read; more would
/// not stay in the caches.
pub(crate) const PIPE: usize = 256 * 1024;

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

    /// Reads what there is, about `most` bytes, behind what `buffer` holds, and waits if there is
    /// nothing yet; 0 at the end.
    ///
    /// After a signal it reads what lies in the pipe by then, and no more.
    pub(crate) fn read(&mut self, buffer: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        make_room(buffer, most);
        self.read_before(buffer, None)
            .map(Option::unwrap_or_default)
    }

    /// As `read`, as far as `buffer` has room; nothing if nothing comes before `deadline`.
    pub(crate) fn read_before(
        &mut self,
        buffer: &mut Vec<u8>,
        deadline: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        loop {
            let read = match self.left {
                None => match self.wait(deadline)? {
                    Waited::Stopped => {
                        self.left = Some(waiting());
                        continue;
                    }
                    Waited::Late => return Ok(None),
                    Waited::Ready => rustix::io::read(io::stdin(), spare_capacity(buffer)),
                },
                Some(left) if left > 0 && has_input()? => read_at_most(io::stdin(), buffer, left),
                Some(_) => return Ok(Some(0)),
            };
            match read {
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

/// Sees to it that `buffer` has room for about `most` bytes behind what it holds.
pub(crate) fn make_room(buffer: &mut Vec<u8>, most: usize) {
    if buffer.capacity() - buffer.len() < most.div_ceil(2) {
        buffer.reserve_exact(most);
    }
}

/// Reads no more than `most` behind what `buffer` holds, as far as it has room for that.
pub(crate) fn read_at_most(
    source: impl AsFd,
    buffer: &mut Vec<u8>,
    most: usize,
) -> Result<usize, Errno> {
    let held = buffer.len();
    let room = buffer.capacity() - held;
    buffer.resize(held + room.min(most), 0);
    let (_, space) = buffer.split_at_mut(held);
    let read = rustix::io::read(source, space);
    buffer.truncate(held + read.unwrap_or_default());
    read
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
