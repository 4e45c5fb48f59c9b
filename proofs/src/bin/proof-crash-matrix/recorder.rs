//! A file system of two files: a disk, and a file for marks; what is written to either is noted.

use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

/// What came to the disk, in order.
#[derive(Debug)]
pub(crate) enum Event {
    Write {
        offset: u64,
        data: Vec<u8>,
    },
    /// Everything before it is safe.
    Flush,
    /// The writer has acknowledged this much.
    Mark(u64),
}

type Events = Arc<Mutex<Vec<Event>>>;

/// A recorder at work.
#[derive(Debug)]
pub(crate) struct Recorder {
    session: BackgroundSession,
    events: Events,
}

impl Recorder {
    /// Gives out `image` as `disk` in the folder `place`, and beside it `mark`.
    pub(crate) fn start(image: File, place: &Path) -> Result<Recorder> {
        let events = Events::default();
        let len = image.metadata()?.len();
        let mut config = Config::default();
        config
            .mount_options
            .push(MountOption::FSName("withal-proofs".into()));
        let served = Served {
            image,
            len,
            events: Arc::clone(&events),
        };
        let session = fuser::spawn_mount(served, place, &config)
            .with_context(|| format!("FUSE cannot be mounted on {}", place.display()))?;
        Ok(Recorder { session, events })
    }

    /// Gives what came.
    pub(crate) fn stop(self) -> Result<Vec<Event>> {
        self.session.umount_and_join()?;
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *events))
    }
}

const DISK: u64 = 2;
const MARK: u64 = 3;
const CACHED: Duration = Duration::from_secs(1);

struct Served {
    image: File,
    len: u64,
    events: Events,
}

impl Served {
    fn note(&self, event: Event) {
        let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.push(event);
    }

    fn attributes(&self, inode: u64) -> FileAttr {
        let kind = match inode {
            DISK | MARK => FileType::RegularFile,
            _ => FileType::Directory,
        };
        FileAttr {
            ino: INodeNo(inode),
            size: if inode == DISK { self.len } else { 0 },
            blocks: 0,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let inode = match name.to_str() {
            Some("disk") => DISK,
            Some("mark") => MARK,
            _ => return reply.error(Errno::ENOENT),
        };
        reply.entry(&CACHED, &self.attributes(inode), Generation(0));
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&CACHED, &self.attributes(inode.into()));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let left = self.len.saturating_sub(offset);
        let mut bytes = vec![0; u64::from(size).min(left) as usize];
        match self.image.read_exact_at(&mut bytes, offset) {
            Ok(()) => reply.data(&bytes),
            Err(_) => reply.error(Errno::EIO),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if u64::from(inode) == MARK {
            let Ok(bytes) = data.try_into() else {
                return reply.error(Errno::EINVAL);
            };
            self.note(Event::Mark(u64::from_le_bytes(bytes)));
        } else {
            if self.image.write_all_at(data, offset).is_err() {
                return reply.error(Errno::EIO);
            }
            let data = data.to_vec();
            self.note(Event::Write { offset, data });
        }
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.note(Event::Flush);
        reply.ok();
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EOPNOTSUPP);
    }
}
