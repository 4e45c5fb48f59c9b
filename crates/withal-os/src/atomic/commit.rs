//! The steps from written to in place.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::atomic::attributes;
use crate::atomic::error::{WriteError, WriteErrorKind};
use crate::atomic::file::AtomicFile;
use crate::atomic::options::{Backup, Durability};
use crate::atomic::stamp::Stamp;
use crate::atomic::target::{Target, split};
use crate::atomic::temporary;
use crate::directory::{Directory, Identity};
use crate::shown::shown;

/// How often a backup's link is made anew after another writer swept it away as a dead temporary.
const MAX_ATTEMPTS: usize = 16;

pub(crate) fn commit(writer: &mut AtomicFile) -> Result<(), WriteError> {
    let ready = prepare(writer)?;
    let durable = writer.options.durability == Durability::Durable;
    if durable {
        // All of it, not only the data: the mode and the owner are part of the new file.
        writer.file.sync_all().map_err(|error| {
            writer
                .target
                .failed("cannot sync its temporary file", error)
        })?;
    }
    place(writer, &ready)?;
    if durable {
        sync_directory(&writer.target)?;
    }
    Ok(())
}

/// A temporary file in which everything is, attributes included.
pub(crate) struct Ready {
    new: Stat,
    has_old: bool,
}

impl Ready {
    /// The filesystem it is on.
    pub(crate) fn device(&self) -> u64 {
        self.new.st_dev
    }
}

/// Makes sure that everything is written, and gives it the attributes it is to have.
pub(crate) fn prepare(writer: &AtomicFile) -> Result<Ready, WriteError> {
    let new = written(writer)?;
    let old = writer.target.regular_file(writer.options.no_clobber)?;
    let AtomicFile { file, target, .. } = writer;
    attributes::apply(file, &new, target, old.as_ref(), &writer.options)?;
    Ok(Ready {
        new,
        has_old: old.is_some(),
    })
}

/// Puts it in the target's place.
pub(crate) fn place(writer: &mut AtomicFile, ready: &Ready) -> Result<(), WriteError> {
    check_ours(writer, Identity::of(&ready.new))?;
    check_unchanged(writer)?;
    if let (Some(backup), true) = (&writer.options.backup, ready.has_old) {
        let durable = writer.options.durability == Durability::Durable;
        keep_old(&writer.target, backup, durable)?;
    }
    rename(writer)
}

/// The target is still the file that the new one was made from.
fn check_unchanged(writer: &AtomicFile) -> Result<(), WriteError> {
    let AtomicFile {
        target, options, ..
    } = writer;
    let Some(expected) = options.unchanged else {
        return Ok(());
    };
    let found = target
        .parent
        .stat(&target.name)
        .map_err(|error| target.failed("cannot look at the old file", error))?;
    if found.as_ref().map(Stamp::of_stat) == expected {
        return Ok(());
    }
    let detail = "somebody else has changed it since it was read: read it again, and start over";
    Err(WriteError::new(
        &target.given,
        WriteErrorKind::Changed,
        detail,
    ))
}

pub(crate) fn sync_directory(target: &Target) -> Result<(), WriteError> {
    target.parent.sync().map_err(|error| {
        let directory = shown(target.parent.path());
        let detail = format!(
            "its directory `{directory}` could not be synced: a power cut may still undo it"
        );
        WriteError::io(&target.given, WriteErrorKind::NotDurable, detail, error)
    })
}

/// The temporary file, in which everything that was written is.
fn written(writer: &AtomicFile) -> Result<Stat, WriteError> {
    let target = &writer.target;
    if let Some(failed) = writer.failed {
        let detail = "an earlier write to its temporary file failed";
        return Err(target.failed(detail, failed.to_error()));
    }
    let stat = rustix::fs::fstat(&writer.file)
        .map_err(|error| target.failed("cannot look at its temporary file", error.into()))?;
    match writer.written {
        Some(written) if u64::try_from(stat.st_size) != Ok(written) => {
            let length = stat.st_size;
            let detail =
                format!("{written} bytes were written, but its temporary file has {length}");
            Err(WriteError::new(&target.given, WriteErrorKind::Lost, detail))
        }
        _ => Ok(stat),
    }
}

/// The temporary's name is still that of the file that was written.
fn check_ours(writer: &AtomicFile, ours: Identity) -> Result<(), WriteError> {
    let target = &writer.target;
    match temporary::is_ours(&target.parent, &writer.temporary, ours) {
        Ok(true) => Ok(()),
        Ok(false) => Err(lost(writer)),
        Err(error) => Err(target.failed("cannot look at its temporary file", error)),
    }
}

fn lost(writer: &AtomicFile) -> WriteError {
    let path = writer.target.parent.path().join(&writer.temporary);
    let detail = format!(
        "its temporary file `{}` was removed or replaced by somebody else; see that it is left \
         alone, and write it again",
        shown(&path)
    );
    WriteError::new(&writer.target.given, WriteErrorKind::Lost, detail)
}

fn rename(writer: &mut AtomicFile) -> Result<(), WriteError> {
    let AtomicFile {
        target, temporary, ..
    } = &*writer;
    let (parent, name) = (&target.parent, &target.name);
    if writer.options.no_clobber {
        match rename_new(parent, temporary, name) {
            Ok(()) => {}
            Err(Errno::EXIST) => return Err(target.exists()),
            Err(Errno::NOENT) => return Err(lost(writer)),
            Err(error) => return Err(target.failed("cannot put it in place", error.into())),
        }
    } else {
        match rustix::fs::renameat(parent, temporary, parent, name) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Err(lost(writer)),
            Err(Errno::BUSY) => {
                let detail = "cannot put it in place: it is a mount point, whose name cannot be \
                              given to another file; write to it directly";
                return Err(target.failed(detail, Errno::BUSY.into()));
            }
            Err(error) => return Err(target.failed("cannot put it in place", error.into())),
        }
    }
    writer.armed = false;
    Ok(())
}

/// Renames, unless the new name exists.
pub(crate) fn rename_new(parent: &Directory, old: &OsStr, new: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::renameat_with(parent, old, parent, new, RenameFlags::NOREPLACE) {
        // This kernel or filesystem has no such rename; a hard link does the same in two steps.
        Err(Errno::INVAL | Errno::NOSYS) => {
            rustix::fs::linkat(parent, old, parent, new, AtFlags::empty())?;
            // A second name left over is swept by a later writer.
            let _left = rustix::fs::unlinkat(parent, old, AtFlags::empty());
            Ok(())
        }
        renamed => renamed,
    }
}

/// Gives the old file a second name, in one step and replacing an older backup.
fn keep_old(target: &Target, backup: &Backup, durable: bool) -> Result<(), WriteError> {
    let failed = |error: io::Error| {
        let detail = format!(
            "cannot keep the old file as `{}`",
            shown(&backup_path(target, backup))
        );
        target.failed(detail, error)
    };
    match backup {
        Backup::Suffix(suffix) => {
            let mut name = target.name.clone();
            name.push(suffix);
            if name.as_encoded_bytes().contains(&b'/') || suffix.is_empty() {
                return Err(failed(Errno::INVAL.into()));
            }
            link_over(target, &target.parent, &name).map_err(failed)?;
            if durable {
                target.parent.sync().map_err(failed)?;
            }
        }
        Backup::Path(path) => {
            let (parent, name) = split(path)
                .map_err(|reason| failed(io::Error::new(io::ErrorKind::InvalidInput, reason)))?;
            let parent = Directory::open(parent).map_err(failed)?;
            link_over(target, &parent, name).map_err(failed)?;
            if durable {
                parent.sync().map_err(failed)?;
            }
        }
    }
    Ok(())
}

fn backup_path(target: &Target, backup: &Backup) -> std::path::PathBuf {
    match backup {
        Backup::Path(path) => path.clone(),
        Backup::Suffix(suffix) => {
            let mut name = OsString::from(Path::new(&target.name));
            name.push(suffix);
            target.given.with_file_name(name)
        }
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
        // Renaming over another link of the same file does nothing and leaves both.
        parent.unlink(&link)?;
        match renamed {
            Err(Errno::NOENT) => {}
            renamed => return Ok(renamed?),
        }
    }
    Err(io::Error::other(
        "other writers keep removing the link to it",
    ))
}
