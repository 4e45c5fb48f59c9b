//! stdin, until it ends or a signal asks to stop.

use std::io;
use std::os::fd::AsFd as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::run::Arrived;
use crate::stop::Stop;

/// How much a pipe is asked to hold, so that its writer need not wait for each read.
const PIPE: usize = 1 << 20;

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
        loop {
            let wanted = match self.left {
                None if self.is_stopped_before_there_is_input()? => {
                    self.left = Some(waiting());
                    continue;
                }
                None => buffer.len(),
                Some(left) if left > 0 && has_input()? => left.min(buffer.len()),
                Some(_) => return Ok(0),
            };
            let (space, _) = buffer.split_at_mut(wanted);
            match rustix::io::read(io::stdin(), space) {
                Ok(read) => {
                    self.left = self.left.map(|left| left - read);
                    return Ok(read);
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

    fn is_stopped_before_there_is_input(&self) -> io::Result<bool> {
        loop {
            let stdin = io::stdin();
            let mut polled = [
                PollFd::from_borrowed_fd(self.stop.as_fd(), PollFlags::IN),
                PollFd::new(&stdin, PollFlags::IN),
            ];
            match poll(&mut polled, None) {
                Ok(_) => {
                    let [stop, _] = polled;
                    return Ok(!stop.revents().is_empty());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
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
