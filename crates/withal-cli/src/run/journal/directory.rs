//! The directory of journals.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::story::{Reading, read};
use super::{read_all, remove};
use crate::message::shown;
use crate::run::RunId;

const EXTENSION: &str = "jsonl";

/// For root, whose home may not be there when machines start.
const ROOT: &str = "/var/lib/withal";

/// How old an empty journal must be to be no run's that is about to begin.
const ABANDONED: Duration = Duration::from_secs(60);

/// Where journals are.
#[derive(Clone, Debug)]
pub(crate) struct Directory(PathBuf);

/// A journal that somebody has left, locked by us now.
#[derive(Debug)]
pub(crate) struct Found {
    file: File,
    path: PathBuf,
}

/// Why a journal is left alone.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Its run lives.
    Alive,
    /// It is gone.
    Gone,
    /// It is none of ours.
    Foreign(String),
}

impl Directory {
    /// `$WITHAL_STATE_DIR`, or where state belongs.
    pub(crate) fn here() -> anyhow::Result<Directory> {
        let set = |name: &str| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.map(PathBuf::from)
        };
        if let Some(path) = set("WITHAL_STATE_DIR") {
            return Ok(Directory(path));
        }
        if geteuid().is_root() {
            return Ok(Directory(ROOT.into()));
        }
        let state = set("XDG_STATE_HOME").filter(|path| path.is_absolute());
        let home = || set("HOME").map(|home| home.join(".local/state"));
        let state = state.or_else(home).context(
            "nowhere to keep journals: set WITHAL_STATE_DIR to a directory of yours, or give \
             --no-journal",
        )?;
        Ok(Directory(state.join("withal")))
    }

    /// Makes the directory if need be, and in it a locked journal that holds `first`.
    pub(super) fn create(
        &self,
        job: &str,
        id: RunId,
        first: &[u8],
    ) -> anyhow::Result<(File, PathBuf)> {
        let path = self.0.join(format!("{}-{id}.{EXTENSION}", key(job)));
        let made = self.prepare().and_then(|()| self.make(&path, first));
        let made = made.with_context(|| {
            let directory = shown(&self.0);
            format!(
                "cannot keep a journal in `{directory}`: set WITHAL_STATE_DIR to another \
                 directory, or give --no-journal"
            )
        });
        Ok((made?, path))
    }

    /// It has no name before it is locked and says whose it is, so that a kill leaves nothing.
    fn make(&self, path: &Path, first: &[u8]) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::APPEND | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mut file = match rustix::fs::open(&self.0, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => {
                let mut file = make_named(path)?;
                file.write_all(first)?;
                return Ok(file);
            }
            Err(error) => return Err(error.into()),
        };
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all(first)?;
        let unnamed = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, unnamed, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
        Ok(file)
    }

    fn prepare(&self) -> io::Result<()> {
        match self.check() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true).mode(0o700).create(&self.0)?;
                self.check()
            }
            checked => checked,
        }
    }

    /// Whether what is in it can be trusted.
    fn check(&self) -> io::Result<()> {
        let metadata = fs::metadata(&self.0)?;
        let is_private = metadata.uid() == geteuid().as_raw() && metadata.mode() & 0o022 == 0;
        match is_private {
            true => Ok(()),
            false => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "others may write to it; `chmod 700` it, or make it yours",
            )),
        }
    }

    /// The journals of a job, or all, oldest first.
    pub(crate) fn journals(&self, job: Option<&str>) -> anyhow::Result<Vec<PathBuf>> {
        let listed = || format!("cannot read the journals in `{}`", shown(&self.0));
        match self.check() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            checked => checked.with_context(listed)?,
        }
        let prefix = job.map(|job| format!("{}-", key(job)));
        let mut journals = Vec::new();
        for entry in fs::read_dir(&self.0).with_context(listed)? {
            let path = entry.with_context(listed)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let is_asked = match (&prefix, name) {
                (Some(prefix), Some(name)) => name.starts_with(prefix.as_str()),
                (None, _) => true,
                (Some(_), None) => false,
            };
            if is_asked
                && path
                    .extension()
                    .is_some_and(|extension| extension == EXTENSION)
            {
                let modified = fs::symlink_metadata(&path).and_then(|journal| journal.modified());
                journals.push((modified.ok(), path));
            }
        }
        journals.sort();
        Ok(journals.into_iter().map(|(_, path)| path).collect())
    }
}

/// What the names of a job's journals begin with.
fn key(job: &str) -> String {
    format!("{:08x}", crc_fast::crc32_iscsi(job.as_bytes()))
}

/// A new file under its lock, empty, where files without a name are not known.
fn make_named(path: &Path) -> io::Result<File> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        // Whoever looks for the dead may have it for a moment, and lets an empty one be.
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
        if file.metadata()?.nlink() > 0 {
            return Ok(file);
        }
    }
}

impl Found {
    /// Takes the lock of a journal whose run is dead. What is empty and old is removed.
    pub(crate) fn lock(path: &Path) -> Result<Found, Refused> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Refused::Alive),
            Err(error) => return Err(foreign(error.into())),
        }
        let metadata = file.metadata().map_err(foreign)?;
        if metadata.nlink() == 0 {
            return Err(Refused::Gone);
        }
        if metadata.len() == 0 {
            let age = metadata.modified().map_err(foreign)?.elapsed();
            return Err(match age.is_ok_and(|age| age >= ABANDONED) {
                false => Refused::Alive,
                true => remove(path).map_or_else(
                    |error| Refused::Foreign(format!("{error:#}")),
                    |()| Refused::Gone,
                ),
            });
        }
        Ok(Found {
            file,
            path: path.to_owned(),
        })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self) -> anyhow::Result<Reading> {
        let bytes = read_all(&self.file);
        let bytes = bytes.with_context(|| format!("cannot read `{}`", shown(&self.path)))?;
        Ok(read(&bytes))
    }
}

/// What the journal at `path` tells, whoever has it now.
pub(crate) fn look(path: &Path) -> Result<Reading, Refused> {
    let file = open(path)?;
    let bytes = read_all(&file).map_err(foreign)?;
    Ok(read(&bytes))
}

/// Opens a regular file of ours that nobody else may write to.
fn open(path: &Path) -> Result<File, Refused> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = flags.bits().try_into().unwrap_or_default();
    let opened = OpenOptions::new()
        .read(true)
        .append(true)
        .custom_flags(flags)
        .open(path);
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Refused::Gone),
        opened => opened.map_err(foreign)?,
    };
    let metadata = file.metadata().map_err(foreign)?;
    let is_ours = metadata.is_file()
        && metadata.uid() == geteuid().as_raw()
        && metadata.mode() & 0o022 == 0
        && metadata.nlink() <= 1;
    match is_ours {
        true => Ok(file),
        false => Err(Refused::Foreign(
            "not a file that only you may write to".to_owned(),
        )),
    }
}

fn foreign(error: io::Error) -> Refused {
    Refused::Foreign(error.to_string())
}
