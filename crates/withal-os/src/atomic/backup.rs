//! The old file, kept under another name.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, RenameFlags, Stat};
use rustix::io::Errno;

use crate::atomic::commit::{held, named, not_renamed};
use crate::atomic::error::{WriteError, WriteErrorKind};
use crate::atomic::file::AtomicFile;
use crate::atomic::options::Backup;
use crate::atomic::target::{Target, split};
use crate::atomic::temporary;
use crate::directory::{Directory, Identity, Name, file_type};
use crate::shown::shown;

/// How often a backup's link is made anew after another writer swept it away as a dead temporary.
const MAX_ATTEMPTS: usize = 16;

/// Where the backup goes.
#[derive(Debug)]
pub(crate) struct Place {
    /// `None` if it is the target's own directory.
    parent: Option<Directory>,
    name: OsString,
    path: PathBuf,
}

impl Place {
    /// Finds it, and refuses what the old file must not replace, while nothing has been done yet.
    pub(crate) fn find(target: &Target, backup: &Backup) -> Result<Place, WriteError> {
        let path = path(target, backup);
        let (parent, name) = match parent_and_name(target, backup) {
            Ok(found) => found,
            Err(error) => return Err(not_kept(target, &path, error)),
        };
        let place = Place { parent, name, path };
        place.check_name(target)?;
        place.check(target)?;
        Ok(place)
    }

    /// What the old file replaces.
    pub(crate) fn own_name(&self, target: &Target) -> Result<Name, WriteError> {
        Name::of(self.parent_or(target), &self.name)
            .map_err(|error| not_kept(target, &self.path, error))
    }

    /// Why it cannot be there.
    pub(crate) fn refused(&self, target: &Target, reason: &'static str) -> WriteError {
        let error = io::Error::new(io::ErrorKind::InvalidInput, reason);
        not_kept(target, &self.path, error)
    }

    /// Refuses the names that the new file is reached by.
    fn check_name(&self, target: &Target) -> Result<(), WriteError> {
        let name = self.own_name(target)?;
        let reason = if name == target.own_name()? {
            ITSELF
        } else if target.links.contains(&name) {
            "it is a symbolic link by which the target is reached; choose another name"
        } else if target.leads_to().contains(&name) {
            "the symbolic link that is replaced leads there; choose another name"
        } else {
            return Ok(());
        };
        Err(self.refused(target, reason))
    }

    /// Refuses what is there now, if the old file cannot be put in its place.
    fn check(&self, target: &Target) -> Result<(), WriteError> {
        let failed = |error| not_kept(target, &self.path, error);
        let (here, beside) = self.directories(target).map_err(failed)?;
        if here.st_dev != beside.st_dev {
            return Err(failed(Errno::XDEV.into()));
        }
        let there = self.parent_or(target).stat(&self.name).map_err(failed)?;
        let Some(there) = there else {
            return Ok(());
        };
        match file_type(&there) {
            FileType::Directory => Err(failed(Errno::ISDIR.into())),
            // The target may have been given by it.
            FileType::Symlink if self.leads_to(target, &beside) => Err(failed(Errno::ISDIR.into())),
            // Where case does not count, both are one name.
            _ if Identity::of(&here) == Identity::of(&beside)
                && lower(&self.name) == lower(&target.name)
                && target.is_now(&there).map_err(failed)? =>
            {
                Err(self.refused(target, ITSELF))
            }
            _ => Ok(()),
        }
    }

    /// Its own and the target's.
    fn directories(&self, target: &Target) -> io::Result<(Stat, Stat)> {
        let here = rustix::fs::fstat(self.parent_or(target))?;
        Ok((here, rustix::fs::fstat(&target.parent)?))
    }

    /// Whether what is there is a symbolic link to `directory`.
    fn leads_to(&self, target: &Target, directory: &Stat) -> bool {
        let parent = self.parent_or(target);
        let end = parent.stat_followed(&self.name).ok().flatten();
        end.is_some_and(|end| Identity::of(&end) == Identity::of(directory))
    }

    fn parent_or<'a>(&'a self, target: &'a Target) -> &'a Directory {
        self.parent.as_ref().unwrap_or(&target.parent)
    }
}

fn lower(name: &OsStr) -> String {
    name.to_string_lossy().to_lowercase()
}

const ITSELF: &str = "it is the target itself; choose another name";

fn parent_and_name(target: &Target, backup: &Backup) -> io::Result<(Option<Directory>, OsString)> {
    match backup {
        Backup::Suffix(suffix) => {
            let mut name = target.name.clone();
            name.push(suffix);
            if name.as_encoded_bytes().contains(&b'/') || suffix.is_empty() {
                return Err(Errno::INVAL.into());
            }
            Ok((None, name))
        }
        Backup::Path(path) => {
            let (parent, name) = split(path)
                .map_err(|reason| io::Error::new(io::ErrorKind::InvalidInput, reason))?;
            Ok((Some(Directory::open(parent)?), name.to_owned()))
        }
    }
}

/// What it is called in errors.
fn path(target: &Target, backup: &Backup) -> PathBuf {
    match backup {
        Backup::Path(path) => path.clone(),
        Backup::Suffix(suffix) => {
            let mut name = target.name.clone();
            name.push(suffix);
            match target.links.is_empty() {
                true => target.given.with_file_name(name),
                false => target.parent.path().join(name),
            }
        }
    }
}

fn not_kept(target: &Target, path: &Path, error: io::Error) -> WriteError {
    let detail = format!("cannot keep the old file as `{}`", shown(path));
    target.failed(detail, error)
}

/// Keeps the old file there; true if the new one is in its place then already.
pub(crate) fn keep(writer: &mut AtomicFile, place: &Place) -> Result<bool, WriteError> {
    place.check(&writer.target)?;
    writer.replaced = held(writer, place.parent_or(&writer.target), &place.name);
    if exchange(writer, place)? {
        return Ok(true);
    }
    let target = &writer.target;
    let parent = place.parent_or(target);
    let mut kept = link_over(target, parent, &place.name);
    if writer.options.durability.syncs_names() {
        kept = kept.and_then(|()| parent.sync());
    }
    kept.map_err(|error| not_kept(target, &place.path, error))?;
    Ok(false)
}

/// Has the old file and the new one change places, and gives the old one its new name; false where
/// files cannot do that.
///
/// What is kept is the very file that was replaced, whoever put it there a moment ago. It is never
/// without a name, and never under one that a sweep takes for a dead writer's.
fn exchange(writer: &mut AtomicFile, place: &Place) -> Result<bool, WriteError> {
    let name = named(writer).to_owned();
    let kept = temporary::kept_name(&writer.target.name)
        .map_err(|error| not_kept(&writer.target, &place.path, error))?;
    rename_temporary(writer, &kept)?;
    let AtomicFile {
        target, options, ..
    } = &*writer;
    let (parent, flags) = (&target.parent, RenameFlags::EXCHANGE);
    match rustix::fs::renameat_with(parent, &kept, parent, &target.name, flags) {
        Ok(()) => {}
        // Not here; or there is no old file any more.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOENT) => {
            return rename_temporary(writer, &name).map(|()| false);
        }
        Err(error) => return Err(not_renamed(writer, error)),
    }
    let finished = finish(target, &kept, place, options.durability.syncs_names());
    let finished = finished.map_err(|error| {
        let (path, kept) = (shown(&place.path), parent.path().join(&kept));
        let detail = format!(
            "the old file could not be kept as `{path}`; it may still be `{}`",
            shown(&kept)
        );
        WriteError::io(&target.given, WriteErrorKind::NotKept, detail, error)
    });
    writer.temporary = None;
    finished.map(|()| true)
}

fn rename_temporary(writer: &mut AtomicFile, name: &OsStr) -> Result<(), WriteError> {
    let parent = &writer.target.parent;
    rustix::fs::renameat(parent, named(writer), parent, name)
        .map_err(|error| not_renamed(writer, error))?;
    writer.temporary = Some(name.to_owned());
    Ok(())
}

fn finish(target: &Target, kept: &OsStr, place: &Place, durable: bool) -> io::Result<()> {
    let parent = place.parent_or(target);
    rustix::fs::renameat(&target.parent, kept, parent, &place.name)?;
    // Renaming over another link of the same file does nothing and leaves both.
    target.parent.unlink(kept)?;
    match &place.parent {
        Some(other) if durable => other.sync(),
        _ => Ok(()),
    }
}

/// Links the target to `name` in `parent`, over whatever file has that name.
fn link_over(target: &Target, parent: &Directory, name: &OsStr) -> io::Result<()> {
    for _ in 0..MAX_ATTEMPTS {
        let link = temporary::name(name)?;
        match rustix::fs::linkat(
            &target.parent,
            &target.name,
            parent,
            &link,
            AtFlags::empty(),
        ) {
            Ok(()) => {}
            // Removed since it was looked at: there is no old file to keep.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let renamed = rustix::fs::renameat(parent, &link, parent, name);
        parent.unlink(&link)?; // see `finish`
        match renamed {
            Err(Errno::NOENT) => {}
            renamed => return Ok(renamed?),
        }
    }
    Err(io::Error::other(
        "other writers keep removing the link to it",
    ))
}
