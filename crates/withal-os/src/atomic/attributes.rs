//! Mode, owner and extended attributes of the file that is replaced.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::fs::{Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use crate::atomic::error::WriteError;
use crate::atomic::options::{Options, Preserve};
use crate::atomic::target::Target;
use crate::atomic::umask::umask;

/// Extended attributes that describe the old content or grant it rights, and so must not pass on to
/// the new: the kernel too removes them from a file that is written to.
const OF_THE_CONTENT: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];

/// Gives `file`, which `new` describes, the attributes of the `old` file, or those of any new one.
pub(crate) fn apply(
    file: &File,
    new: &Stat,
    target: &Target,
    old: Option<&Stat>,
    options: &Options,
) -> Result<(), WriteError> {
    let Some(old) = old else {
        let mode = options.mode.unwrap_or_else(|| 0o666 & !umask());
        return set_mode(file, mode, target);
    };
    let kept = keep_owner(file, new, old, options.owner)
        .map_err(|error| target.failed("cannot keep the owner of the old file", error))?;
    set_mode(
        file,
        options.mode.unwrap_or_else(|| kept.limit(old.st_mode)),
        target,
    )?;
    keep_xattrs(file, target, options)
        .map_err(|error| target.failed("cannot keep the extended attributes", error))
}

fn set_mode(file: &File, mode: u32, target: &Target) -> Result<(), WriteError> {
    rustix::fs::fchmod(file, Mode::from_raw_mode(mode & 0o7777))
        .map_err(|error| target.failed("cannot set its mode", error.into()))
}

/// Which of user and group are those of the old file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) user: bool,
    pub(crate) group: bool,
}

impl Kept {
    /// The mode, without rights it would now grant to somebody else: set-user-id and set-group-id
    /// belong to the owner that is lost, and the new group gets what everybody has.
    pub(crate) fn limit(self, mode: u32) -> u32 {
        let mut mode = mode & 0o7777;
        if !self.user {
            mode &= !0o4000;
        }
        if !self.group {
            mode = (mode & !0o2070) | ((mode & 0o007) << 3);
        }
        mode
    }
}

fn keep_owner(file: &File, new: &Stat, old: &Stat, preserve: Preserve) -> io::Result<Kept> {
    let kept = Kept {
        user: new.st_uid == old.st_uid,
        group: new.st_gid == old.st_gid,
    };
    if preserve == Preserve::Ignore || (kept.user && kept.group) {
        return Ok(kept);
    }
    let (user, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
    match (rustix::fs::fchown(file, Some(user), Some(group)), preserve) {
        (Ok(()), _) => Ok(Kept {
            user: true,
            group: true,
        }),
        (Err(error), Preserve::Require) => Err(error.into()),
        // Only root gives files away, but a group of one's own may be chosen.
        (Err(_), _) => Ok(Kept {
            group: kept.group || rustix::fs::fchown(file, None, Some(group)).is_ok(),
            ..kept
        }),
    }
}

fn keep_xattrs(file: &File, target: &Target, options: &Options) -> io::Result<()> {
    match options.xattrs {
        Preserve::Ignore => Ok(()),
        Preserve::Require => copy_xattrs(file, target, options, |result| result),
        _ => {
            // What cannot be read or set is left; the rest is tried all the same.
            let _partly = copy_xattrs(file, target, options, |_| Ok(()));
            Ok(())
        }
    }
}

/// Copies attribute by attribute; `check` says what becomes of one that fails.
fn copy_xattrs(
    file: &File,
    target: &Target,
    options: &Options,
    check: impl Fn(io::Result<()>) -> io::Result<()>,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let old: OwnedFd = rustix::fs::openat(&target.parent, &target.name, flags, Mode::empty())?;
    let names = match read_growing(|buffer| rustix::fs::flistxattr(&old, spare_capacity(buffer))) {
        Ok(names) => names,
        // A filesystem without them has none to keep.
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        // The access list is the mode's other face: who sets the one does not want the other.
        let is_acl = name == c"system.posix_acl_access";
        if OF_THE_CONTENT.contains(&name.to_bytes()) || (is_acl && options.mode.is_some()) {
            continue;
        }
        check(copy_xattr(&old, file, name))?;
    }
    Ok(())
}

fn copy_xattr(from: impl AsFd, to: impl AsFd, name: &CStr) -> io::Result<()> {
    let value =
        match read_growing(|buffer| rustix::fs::fgetxattr(&from, name, spare_capacity(buffer))) {
            // Removed since it was listed.
            Err(Errno::NODATA) => return Ok(()),
            value => value?,
        };
    Ok(rustix::fs::fsetxattr(
        to,
        name,
        &value,
        XattrFlags::empty(),
    )?)
}

/// Reads into a buffer that is made larger until the answer fits.
fn read_growing(
    mut read: impl FnMut(&mut Vec<u8>) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(256);
    loop {
        match read(&mut buffer) {
            Err(Errno::RANGE) => buffer.reserve(2 * buffer.capacity()),
            read => return read.map(|_| buffer),
        }
    }
}
