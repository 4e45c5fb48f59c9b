//! Standard output and standard error, sent elsewhere for a block.

mod capture;
mod error;
mod stream;

use std::fmt;
use std::ops::Deref;
use std::os::fd::AsFd;

use withal_core::{ContextManager, ExitCase};

pub use capture::{Capture, Captured, capture_stderr, capture_stdout};
pub use error::RedirectError;

use crate::layers::LayerId;
use crate::report;
use stream::Stream;

/// Sends standard output to `target` for a block; see [`Redirect`].
///
/// ```
/// use std::process::Command;
/// use withal_core::with;
/// use withal_os::redirect_stdout;
///
/// # fn main() -> Result<(), withal_core::Error> {
/// # let directory = withal_os::TempDir::new().open().unwrap();
/// # let path = directory.path().join("out.log");
/// let file = std::fs::File::create(&path).unwrap();
/// with(redirect_stdout(file), |_file| {
///     Command::new("echo").arg("from a child process").status()?;
///     Ok(())
/// })?;
/// assert_eq!(std::fs::read_to_string(&path).unwrap(), "from a child process\n");
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is redirected before the manager is entered"]
pub fn redirect_stdout<T: AsFd>(target: T) -> Redirect<T> {
    Redirect {
        target,
        stream: Stream::Stdout,
    }
}

/// Sends standard error to `target` for a block; see [`Redirect`].
///
/// ```
/// use withal_core::with;
/// use withal_os::redirect_stderr;
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let quiet = redirect_stderr(std::fs::File::options().write(true).open("/dev/null").unwrap());
/// with(&quiet, |_| Ok(eprintln!("nobody reads this")))?;
/// with(&quiet, |_| Ok(eprintln!("nor this: it can be entered again")))?;
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is redirected before the manager is entered"]
pub fn redirect_stderr<T: AsFd>(target: T) -> Redirect<T> {
    Redirect {
        target,
        stream: Stream::Stderr,
    }
}

/// Sends standard output or standard error elsewhere for a block; made by [`redirect_stdout`] and
/// [`redirect_stderr`].
///
/// It is the descriptor that is redirected: what child processes and C code write is caught too.
/// What `print!` had buffered is written out before, both on the way in and on the way out; C's own
/// buffers are not known here, so let C code `fflush` first.
///
/// A block takes the manager by value, or by reference to use it again, also while it is open. The
/// body gets the target.
///
/// Standard output belongs to the whole process: the other threads' goes to the target too. If
/// blocks on several threads overlap, the newest one's target is in force, and the first one's old
/// output is back once all have ended.
///
/// Do not write to the target's own descriptor through another open file while it is redirected
/// to: positions would clash. Writing through the target the body is given is fine.
#[derive(Clone)]
#[must_use = "nothing is redirected before the manager is entered"]
pub struct Redirect<T> {
    target: T,
    stream: Stream,
}

/// The output is redirected while this lives; derefs to the target.
#[must_use = "dropping it ends the redirection, but hides a failure to"]
pub struct Redirected<T> {
    target: T,
    stream: Stream,
    /// `None` once the old output is back.
    layer: Option<LayerId>,
}

impl<T: AsFd> Redirected<T> {
    fn start(target: T, stream: Stream) -> Result<Redirected<T>, RedirectError> {
        let layer = stream.redirect(target.as_fd())?;
        Ok(Redirected {
            target,
            stream,
            layer: Some(layer),
        })
    }
}

impl<T> Redirected<T> {
    fn restore(&mut self) -> Result<(), RedirectError> {
        match self.layer.take() {
            Some(layer) => self.stream.restore(layer),
            None => Ok(()),
        }
    }
}

impl<T> Deref for Redirected<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.target
    }
}

impl<T> Drop for Redirected<T> {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            report::teardown_failed("Redirected", error);
        }
    }
}

impl<T: AsFd> ContextManager for Redirect<T> {
    type Resource = Redirected<T>;
    type Error = RedirectError;

    fn enter(self) -> Result<Redirected<T>, RedirectError> {
        Redirected::start(self.target, self.stream)
    }

    fn exit(mut redirected: Redirected<T>, _case: ExitCase) -> Result<(), RedirectError> {
        redirected.restore()
    }
}

impl<'a, T: AsFd> ContextManager for &'a Redirect<T> {
    type Resource = Redirected<&'a T>;
    type Error = RedirectError;

    fn enter(self) -> Result<Redirected<&'a T>, RedirectError> {
        Redirected::start(&self.target, self.stream)
    }

    fn exit(mut redirected: Redirected<&'a T>, _case: ExitCase) -> Result<(), RedirectError> {
        redirected.restore()
    }
}

impl<T> fmt::Debug for Redirect<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirect")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Redirected<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redirected")
            .field("stream", &self.stream)
            .field("in_force", &self.layer.is_some())
            .finish_non_exhaustive()
    }
}
