//! What one descriptor is, by what its link in `/proc` says.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, StatxFlags, readlinkat_raw, statx};
use rustix::io::Errno;
use rustix::path::DecInt;

use super::super::kind::{Census, Kind, SocketKey};
use super::Lost;

/// The descriptors of one process, as they are found. What kind of socket one is, is asked for
/// when all are known.
#[derive(Debug)]
pub(super) struct Found<'a> {
    pid: i32,
    folder: &'a OwnedFd,
    /// What paths were at the last look, by descriptor.
    known: &'a Paths,
    pub(super) paths: Paths,
    pub(super) census: Census,
    pub(super) sockets: Vec<SocketKey>,
}

/// What the paths of descriptors are, with a hash of each path: one that is the same for the same
/// descriptor is not looked at again.
pub(super) type Paths = HashMap<u32, (u64, Kind)>;

/// What a link says.
#[derive(Debug, PartialEq, Eq)]
enum Link {
    Socket(u64),
    Kind(Kind),
    /// The file has to be looked at.
    Path,
}

impl<'a> Found<'a> {
    pub(super) fn new(pid: i32, folder: &'a OwnedFd, known: &'a Paths) -> Found<'a> {
        Found {
            pid,
            folder,
            known,
            paths: Paths::with_capacity(known.len()),
            census: Census::default(),
            sockets: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, descriptor: u32) -> Result<(), Lost> {
        // No path that the kernel tells is longer.
        let mut buffer = [0_u8; 4_096];
        let name = DecInt::new(descriptor);
        let target = match readlinkat_raw(self.folder, name.as_c_str(), &mut buffer[..]) {
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            // It has been closed since its name was read.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let kind = match link(target) {
            Link::Kind(kind) => Some(kind),
            Link::Path => self.path(descriptor, &name, target)?,
            Link::Socket(inode) => {
                self.sockets.push(SocketKey {
                    pid: self.pid,
                    descriptor,
                    inode,
                });
                None
            }
        };
        if let Some(kind) = kind {
            *self.census.counts.entry(kind).or_default() += 1;
        }
        Ok(())
    }

    /// What a path is; a file that was deleted since has another one, which says so.
    fn path(
        &mut self,
        descriptor: u32,
        name: &DecInt,
        target: &[u8],
    ) -> Result<Option<Kind>, Lost> {
        let mut hasher = DefaultHasher::new();
        hasher.write(target);
        let hash = hasher.finish();
        let known = self.known.get(&descriptor);
        let kind = match known.filter(|(known, _)| *known == hash) {
            Some((_, kind)) => Some(*kind),
            None => self.file(name)?,
        };
        if let Some(kind) = kind {
            let _ = self.paths.insert(descriptor, (hash, kind));
        }
        Ok(kind)
    }

    /// What the file behind a descriptor is, without asking a server for it: a network file system
    /// that does not answer must not stop the watch.
    fn file(&self, name: &DecInt) -> Result<Option<Kind>, Lost> {
        let wanted = StatxFlags::TYPE | StatxFlags::NLINK;
        let stat = match statx(
            self.folder,
            name.as_c_str(),
            AtFlags::STATX_DONT_SYNC,
            wanted,
        ) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => return Err(Lost::Denied),
            // The file system is broken, but a file it is.
            Err(_) => return Ok(Some(Kind::File)),
        };
        Ok(Some(match FileType::from_raw_mode(stat.stx_mode.into()) {
            FileType::RegularFile if stat.stx_nlink == 0 => Kind::Deleted,
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::CharacterDevice => Kind::Chr,
            FileType::Fifo => Kind::Pipe,
            _ => Kind::Other,
        }))
    }
}

fn link(target: &[u8]) -> Link {
    if let Some(inode) = target.strip_prefix(b"socket:[") {
        let inode = inode
            .strip_suffix(b"]")
            .and_then(|inode| str::from_utf8(inode).ok());
        let inode = inode.and_then(|inode| inode.parse().ok());
        return inode.map_or(Link::Kind(Kind::Other), Link::Socket);
    }
    if target.starts_with(b"/memfd:") {
        return Link::Kind(Kind::Memfd);
    }
    if target.starts_with(b"/") {
        return Link::Path;
    }
    let name = target.strip_prefix(b"anon_inode:").unwrap_or(target);
    let is = |prefix: &str| {
        let name = name.strip_prefix(b"[").unwrap_or(name);
        name.starts_with(prefix.as_bytes())
    };
    Link::Kind(match () {
        () if is("pipe:") => Kind::Pipe,
        () if is("eventfd") => Kind::Eventfd,
        () if is("eventpoll") => Kind::Eventpoll,
        () if is("timerfd") => Kind::Timerfd,
        () if is("signalfd") => Kind::Signalfd,
        () if is("inotify") => Kind::Inotify,
        () if is("pidfd") => Kind::Pidfd,
        () if is("io_uring") => Kind::IoUring,
        () => Kind::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::{Kind, Link, link};

    #[test]
    fn links_say_what_a_descriptor_is() {
        let check = |target: &str, expected: Link| {
            assert_eq!(link(target.as_bytes()), expected, "{target}");
        };
        check("socket:[6411594]", Link::Socket(6_411_594));
        check("socket:[]", Link::Kind(Kind::Other));
        check("/var/log/syslog", Link::Path);
        check("/socket:[1]", Link::Path);
        check("/memfd:wayland-shm (deleted)", Link::Kind(Kind::Memfd));
        for (target, kind) in [
            ("pipe:[6412885]", Kind::Pipe),
            ("anon_inode:[eventfd]", Kind::Eventfd),
            ("anon_inode:[eventpoll]", Kind::Eventpoll),
            ("anon_inode:[timerfd]", Kind::Timerfd),
            ("anon_inode:[signalfd]", Kind::Signalfd),
            ("anon_inode:inotify", Kind::Inotify),
            ("anon_inode:[pidfd]", Kind::Pidfd),
            ("pidfd:[4711]", Kind::Pidfd),
            ("anon_inode:[io_uring]", Kind::IoUring),
            ("anon_inode:bpf-prog", Kind::Other),
            ("net:[4026531840]", Kind::Other),
            ("", Kind::Other),
        ] {
            check(target, Link::Kind(kind));
        }
    }
}
