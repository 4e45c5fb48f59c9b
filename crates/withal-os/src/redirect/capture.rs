//! What is printed, as a value.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;
use withal_core::{ContextManager, ExitCase};

use crate::redirect::error::{Action, RedirectError};
use crate::redirect::stream::Stream;
use crate::redirect::{Redirected, redirect_stderr, redirect_stdout};

/// Catches what goes to standard output in a block, child processes' included.
///
/// It is [`redirect_stdout`] to a file in memory.
///
/// ```
/// use std::process::Command;
/// use withal_core::with;
/// use withal_os::capture_stdout;
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let text = with(capture_stdout(), |captured| {
///     Command::new("echo").arg("hello").status()?;
///     Ok(captured.text()?)
/// })?;
/// assert_eq!(text, "hello\n");
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is captured before the manager is entered"]
pub fn capture_stdout() -> Capture {
    Capture {
        stream: Stream::Stdout,
    }
}

/// Catches what goes to standard error in a block, child processes' included.
///
/// It is [`redirect_stderr`] to a file in memory.
#[must_use = "nothing is captured before the manager is entered"]
pub fn capture_stderr() -> Capture {
    Capture {
        stream: Stream::Stderr,
    }
}

/// Catches what is printed in a block; made by [`capture_stdout`] and [`capture_stderr`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is captured before the manager is entered"]
pub struct Capture {
    stream: Stream,
}

/// What was printed so far: what a [`Capture`] lends.
#[derive(Debug)]
#[must_use = "dropping it ends the capture"]
pub struct Captured {
    stream: Stream,
    redirected: Redirected<File>,
}

impl Captured {
    /// All bytes that were printed so far.
    ///
    /// # Errors
    ///
    /// They cannot be written out, or not be read back.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        self.stream.flush()?;
        let length = usize::try_from(self.redirected.metadata()?.len())
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = vec![0; length];
        // By position: the one that is shared with the writers stays at the end.
        self.redirected.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// All text that was printed so far.
    ///
    /// # Errors
    ///
    /// As for [`bytes`](Captured::bytes), and if it is no UTF-8.
    pub fn text(&self) -> io::Result<String> {
        String::from_utf8(self.bytes()?)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }
}

impl ContextManager for Capture {
    type Resource = Captured;
    type Error = RedirectError;

    fn enter(self) -> Result<Captured, RedirectError> {
        let stream = self.stream;
        let memory = rustix::fs::memfd_create("withal-capture", MemfdFlags::CLOEXEC)
            .map_err(|errno| RedirectError::new(stream, Action::MakeTarget, errno.into()))?;
        let redirect = match stream {
            Stream::Stdout => redirect_stdout(File::from(memory)),
            Stream::Stderr => redirect_stderr(File::from(memory)),
        };
        Ok(Captured {
            stream,
            redirected: redirect.enter()?,
        })
    }

    fn exit(captured: Captured, case: ExitCase) -> Result<(), RedirectError> {
        <super::Redirect<File> as ContextManager>::exit(captured.redirected, case)
    }
}
