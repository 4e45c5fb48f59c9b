//! Temporaries beside their target: private, without a name as long as that can be, and locked
//! while they have one.
//!
//! A temporary file is made by `O_TMPFILE`: without a name, so that the kernel frees it when its
//! writer dies, however it dies. The commit gives it one, to rename. Where a filesystem knows no
//! such files, and for directories, it is named from the beginning.
//!
//! A named temporary is called `.TARGET.RANDOM.withal-tmp`, where RANDOM is 128 bits in
//! hexadecimal, and is held under an exclusive `flock` until it is renamed or unlinked. The kernel
//! drops the lock when the writer dies; so a temporary that can be locked is a dead one (see
//! `stale`).
//!
//! # A file is named before it is synced
//!
//! To sync it first would leave less behind after a power cut: its names would come and go in one
//! transaction. But a filesystem may take a file without a name for one that nobody will ask for.
//! ext4 without a journal writes it as a deleted one, and after a crash the target is gone, the old
//! content with it (`tests/it/crash.rs`); btrfs logs nothing for it, and has lost the content
//! (issue 6 of `atomic-write-file`). To sync it once more when it has a name costs a third flush of
//! the disk: 1.2 to 1.4 times as long. Named first, it is synced as any other file, everywhere, and
//! in the same time.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::directory::{Directory, Identity};
use crate::random;

const SUFFIX: &[u8] = b".withal-tmp";

/// That of an old file on its way to be a backup, which is nobody's to sweep.
const KEPT: &[u8] = b".withal-old";

/// How much of the target's name is shown in that of its temporary: with the rest it stays below
/// the 143 bytes of the stingiest filesystem in use.
const MAX_STEM: usize = 64;

/// How often another name is tried: each time, a sweep was faster with its lock than the writer.
const MAX_ATTEMPTS: usize = 256;

/// A name for a temporary of `target`.
pub(crate) fn name(target: &OsStr) -> io::Result<OsString> {
    name_with(target, SUFFIX)
}

/// A name for the old file of `target`, for moments.
pub(crate) fn kept_name(target: &OsStr) -> io::Result<OsString> {
    name_with(target, KEPT)
}

fn name_with(target: &OsStr, suffix: &[u8]) -> io::Result<OsString> {
    let mut name = OsString::from(".");
    name.push(stem(target));
    name.push(".");
    name.push(random::name()?);
    name.push(OsStr::from_bytes(suffix));
    Ok(name)
}

/// The beginning of the target's name, cut between characters.
fn stem(target: &OsStr) -> &OsStr {
    let bytes = target.as_bytes();
    let is_boundary = |end: &usize| bytes.get(*end).is_none_or(|byte| byte & 0xc0 != 0x80);
    let end = (0..=MAX_STEM.min(bytes.len()))
        .rev()
        .find(is_boundary)
        .unwrap_or_default();
    OsStr::from_bytes(bytes.get(..end).unwrap_or_default())
}

/// Whether `name` is one that [`name`] gives.
pub(crate) fn is_temporary(name: &[u8]) -> bool {
    let Some(rest) = name.strip_suffix(SUFFIX) else {
        return false;
    };
    let Some((stem, random)) = rest.split_last_chunk::<{ random::LENGTH }>() else {
        return false;
    };
    stem.starts_with(b".")
        && stem.ends_with(b".")
        && stem.len() > 1
        && random
            .iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether `name` is one that [`name`] gives for `target`.
pub(crate) fn is_temporary_of(name: &[u8], target: &OsStr) -> bool {
    let rest = name
        .strip_prefix(b".")
        .and_then(|rest| rest.strip_prefix(stem(target).as_bytes()));
    let length = 1 + random::LENGTH + SUFFIX.len();
    is_temporary(name) && rest.is_some_and(|rest| rest.len() == length)
}

/// What the lock of a temporary says.
pub(crate) enum Lock {
    /// It is ours now, or the filesystem knows no locks.
    Ours,
    /// Somebody else has it.
    Theirs,
}

/// Makes an empty file that only this user may open, with a name only where there must be one.
pub(crate) fn create_file(
    parent: &Directory,
    target: &OsStr,
) -> io::Result<(Option<OsString>, File)> {
    match create_unnamed(parent)? {
        Some(file) => Ok((None, file)),
        None => create_named(parent, target).map(|(name, file)| (Some(name), file)),
    }
}

/// `None` if this kernel or filesystem knows no files without a name.
fn create_unnamed(parent: &Directory) -> io::Result<Option<File>> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    match rustix::fs::openat(parent, c".", flags, Mode::RUSR | Mode::WUSR) {
        Ok(fd) => Ok(Some(File::from(fd))),
        Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gives a file without a name that of a temporary of `target`.
///
/// Not everybody who may make and rename files may link them: before Linux 6.10 that takes `/proc`,
/// and AppArmor has a right of its own for it. What cannot be linked is copied to a named file,
/// which then is `file`.
pub(crate) fn name_file(
    file: &mut File,
    parent: &Directory,
    target: &OsStr,
) -> io::Result<OsString> {
    // Whoever else might hold the lock keeps a sweep away just as well; where nobody can lock,
    // nobody can sweep.
    let _held = try_lock(&*file);
    let name = name(target)?;
    match link(file, parent, &name) {
        Ok(()) => Ok(name),
        Err(error) if is_refusal(error) => {
            let (name, copy) = create_named(parent, target)?;
            match copy_all(file, &copy) {
                Ok(()) => {
                    *file = copy;
                    Ok(name)
                }
                Err(error) => parent.unlink(&name).and(Err(error)),
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// Links a file without a name to `name`, which must be free.
pub(crate) fn link(file: &File, parent: &Directory, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::linkat(file, c"", parent, name, AtFlags::EMPTY_PATH) {
        // Before Linux 6.10 this way was for the privileged only.
        Err(Errno::NOENT) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::linkat(CWD, path, parent, name, AtFlags::SYMLINK_FOLLOW)
        }
        linked => linked,
    }
}

/// Whether linking is what is not wanted, rather than what has failed.
pub(crate) fn is_refusal(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT
            | Errno::PERM
            | Errno::ACCESS
            | Errno::OPNOTSUPP
            | Errno::NOSYS
            | Errno::INVAL
            | Errno::XDEV
            | Errno::MLINK
    )
}

fn copy_all(mut from: &File, mut to: &File) -> io::Result<()> {
    let _start = from.seek(SeekFrom::Start(0))?;
    io::copy(&mut from, &mut to).map(drop)
}

/// Makes, names and locks an empty file that only this user may open.
pub(crate) fn create_named(parent: &Directory, target: &OsStr) -> io::Result<(OsString, File)> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    create(target, |name| {
        let fd = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
        match lock_fresh(&fd) {
            Ok(true) => Ok(Some(File::from(fd))),
            Ok(false) => parent.unlink(name).map(|()| None),
            Err(error) => parent.unlink(name).and(Err(error.into())),
        }
    })
}

/// Makes and locks an empty directory that only this user may enter.
pub(crate) fn create_dir(parent: &Directory, target: &OsStr) -> io::Result<(OsString, OwnedFd)> {
    create(target, |name| {
        rustix::fs::mkdirat(parent, name, Mode::RWXU)?;
        match open_dir(parent, name).and_then(|fd| Ok((lock_fresh(&fd)?, fd))) {
            Ok((true, fd)) => Ok(Some(fd)),
            // A sweep took it for a dead one; it is empty, so nothing is lost.
            Ok((false, _)) | Err(Errno::NOENT) => Ok(None),
            Err(error) => {
                let _gone = rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR);
                Err(error.into())
            }
        }
    })
}

fn create<T>(
    target: &OsStr,
    make: impl Fn(&OsStr) -> io::Result<Option<T>>,
) -> io::Result<(OsString, T)> {
    for _ in 0..MAX_ATTEMPTS {
        let name = name(target)?;
        if let Some(made) = make(&name)? {
            return Ok((name, made));
        }
    }
    Err(io::Error::other(
        "another process keeps locking the temporaries made here",
    ))
}

pub(crate) fn open_dir(parent: &Directory, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

/// Locks what was just made; false if a sweep was faster and has unlinked it or is about to.
fn lock_fresh(fd: impl AsFd) -> rustix::io::Result<bool> {
    match try_lock(&fd) {
        Ok(Lock::Ours) => Ok(rustix::fs::fstat(&fd)?.st_nlink > 0),
        Ok(Lock::Theirs) => Ok(false),
        // Where nobody can lock, nobody can sweep either.
        Err(_no_locks) => Ok(true),
    }
}

/// Takes the lock without waiting.
pub(crate) fn try_lock(fd: impl AsFd) -> rustix::io::Result<Lock> {
    loop {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Lock::Ours),
            Err(Errno::WOULDBLOCK) => return Ok(Lock::Theirs),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether `name` is still the name of `ours`.
pub(crate) fn is_ours(parent: &Directory, name: &OsStr, ours: Identity) -> io::Result<bool> {
    Ok(parent
        .stat(name)?
        .is_some_and(|stat| Identity::of(&stat) == ours))
}
