//! Mode, owner, access list, SELinux label and other extended attributes of the new file.

use std::ffi::CStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::buffer::spare_capacity;
use rustix::fs::{Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use crate::atomic::acl;
use crate::atomic::error::WriteError;
use crate::atomic::options::{Options, Preserve};
use crate::atomic::target::Target;
use crate::atomic::umask::umask;
use crate::report;
use crate::shown::shown;

/// Extended attributes that describe the old content or grant it rights, and so must not pass on to
/// the new: the kernel too removes them from a file that is written to.
const OF_THE_CONTENT: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];

const SELINUX: &CStr = c"security.selinux";

/// An attribute that a new file is without, though that was to be tried.
#[derive(Debug)]
pub(crate) struct Missing {
    path: PathBuf,
    what: &'static str,
    source: io::Error,
}

impl Missing {
    /// Says so, now that the new file is in place.
    pub(crate) fn report(self) {
        report::worked_around("AtomicFile", self);
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, what) = (shown(&self.path), self.what);
        write!(
            f,
            "`{path}` was written, but not with all attributes: cannot {what}"
        )
    }
}

impl std::error::Error for Missing {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Gives `file`, which `new` describes, the attributes of the `old` file, or those of any new one.
///
/// The answer is what it goes without.
pub(crate) fn apply(
    file: &File,
    new: &Stat,
    target: &Target,
    old: Option<&Stat>,
    options: &Options,
) -> Result<Vec<Missing>, WriteError> {
    let mut new_file = NewFile {
        file,
        target,
        options,
        missing: Vec::new(),
    };
    match old {
        None => new_file.set_mode(None)?,
        Some(old) => {
            let kept = new_file.keep_owner(new, old)?;
            new_file.set_mode(Some(kept.limit(old.st_mode)))?;
            new_file.keep_xattrs(kept)?;
        }
    }
    Ok(new_file.missing)
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

struct NewFile<'a> {
    file: &'a File,
    target: &'a Target,
    options: &'a Options,
    missing: Vec<Missing>,
}

impl NewFile<'_> {
    /// Sets the mode that was asked for, or that of the `old` file, or that of any new one.
    fn set_mode(&mut self, old: Option<u32>) -> Result<(), WriteError> {
        let (mode, preserve) = match (self.options.mode, self.options.permissions, old) {
            (Some(mode), ..) => {
                // Who sets the one face does not want the other, inherited or not.
                self.check(Preserve::Require, "set its mode", acl::remove(self.file))?;
                (mode, Preserve::Require)
            }
            (None, Preserve::Require | Preserve::Try, Some(old)) => (old, self.options.permissions),
            (None, ..) => (
                acl::default_mode(&self.target.parent).unwrap_or_else(|| 0o666 & !umask()),
                Preserve::Try,
            ),
        };
        let set = rustix::fs::fchmod(self.file, Mode::from_raw_mode(mode & 0o7777));
        self.check(preserve, "set its mode", set.map_err(Into::into))
    }

    fn keep_owner(&mut self, new: &Stat, old: &Stat) -> Result<Kept, WriteError> {
        let (file, preserve) = (self.file, self.options.owner);
        let kept = Kept {
            user: new.st_uid == old.st_uid,
            group: new.st_gid == old.st_gid,
        };
        if preserve == Preserve::Ignore || (kept.user && kept.group) {
            return Ok(kept);
        }
        let (user, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
        let Err(error) = rustix::fs::fchown(file, Some(user), Some(group)) else {
            return Ok(Kept {
                user: true,
                group: true,
            });
        };
        let what = match kept.user {
            true => "keep the group of the old file",
            false => "keep the owner of the old file",
        };
        self.check(preserve, what, Err(error.into()))?;
        // Only root gives files away, but a group of one's own may be chosen.
        Ok(Kept {
            group: kept.group || rustix::fs::fchown(file, None, Some(group)).is_ok(),
            ..kept
        })
    }

    /// Copies what of the old file's extended attributes is to be kept.
    fn keep_xattrs(&mut self, kept: Kept) -> Result<(), WriteError> {
        let Options {
            acl,
            selinux,
            xattrs,
            ..
        } = *self.options;
        let strictest = [acl, selinux, xattrs]
            .into_iter()
            .fold(Preserve::Ignore, stricter);
        if strictest == Preserve::Ignore {
            return Ok(());
        }
        let what = "keep the extended attributes";
        let (old, names) = match self.old_xattrs() {
            Ok(found) => found,
            Err(error) => return self.check(strictest, what, Err(error)),
        };
        let mut has_acl = false;
        for name in names.split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else {
                continue;
            };
            if OF_THE_CONTENT.contains(&name.to_bytes()) {
                continue;
            }
            if name == acl::ACCESS {
                has_acl = true;
                if acl != Preserve::Ignore && self.options.mode.is_none() {
                    let copied = copy_xattr(&old, self.file, name, |list| {
                        if !kept.group {
                            acl::limit_group(list);
                        }
                    });
                    self.check(acl, "keep the access list", copied)?;
                }
            } else if name == SELINUX {
                if selinux != Preserve::Ignore {
                    let copied = copy_xattr(&old, self.file, name, |_| ());
                    self.check(selinux, "keep the SELinux label", copied)?;
                }
            } else if xattrs != Preserve::Ignore {
                self.check(xattrs, what, copy_xattr(&old, self.file, name, |_| ()))?;
            }
        }
        if !has_acl && acl != Preserve::Ignore {
            // The directory's default list is for new files; the old one had none.
            self.check(acl, "keep the access list", acl::remove(self.file))?;
        }
        Ok(())
    }

    /// The old file, and the names of its extended attributes.
    fn old_xattrs(&self) -> io::Result<(OwnedFd, Vec<u8>)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Target { parent, name, .. } = self.target;
        let old = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        match read_growing(|buffer| rustix::fs::flistxattr(&old, spare_capacity(buffer))) {
            Ok(names) => Ok((old, names)),
            // A filesystem without them has none to keep.
            Err(Errno::NOTSUP) => Ok((old, Vec::new())),
            Err(error) => Err(error.into()),
        }
    }

    /// Fails, or notes that the file goes without, as `preserve` has it.
    fn check(
        &mut self,
        preserve: Preserve,
        what: &'static str,
        done: io::Result<()>,
    ) -> Result<(), WriteError> {
        let Err(error) = done else {
            return Ok(());
        };
        if preserve == Preserve::Require {
            return Err(self.target.failed(format!("cannot {what}"), error));
        }
        self.missing.push(Missing {
            path: self.target.given.clone(),
            what,
            source: error,
        });
        Ok(())
    }
}

fn stricter(a: Preserve, b: Preserve) -> Preserve {
    match (a, b) {
        (Preserve::Require, _) | (_, Preserve::Require) => Preserve::Require,
        (Preserve::Try, _) | (_, Preserve::Try) => Preserve::Try,
        _ => Preserve::Ignore,
    }
}

fn copy_xattr(
    from: impl AsFd,
    to: impl AsFd,
    name: &CStr,
    change: impl FnOnce(&mut [u8]),
) -> io::Result<()> {
    let mut value =
        match read_growing(|buffer| rustix::fs::fgetxattr(&from, name, spare_capacity(buffer))) {
            // Removed since it was listed.
            Err(Errno::NODATA) => return Ok(()),
            value => value?,
        };
    change(&mut value);
    Ok(rustix::fs::fsetxattr(
        to,
        name,
        &value,
        XattrFlags::empty(),
    )?)
}

/// Reads into a buffer that is made larger until the answer fits.
pub(crate) fn read_growing(
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
