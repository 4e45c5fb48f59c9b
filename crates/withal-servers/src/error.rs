//! Why a server is not there.

use std::fmt;
use std::panic::Location;

use withal_core::{BoxError, Entry, NoticeKind, emit_error};

/// A private server could not be started, stopped or removed.
///
/// Whoever runs the test reads it: it says what was being done, and where the server itself said
/// why, it ends with the last lines of its log. See [`is_not_installed`](Self::is_not_installed)
/// for what a test may branch on.
pub struct ServerError(Box<Kind>);

enum Kind {
    NotInstalled {
        program: &'static str,
        package: &'static str,
    },
    Failed {
        doing: String,
        source: BoxError,
    },
    Ended {
        doing: String,
        log: String,
    },
    Closed,
}

impl ServerError {
    pub(super) fn not_installed(program: &'static str, package: &'static str) -> ServerError {
        Kind::NotInstalled { program, package }.into()
    }

    /// For `map_err`: what failed, in words that follow "cannot".
    pub(super) fn doing<E: Into<BoxError>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| {
            let (doing, source) = (what.into(), source.into());
            Kind::Failed { doing, source }.into()
        }
    }

    /// What failed, in words that follow "cannot", and what the program wrote about it.
    pub(super) fn ended(doing: impl Into<String>, log: String) -> ServerError {
        let doing = doing.into();
        Kind::Ended { doing, log }.into()
    }

    pub(super) fn closed() -> ServerError {
        Kind::Closed.into()
    }

    /// Whether the server's programs are not on this machine. The message has the command that
    /// installs them.
    #[must_use]
    pub fn is_not_installed(&self) -> bool {
        matches!(*self.0, Kind::NotInstalled { .. })
    }
}

impl From<Kind> for ServerError {
    fn from(kind: Kind) -> ServerError {
        ServerError(Box::new(kind))
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::NotInstalled { program, package } => write!(
                f,
                "there is no `{program}` on this machine; this installs it: apt-get install {package}"
            ),
            Kind::Failed { doing, .. } => write!(f, "cannot {doing}"),
            Kind::Ended { doing, log } => write!(f, "cannot {doing}; its last words:\n{log}"),
            Kind::Closed => f.write_str("the server is closed"),
        }
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match &*self.0 {
            Kind::Failed { source, .. } => write!(f, ": {source}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ServerError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Kind::Failed { source, .. } => Some(&**source),
            _ => None,
        }
    }
}

/// Reports that dropping a `name` could not undo everything: `Drop` has no caller to tell.
#[cold]
#[track_caller]
pub(super) fn teardown_failed(name: &'static str, error: impl Into<BoxError>) {
    notice(NoticeKind::TeardownFailed, name, error);
}

/// Reports that something about `name` failed and was worked around.
#[cold]
#[track_caller]
pub(super) fn worked_around(name: &'static str, error: impl Into<BoxError>) {
    notice(NoticeKind::WorkedAround, name, error);
}

#[track_caller]
fn notice(kind: NoticeKind, name: &'static str, error: impl Into<BoxError>) {
    let entry = Entry::at(name, Location::caller());
    emit_error(kind, Some(&entry), error);
}
