//! Which file is to be replaced.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::atomic::error::{WriteError, WriteErrorKind};
use crate::atomic::options::Symlinks;
use crate::atomic::stamp::Stamp;
use crate::directory::{Directory, Identity, Name, file_type, type_name};
use crate::shown::shown;

/// The kernel's own limit for links in a path.
const MAX_LINKS: usize = 40;

/// A name in an open directory.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) parent: Directory,
    pub(crate) name: OsString,
    /// The path as it was given: what errors show.
    pub(crate) given: PathBuf,
    /// What was there when it was resolved.
    found: Option<Stat>,
    /// The symbolic links that were followed to it.
    pub(crate) links: Vec<Name>,
}

impl Target {
    /// Finds the name to replace, going through symbolic links as `symlinks` says.
    pub(crate) fn resolve(given: &Path, symlinks: Symlinks) -> Result<Target, WriteError> {
        let mut path = given.to_owned();
        let mut links = Vec::new();
        for _ in 0..=MAX_LINKS {
            let (parent, name) = split(&path)
                .map_err(|reason| WriteError::new(given, WriteErrorKind::InvalidPath, reason))?;
            let parent = Directory::open(parent).map_err(|error| {
                WriteError::not_committed(given, not_opened(parent, &error), error)
            })?;
            let mut target = Target {
                parent,
                name: name.to_owned(),
                given: given.to_owned(),
                found: None,
                links,
            };
            target.found = target.stat()?;
            match (target.read_link()?, symlinks) {
                (None, _) | (Some(_), Symlinks::Replace) => return Ok(target),
                (Some(link), Symlinks::Follow) => {
                    path = target.parent.path().join(link);
                    let followed = target.own_name()?;
                    links = target.links;
                    links.push(followed);
                }
                (Some(_), Symlinks::Refuse) => {
                    let detail = "it is a symbolic link, and the writer was told to refuse links";
                    return Err(WriteError::new(given, WriteErrorKind::Symlink, detail));
                }
            }
        }
        let detail = "cannot follow its symbolic links";
        Err(WriteError::not_committed(given, detail, Errno::LOOP))
    }

    /// What is replaced.
    pub(crate) fn own_name(&self) -> Result<Name, WriteError> {
        Name::of(&self.parent, &self.name)
            .map_err(|error| self.failed("cannot look at its directory", error))
    }

    /// Whether a symbolic link was found, which is to be replaced itself.
    pub(crate) fn found_link(&self) -> bool {
        let is_link = |stat: &Stat| file_type(stat) == FileType::Symlink;
        self.found.as_ref().is_some_and(is_link)
    }

    /// Where it leads to, link by link, if it is a symbolic link itself.
    pub(crate) fn leads_to(&self) -> Vec<Name> {
        if !self.found_link() {
            return Vec::new();
        }
        // A link that leads nowhere has nothing to lose.
        let Ok(end) = Target::resolve(&self.given, Symlinks::Follow) else {
            return Vec::new();
        };
        let file = end.own_name().ok();
        end.links.into_iter().chain(file).collect()
    }

    /// Where it points, if it is a symbolic link.
    fn read_link(&self) -> Result<Option<PathBuf>, WriteError> {
        if !self.found_link() {
            return Ok(None);
        }
        match rustix::fs::readlinkat(&self.parent, &self.name, Vec::new()) {
            Ok(link) => Ok(Some(OsString::from_vec(link.into_bytes()).into())),
            // Replaced or removed since: whatever is there now is looked at when it matters.
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("cannot read its symbolic link", error.into())),
        }
    }

    /// What is there now, if anything is.
    pub(crate) fn stat(&self) -> Result<Option<Stat>, WriteError> {
        self.parent
            .stat(&self.name)
            .map_err(|error| match Errno::from_io_error(&error) {
                Some(Errno::NAMETOOLONG) => self.failed("choose a shorter name", error),
                _ => self.failed("cannot look at what is there now", error),
            })
    }

    /// Whether what was found is still there, unchanged.
    pub(crate) fn is_as_found(&self, now: &Stat) -> bool {
        self.found.as_ref().map(Stamp::of_stat) == Some(Stamp::of_stat(now))
    }

    /// Whether it is the file that `stat` is of.
    pub(crate) fn is_now(&self, stat: &Stat) -> io::Result<bool> {
        let now = self.parent.stat(&self.name)?;
        Ok(now.is_some_and(|now| Identity::of(&now) == Identity::of(stat)))
    }

    /// Refuses what was there when the target was resolved, if it cannot be replaced.
    pub(crate) fn check_found(&self, no_clobber: bool) -> Result<(), WriteError> {
        self.check(self.found, no_clobber).map(drop)
    }

    /// The regular file or symbolic link that is there now, if any; anything else is refused.
    pub(crate) fn replaceable(&self, no_clobber: bool) -> Result<Option<Stat>, WriteError> {
        self.check(self.stat()?, no_clobber)
    }

    fn check(&self, stat: Option<Stat>, no_clobber: bool) -> Result<Option<Stat>, WriteError> {
        let Some(stat) = stat else {
            return Ok(None);
        };
        match file_type(&stat) {
            FileType::RegularFile | FileType::Symlink if no_clobber => Err(self.exists()),
            FileType::RegularFile | FileType::Symlink => Ok(Some(stat)),
            FileType::Directory => Err(self.wrong_type("it is a directory; name a file in it")),
            other => Err(self.wrong_type(format!(
                "it is {}, which cannot be replaced; write to it directly",
                type_name(other)
            ))),
        }
    }

    pub(crate) fn exists(&self) -> WriteError {
        let detail = "it exists, and the writer was told not to replace anything";
        WriteError::new(&self.given, WriteErrorKind::AlreadyExists, detail)
    }

    pub(crate) fn wrong_type(
        &self,
        detail: impl Into<std::borrow::Cow<'static, str>>,
    ) -> WriteError {
        WriteError::new(&self.given, WriteErrorKind::WrongType, detail)
    }

    pub(crate) fn failed(
        &self,
        detail: impl Into<std::borrow::Cow<'static, str>>,
        error: io::Error,
    ) -> WriteError {
        WriteError::not_committed(&self.given, detail, error)
    }
}

/// Why nothing can be made in the directory at `path`, and what to do.
fn not_opened(path: &Path, error: &io::Error) -> String {
    let remedy = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "; make it first",
        Some(Errno::NOTDIR) => "; name a file in a directory",
        _ => "",
    };
    let path = match path.as_os_str().is_empty() {
        true => Path::new("."),
        false => path,
    };
    format!("cannot open the directory `{}`{remedy}", shown(path))
}

/// Splits a path at its last slash. `Path::file_name` would take `a/` and `a/.` for `a`.
pub(crate) fn split(path: &Path) -> Result<(&Path, &OsStr), &'static str> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.contains(&0) {
        return Err("its path contains a NUL byte");
    }
    let start = bytes
        .iter()
        .rposition(|byte| *byte == b'/')
        .map_or(0, |slash| slash + 1);
    let (parent, name) = bytes.split_at(start);
    match name {
        b"" if parent.is_empty() => Err("its path is empty"),
        b"" => Err("its path ends in `/` and so names a directory; leave the slash out"),
        b"." | b".." => Err("its path ends in `.` or `..` and so names a directory"),
        name => Ok((
            Path::new(OsStr::from_bytes(parent)),
            OsStr::from_bytes(name),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_plain_name_is_named() {
        let denied = io::ErrorKind::PermissionDenied.into();
        let check = |path, expected: &str| {
            assert_eq!(not_opened(Path::new(path), &denied), expected);
        };
        check("", "cannot open the directory `.`");
        check("a/", "cannot open the directory `a/`");
    }
}
