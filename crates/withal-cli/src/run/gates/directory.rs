//! Whether the directories are there that gates make their files in.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::is_known;
use crate::message::shown;

/// A directory that is not there, or is none.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) directory: PathBuf,
    text: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Missing {}

/// Why there is no directory, and what to do about it.
pub(super) struct Why {
    pub(super) error: io::Error,
    pub(super) remedy: &'static str,
}

/// Looks for a directory, if it [is known](is_known).
///
/// # Errors
///
/// It is certain that there is none; `text` says what comes of that.
pub(super) fn check(directory: &Path, text: impl FnOnce(&Why) -> String) -> anyhow::Result<()> {
    let here = Path::new(".");
    let looked_at = match directory.as_os_str().is_empty() {
        true => here,
        false => directory,
    };
    if !is_known(directory) {
        return Ok(());
    }
    let (error, remedy) = match fs::metadata(looked_at) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => (Errno::NOTDIR.into(), "name another"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (error, "make it first"),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => (error, "name another"),
        // Whether there is one cannot be seen from here.
        Err(_) => return Ok(()),
    };
    let directory = directory.to_owned();
    let text = text(&Why { error, remedy });
    Err(Missing { directory, text }.into())
}

/// The same for the directory of a file.
pub(super) fn check_of(
    file: &Path,
    text: impl FnOnce(&Path, &Why) -> String,
) -> anyhow::Result<()> {
    match file.parent() {
        Some(parent) => check(parent, |why| text(parent, why)),
        None => Ok(()),
    }
}

/// The same for the directory of a file that is opened, or made, there.
pub(super) fn check_opens(file: &Path) -> anyhow::Result<()> {
    check_of(file, |directory, Why { error, remedy }| {
        let (file, directory) = (shown(file), shown(directory));
        format!("cannot open `{file}`: the directory `{directory}/`; {remedy}: {error}")
    })
}
