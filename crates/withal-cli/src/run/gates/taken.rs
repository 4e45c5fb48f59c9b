//! What only one gate of a run can have.

use std::path::{Path, PathBuf};

use super::Variable;

/// What a gate takes, so that no other gate of the run can have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Stdout,
    Stderr,
    /// Of the command's environment.
    Variable(Variable),
    Lock {
        path: PathBuf,
        is_shared: bool,
    },
    Log(PathBuf),
    /// That is replaced whole.
    File(PathBuf),
    /// On which server, and its key.
    Lease(String, String),
    /// Of 127.0.0.1.
    Port(u16),
}

impl Taken {
    /// Whether a gate that takes this excludes one that takes the other.
    pub(super) fn excludes(&self, other: &Taken) -> bool {
        match (self, other) {
            (
                Taken::Lock {
                    path,
                    is_shared: true,
                },
                Taken::Lock {
                    path: other,
                    is_shared: true,
                },
            ) if path == other => false,
            (Taken::Lock { path, .. }, Taken::Lock { path: other, .. }) => path == other,
            _ => self == other,
        }
    }

    /// What is wrong with a gate that takes this, if `first` has taken it before.
    pub(super) fn conflict(&self, first: &str) -> anyhow::Error {
        let (takes, remedy) = match self {
            Taken::Stdout | Taken::Stderr => {
                let stream = if *self == Taken::Stdout {
                    "stdout"
                } else {
                    "stderr"
                };
                let remedy = "leave one of them out, or give a log the other of `streams`";
                (format!("takes {stream}"), remedy)
            }
            Taken::Variable(name) => (
                format!("sets `{name}`"),
                "give one of them another variable, or leave it out",
            ),
            Taken::Lock { .. } => (
                "locks the same file".to_owned(),
                "it would wait for itself; leave one of them out",
            ),
            Taken::Log(_) => (
                "writes the same log".to_owned(),
                "name another directory in one of them",
            ),
            Taken::File(_) => (
                "writes the same file".to_owned(),
                "name another in one of them",
            ),
            Taken::Lease(_, key) => (
                format!("leases `{key}`"),
                "it would wait for itself; leave one of them out",
            ),
            Taken::Port(port) => (
                format!("listens on port {port}"),
                "give one of them another, or \"free\"",
            ),
        };
        anyhow::anyhow!("{takes}, as {first} does before it; {remedy}")
    }
}

/// Which file a path names, as far as that can be known before it is made.
pub(super) fn place(path: &Path) -> PathBuf {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return path.to_owned();
    };
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    let whole = path.canonicalize();
    let whole = whole.or_else(|_| parent.canonicalize().map(|parent| parent.join(name)));
    whole.unwrap_or_else(|_| path.to_owned())
}
