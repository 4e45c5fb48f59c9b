//! Where a SQLite database is, and how it is opened.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tempfile::TempDir;

use crate::cancelled::Cancelled;
use crate::url::wrong;
use crate::{Error, ErrorKind};

/// How long a statement waits for a lock that another connection has.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// What a `sqlite:` URL says.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    place: Place,
    pub(super) mode: Mode,
    pub(super) busy_timeout: Duration,
    pub(crate) cancelled: Cancelled,
}

#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Memory(Arc<Memory>),
}

/// What may be done with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Read,
    Write,
    /// And make it if it is not there.
    Create,
}

impl Config {
    pub(crate) fn parse(url: &str) -> Result<Config, Error> {
        let rest = url
            .strip_prefix("sqlite:")
            .ok_or_else(|| wrong("it does not begin with `sqlite:`"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut config = Config {
            place: place(path)?,
            mode: Mode::Create,
            busy_timeout: BUSY_TIMEOUT,
            cancelled: Cancelled::default(),
        };
        for (name, value) in ::url::form_urlencoded::parse(query.as_bytes()) {
            config.set(&name, &value)?;
        }
        match (&config.place, config.mode) {
            (Place::Memory(_), Mode::Read | Mode::Write) => {
                Err(wrong("a database in memory is always a new one: no `mode`"))
            }
            _ => Ok(config),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        match name {
            "mode" => {
                self.mode = match value {
                    "ro" => Mode::Read,
                    "rw" => Mode::Write,
                    "rwc" => Mode::Create,
                    _ => return Err(wrong("`mode` is `ro`, `rw` or `rwc`")),
                }
            }
            "busy_timeout" => {
                self.busy_timeout = humantime::parse_duration(value)
                    .map_err(|error| wrong(format_args!("`busy_timeout`, as in `5s`: {error}")))?;
            }
            _ => {
                return Err(wrong(format_args!(
                    "no option `{name}`: there are `mode` and `busy_timeout`"
                )));
            }
        }
        Ok(())
    }

    /// The file to open.
    pub(super) fn path(&self) -> Result<PathBuf, Error> {
        match &self.place {
            Place::File(path) => Ok(path.clone()),
            Place::Memory(memory) => memory.path().map_err(|error| {
                let message = format!("no temporary directory for {self}: {error}");
                Error::new(ErrorKind::Connect, message)
            }),
        }
    }

    pub(super) fn is_memory(&self) -> bool {
        matches!(self.place, Place::Memory(_))
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(path) => write!(f, "sqlite:{}", path.display()),
            Place::Memory(_) => f.write_str("sqlite::memory:"),
        }
    }
}

fn place(path: &str) -> Result<Place, Error> {
    if path == ":memory:" {
        return Ok(Place::Memory(Arc::default()));
    }
    let path = match path.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => {
            return Err(wrong(
                "a file has no host: a relative path follows `sqlite:`, an absolute one `sqlite://`",
            ));
        }
        None => path,
    };
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| wrong("its path is not UTF-8"))?;
    match &*path {
        "" => Err(wrong("it has no path")),
        _ if path.contains('\0') => Err(wrong("there is a NUL in its path")),
        _ => Ok(Place::File(PathBuf::from(path.into_owned()))),
    }
}

/// A database for as long as somebody has its [`Config`].
///
/// It is a file in a temporary directory that is never synced: with a write-ahead log, so readers
/// and writers meet as they do in any other file. SQLite's own databases in memory have none, and
/// there a reader makes a commit fail.
#[derive(Debug, Default)]
struct Memory(Mutex<Option<TempDir>>);

impl Memory {
    fn path(&self) -> io::Result<PathBuf> {
        let mut dir = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = match &mut *dir {
            Some(dir) => dir,
            none => none.insert(
                tempfile::Builder::new()
                    .prefix("withal-memory-")
                    .tempdir()?,
            ),
        };
        Ok(dir.path().join("memory.db"))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let dir = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(Err(error)) = dir.take().map(TempDir::close) {
            super::error::notice(error);
        }
    }
}
