//! stdout, whose reader may go away.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::os::fd::AsFd as _;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Nobody reads stdout any more.
#[derive(Debug)]
pub(crate) struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stdout: nobody reads it any more")
    }
}

impl std::error::Error for Closed {}

/// Writes to stdout, in large pieces.
#[derive(Debug)]
pub(crate) struct Output(BufWriter<File>);

impl Output {
    pub(crate) fn new() -> anyhow::Result<Output> {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        let file = File::from(stdout.context("stdout")?);
        Ok(Output(BufWriter::with_capacity(64 * 1024, file)))
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(bytes).map_err(told)
    }

    pub(crate) fn line(&mut self, line: impl fmt::Display) -> anyhow::Result<()> {
        writeln!(self.0, "{line}").map_err(told)
    }

    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.0.flush().map_err(told)
    }

    /// Fails if a write would, for nobody reads any more.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let mut polled = [PollFd::new(self.0.get_ref(), PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let _ = poll(&mut polled, Some(&now));
        let [stdout] = polled;
        match stdout.revents().contains(PollFlags::ERR) {
            true => Err(Closed.into()),
            false => Ok(()),
        }
    }
}

fn told(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::new(error).context("cannot write stdout"),
    }
}
