//! Temporaries beside their target: named, private, and locked while their writer lives.
//!
//! A temporary is called `.TARGET.RANDOM.withal-tmp`, where RANDOM is 128 bits in hexadecimal, and
//! is held under an exclusive `flock` from just after it is made until it is renamed or unlinked.
//! The kernel drops the lock when the writer dies, however it dies; so a temporary that can be
//! locked is a dead one (see `stale`).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::directory::{Directory, Identity};
use crate::random;

const SUFFIX: &[u8] = b".withal-tmp";

/// How much of the target's name is shown in that of its temporary: with the rest it stays below
/// the 143 bytes of the stingiest filesystem in use.
const MAX_STEM: usize = 64;

/// How often another name is tried: each time, a sweep was faster with its lock than the writer.
const MAX_ATTEMPTS: usize = 256;

/// A name for a temporary of `target`.
pub(crate) fn name(target: &OsStr) -> io::Result<OsString> {
    let mut name = OsString::from(".");
    name.push(stem(target));
    name.push(".");
    name.push(random::name()?);
    name.push(OsStr::from_bytes(SUFFIX));
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

/// What the lock of a temporary says.
pub(crate) enum Lock {
    /// It is ours now, or the filesystem knows no locks.
    Ours,
    /// Somebody else has it.
    Theirs,
}

/// Makes and locks an empty file that only this user may open.
pub(crate) fn create_file(parent: &Directory, target: &OsStr) -> io::Result<(OsString, File)> {
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
