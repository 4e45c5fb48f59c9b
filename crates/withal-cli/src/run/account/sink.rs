//! Where a report goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use withal_os::write_atomic;

use crate::run::job::Sink;

/// Where a report goes; found out before anything is acquired.
#[derive(Debug)]
pub(crate) enum Destination {
    /// A file that is replaced whole.
    File(PathBuf),
    Descriptor(File),
}

impl Destination {
    /// # Errors
    ///
    /// There is no such descriptor.
    pub(crate) fn open(sink: &Sink) -> anyhow::Result<Destination> {
        match sink {
            Sink::File(path) => Ok(Destination::File(path.clone())),
            Sink::Descriptor(number) => {
                let file = descriptor(getpid(), *number);
                let file = file.with_context(|| {
                    format!("--report: fd:{number}: no such descriptor; open it, as with `{number}>report.json`")
                });
                Ok(Destination::Descriptor(file?))
            }
        }
    }

    pub(super) fn write(self, text: &str) -> anyhow::Result<()> {
        match self {
            Destination::File(path) => replace(&path, text),
            Destination::Descriptor(mut file) => Ok(file.write_all(text.as_bytes())?),
        }
    }
}

/// A copy of a descriptor that this process came with, closed on exec.
fn descriptor(me: Pid, number: i32) -> io::Result<File> {
    let copy = pidfd_open(me, PidfdFlags::empty())
        .and_then(|me| pidfd_getfd(me, number, PidfdGetfdFlags::empty()));
    match copy {
        Ok(copy) => Ok(copy.into()),
        // A sandbox may forbid that; then it is opened anew, as only files and pipes can be.
        Err(_) => OpenOptions::new()
            .append(true)
            .open(format!("/proc/self/fd/{number}")),
    }
}

/// Replaces a file whole.
pub(super) fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    Ok(write_atomic(path, text)?)
}
