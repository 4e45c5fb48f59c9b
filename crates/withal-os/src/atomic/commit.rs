//! The steps from written to in place.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use crate::atomic::attributes::{self, Missing};
use crate::atomic::backup;
use crate::atomic::error::{WriteError, WriteErrorKind};
use crate::atomic::file::AtomicFile;
use crate::atomic::options::{Options, Symlinks};
use crate::atomic::stamp::Stamp;
use crate::atomic::target::Target;
use crate::atomic::temporary;
use crate::directory::{Directory, Identity, file_type};
use crate::shown::shown;

pub(crate) fn commit(writer: &mut AtomicFile) -> Result<(), WriteError> {
    let durability = writer.options.durability;
    let ready = prepare(writer)?;
    if durability.syncs_content() {
        // All of it, not only the data: the mode and the owner are part of the new file.
        writer.file.sync_all().map_err(|error| {
            writer
                .target
                .failed("cannot sync its temporary file", error)
        })?;
    }
    place(writer, ready)?;
    if durability.syncs_names() {
        sync_directory(&writer.target)?;
    }
    Ok(())
}

/// A temporary file in which everything is, attributes included.
pub(crate) struct Ready {
    new: Stat,
    /// The file or symbolic link that is replaced, if any.
    old: Option<Stat>,
    /// What the new file goes without.
    missing: Vec<Missing>,
}

impl Ready {
    /// The filesystem it is on.
    pub(crate) fn device(&self) -> u64 {
        self.new.st_dev
    }
}

/// Makes sure that everything is written, and gives it the attributes it is to have, and the name
/// it needs to be synced or renamed.
pub(crate) fn prepare(writer: &mut AtomicFile) -> Result<Ready, WriteError> {
    check_writes(writer)?;
    let old = writer.target.replaceable(writer.options.no_clobber)?;
    if writer.options.durability.syncs_content() || old.is_some() {
        name(writer)?;
    }
    finish(writer, old)
}

fn finish(writer: &AtomicFile, old: Option<Stat>) -> Result<Ready, WriteError> {
    let new = written(writer)?;
    let AtomicFile { file, target, .. } = writer;
    // A link lends its attributes to nobody.
    let lender = old
        .as_ref()
        .filter(|old| file_type(old) == FileType::RegularFile);
    let missing = attributes::apply(file, &new, target, lender, &writer.options)?;
    Ok(Ready { new, old, missing })
}

fn name(writer: &mut AtomicFile) -> Result<(), WriteError> {
    let AtomicFile { file, target, .. } = writer;
    if writer.temporary.is_none() {
        let named = temporary::name_file(file, &target.parent, &target.name);
        writer.temporary = Some(named.map_err(|error| {
            let directory = shown(target.parent.path());
            let detail = format!("cannot name its temporary file in `{directory}`");
            target.failed(detail, error)
        })?);
    }
    Ok(())
}

/// Puts it in the target's place, and says what it is without.
pub(crate) fn place(writer: &mut AtomicFile, mut ready: Ready) -> Result<(), WriteError> {
    let placed = put(writer, &mut ready);
    if placed.as_ref().err().is_none_or(WriteError::is_committed) {
        ready.missing.into_iter().for_each(Missing::report);
    }
    placed
}

fn put(writer: &mut AtomicFile, ready: &mut Ready) -> Result<(), WriteError> {
    check_unchanged(writer)?;
    if writer.temporary.is_none() {
        if link_in_place(writer)? {
            return Ok(());
        }
        // It may be a copy now.
        name(writer)?;
        *ready = finish(writer, ready.old)?;
    }
    check_ours(writer, Identity::of(&ready.new))?;
    if let Some(place) = writer.backup.take() {
        // It may have come since.
        ready.old = writer.target.replaceable(writer.options.no_clobber)?;
        let is_kept = ready.old.is_some() && !must_be_new(writer);
        if is_kept && backup::keep(writer, &place)? {
            return Ok(());
        }
    }
    if ready.old.is_some() {
        writer.replaced = held(writer, &writer.target.parent, &writer.target.name);
    }
    rename(writer)
}

/// What has this name and is about to be replaced; see [`AtomicFile::replaced`].
pub(crate) fn held(writer: &AtomicFile, parent: &Directory, name: &OsStr) -> Option<OwnedFd> {
    if !writer.options.durability.syncs_names() {
        return None;
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Where there are no more descriptors, it is as safe as the file system makes it.
    rustix::fs::openat(parent, name, flags, Mode::empty()).ok()
}

/// Makes the target's name the only one the new file ever has, if there is no old one.
fn link_in_place(writer: &AtomicFile) -> Result<bool, WriteError> {
    let AtomicFile { file, target, .. } = writer;
    match temporary::link(file, &target.parent, &target.name) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => match taken(writer) {
            Some(error) => Err(error),
            None => Ok(false),
        },
        Err(error) if temporary::is_refusal(error) => Ok(false),
        Err(error) => Err(target.failed("cannot put it in place", error.into())),
    }
}

/// Why a target that exists is not replaced, if there must be none.
fn taken(writer: &AtomicFile) -> Option<WriteError> {
    if writer.options.no_clobber {
        return Some(writer.target.exists());
    }
    (writer.options.unchanged == Some(None)).then(|| changed(&writer.target))
}

fn must_be_new(writer: &AtomicFile) -> bool {
    let AtomicFile {
        target, options, ..
    } = writer;
    // A link to no file is none either, and is replaced.
    options.no_clobber || options.unchanged == Some(None) && !replaces_link(target, options)
}

fn replaces_link(target: &Target, options: &Options) -> bool {
    options.symlinks == Symlinks::Replace && target.found_link()
}

/// The target is still the file that the new one was made from.
fn check_unchanged(writer: &AtomicFile) -> Result<(), WriteError> {
    let AtomicFile {
        target, options, ..
    } = writer;
    let Some(expected) = options.unchanged else {
        return Ok(());
    };
    let failed = |error| target.failed("cannot look at the old file", error);
    let found = target.parent.stat(&target.name).map_err(failed)?;
    let is_link = |stat: &Stat| file_type(stat) == FileType::Symlink;
    let link = found.filter(|stat| options.symlinks == Symlinks::Replace && is_link(stat));
    let read = match link {
        // The stamp, too, is of what it leads to.
        Some(_) => target.parent.stat_followed(&target.name).map_err(failed)?,
        None => found,
    };
    let is_same_link = || link.is_none_or(|link| target.is_as_found(&link));
    match (expected, read.as_ref().map(Stamp::of_stat)) {
        (None, None) if is_same_link() => Ok(()),
        (Some(expected), Some(read)) if read == expected => Ok(()),
        _ => Err(changed(target)),
    }
}

fn changed(target: &Target) -> WriteError {
    let detail = "somebody else has changed it since it was read: read it again, and start over";
    WriteError::new(&target.given, WriteErrorKind::Changed, detail)
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

fn check_writes(writer: &AtomicFile) -> Result<(), WriteError> {
    let Some(failed) = writer.failed else {
        return Ok(());
    };
    let detail = "an earlier write to its temporary file failed";
    Err(writer.target.failed(detail, failed.to_error()))
}

/// The temporary file, in which everything that was written is.
fn written(writer: &AtomicFile) -> Result<Stat, WriteError> {
    let target = &writer.target;
    let stat = rustix::fs::fstat(&writer.file)
        .map_err(|error| target.failed("cannot look at its temporary file", error.into()))?;
    let length = u64::try_from(stat.st_size).unwrap_or_default();
    let wrong = |kind, detail| Err(WriteError::new(&target.given, kind, detail));
    match (writer.written, writer.options.size) {
        (Some(written), _) if written != length => wrong(
            WriteErrorKind::Lost,
            format!("{written} bytes were written, but its temporary file has {length}"),
        ),
        (_, Some(size)) if size != length => wrong(
            WriteErrorKind::WrongSize,
            format!("{size} bytes were to be written, but its temporary file has {length}"),
        ),
        _ => Ok(stat),
    }
}

/// The temporary's name is still that of the file that was written.
fn check_ours(writer: &AtomicFile, ours: Identity) -> Result<(), WriteError> {
    let target = &writer.target;
    match temporary::is_ours(&target.parent, named(writer), ours) {
        Ok(true) => Ok(()),
        Ok(false) => Err(lost(writer)),
        Err(error) => Err(target.failed("cannot look at its temporary file", error)),
    }
}

/// The name of the temporary file.
pub(crate) fn named(writer: &AtomicFile) -> &OsStr {
    writer.temporary.as_deref().unwrap_or_default()
}

fn lost(writer: &AtomicFile) -> WriteError {
    let path = writer.target.parent.path().join(named(writer));
    let detail = format!(
        "its temporary file `{}` was removed or replaced by somebody else; see that it is left \
         alone, and write it again",
        shown(&path)
    );
    WriteError::new(&writer.target.given, WriteErrorKind::Lost, detail)
}

fn rename(writer: &mut AtomicFile) -> Result<(), WriteError> {
    let (parent, name) = (&writer.target.parent, &writer.target.name);
    let renamed = match must_be_new(writer) {
        true => rename_new(parent, named(writer), name),
        false => rustix::fs::renameat(parent, named(writer), parent, name),
    };
    renamed.map_err(|error| not_renamed(writer, error))?;
    writer.temporary = None;
    Ok(())
}

pub(crate) fn not_renamed(writer: &AtomicFile, error: Errno) -> WriteError {
    let target = &writer.target;
    match error {
        Errno::NOENT => lost(writer),
        Errno::EXIST => {
            taken(writer).unwrap_or_else(|| target.failed("cannot put it in place", error.into()))
        }
        Errno::BUSY => {
            let detail = "cannot put it in place: it is a mount point, whose name cannot be given \
                          to another file; write to it directly";
            target.failed(detail, error.into())
        }
        _ => target.failed("cannot put it in place", error.into()),
    }
}

/// Renames, unless the new name exists.
fn rename_new(parent: &Directory, old: &OsStr, new: &OsStr) -> rustix::io::Result<()> {
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
