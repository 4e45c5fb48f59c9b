//! The working directory, changed for a block.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use withal_core::{ContextManager, ExitCase};

use crate::layers::{LayerId, Layers};
use crate::report;
use crate::shown::shown;

static LAYERS: Layers = Layers::new();

/// Changes the working directory to `path` for a block; see [`Chdir`].
///
/// ```
/// use withal_core::with;
/// use withal_os::chdir;
///
/// # fn main() -> Result<(), withal_core::Error> {
/// let before = std::env::current_dir().unwrap();
/// with(chdir("/"), |_| Ok(assert_eq!(std::env::current_dir()?.to_str(), Some("/"))))?;
/// assert_eq!(std::env::current_dir().unwrap(), before);
/// # Ok(())
/// # }
/// ```
#[must_use = "the directory changes when the manager is entered"]
pub fn chdir(path: impl Into<PathBuf>) -> Chdir {
    Chdir { path: path.into() }
}

/// Changes the working directory for a block; made by [`chdir`].
///
/// The old directory is held by descriptor, so the block returns to it even if it was renamed,
/// moved or made unreadable meanwhile. The manager may be entered again, also while it is open.
///
/// The working directory belongs to the whole process: other threads see the change, and it is no
/// way to give two threads two directories. For a child process prefer
/// [`Command::current_dir`](std::process::Command::current_dir). If blocks on several threads
/// overlap, the newest one's directory is in force, and the first one's old directory is back once
/// all have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "the directory changes when the manager is entered"]
pub struct Chdir {
    path: PathBuf,
}

/// The working directory is changed while this lives.
#[derive(Debug)]
#[must_use = "dropping it changes back, but hides a failure to"]
pub struct ChangedDir {
    path: PathBuf,
    /// `None` once the old directory is back.
    layer: Option<LayerId>,
}

impl Chdir {
    fn change(&self) -> Result<ChangedDir, ChdirError> {
        let there = open(&self.path).map_err(|error| self.error(Action::Enter, error))?;
        let layer = LAYERS.enter(|| {
            let saved = open(Path::new(".")).map_err(|error| self.error(Action::Save, error))?;
            rustix::process::fchdir(&there)
                .map_err(|error| self.error(Action::Enter, error.into()))?;
            Ok(saved)
        })?;
        Ok(ChangedDir {
            path: self.path.clone(),
            layer: Some(layer),
        })
    }

    fn error(&self, action: Action, source: io::Error) -> ChdirError {
        ChdirError {
            path: self.path.clone(),
            action,
            source,
        }
    }
}

/// A descriptor that can be returned to; needs no right to read the directory.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

impl ChangedDir {
    /// The path that was changed to, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn restore(&mut self) -> Result<(), ChdirError> {
        let Some(layer) = self.layer.take() else {
            return Ok(());
        };
        LAYERS.exit(layer, |saved| {
            rustix::process::fchdir(saved).map_err(|error| ChdirError {
                path: current_name(saved),
                action: Action::Return,
                source: error.into(),
            })
        })
    }
}

/// What a directory is called now.
fn current_name(fd: &OwnedFd) -> PathBuf {
    use std::os::fd::AsRawFd;
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
        .unwrap_or_else(|_| PathBuf::from("the old directory"))
}

impl Drop for ChangedDir {
    fn drop(&mut self) {
        if let Err(error) = self.restore() {
            report::teardown_failed("ChangedDir", error);
        }
    }
}

impl ContextManager for Chdir {
    type Resource = ChangedDir;
    type Error = ChdirError;

    fn enter(self) -> Result<ChangedDir, ChdirError> {
        self.change()
    }

    fn exit(mut changed: ChangedDir, _case: ExitCase) -> Result<(), ChdirError> {
        changed.restore()
    }
}

impl ContextManager for &Chdir {
    type Resource = ChangedDir;
    type Error = ChdirError;

    fn enter(self) -> Result<ChangedDir, ChdirError> {
        self.change()
    }

    fn exit(mut changed: ChangedDir, _case: ExitCase) -> Result<(), ChdirError> {
        changed.restore()
    }
}

/// The working directory could not be changed, or not be changed back.
#[derive(Debug)]
pub struct ChdirError {
    path: PathBuf,
    action: Action,
    source: io::Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Save,
    Enter,
    Return,
}

impl ChdirError {
    /// The directory that could not be entered: the new one, or the old one on the way back.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the system said.
    #[must_use]
    pub fn io_error(&self) -> &io::Error {
        &self.source
    }
}

impl fmt::Display for ChdirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = shown(&self.path);
        match self.action {
            Action::Save => write!(
                f,
                "cannot change to `{path}`: the directory to return to cannot be opened"
            ),
            Action::Enter => write!(f, "cannot change the working directory to `{path}`"),
            Action::Return => write!(f, "cannot return to the working directory `{path}`"),
        }
    }
}

impl std::error::Error for ChdirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
