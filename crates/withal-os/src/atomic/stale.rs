//! The temporaries of writers that were killed.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, StatxFlags};

use crate::atomic::temporary::{self, Lock};
use crate::directory::{Directory, Identity, file_type};
use crate::tree;

/// How many names a writer reads to look for stale temporaries, on average.
const NAMES_PER_WRITER: u64 = 128;

/// To open a temporary and try its lock takes as long as to read so many names.
const NAMES_PER_TEMPORARY: u64 = 16;

/// How many writers need not look where one has found nothing: to read even an empty directory takes as
/// long as a third of the other system calls of a writer.
const WRITERS_PER_NOTHING: u64 = 15;

/// Room for some hundred names at a time.
const BUFFER: usize = 8 << 10;

/// How many directories are remembered.
const MAX_REMEMBERED: usize = 1024;

/// How many writers in a directory may skip the sweep still.
static SKIPS: LazyLock<Mutex<HashMap<Key, u64>>> = LazyLock::new(Mutex::default);

/// A directory, and when it was made: inodes are used again. And whether directories are swept in it.
type Key = (Identity, i64, u32, bool);

fn key(directory: &Directory, kind: FileType) -> io::Result<Key> {
    let made = rustix::fs::statx(directory, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME)
        .map(|stat| (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec))
        .unwrap_or_default();
    let is_of_directories = kind == FileType::Directory;
    let identity = Identity::of_fd(directory)?;
    Ok((identity, made.0, made.1, is_of_directories))
}

/// What a sweep came to.
#[derive(Debug, Default)]
struct Swept {
    /// The work that was, in names read.
    names: u64,
    /// Whether there were any temporaries.
    found: bool,
}

impl Swept {
    /// How many of the next writers need not sweep.
    fn spares(&self) -> u64 {
        let many = self.names / NAMES_PER_WRITER;
        match self.found {
            // Whose writer lives now may die next.
            true => many,
            false => many.max(WRITERS_PER_NOTHING),
        }
    }
}

/// Removes the temporary files or directories in `parent` whose writers are dead.
///
/// The first writer of a process in a directory always sweeps. Where it finds nothing, the next ones
/// need not. In a directory with hundreds of names, or with many temporaries of living writers, as
/// those of a batch, not every one does either, so that making n files there takes no n² steps.
/// Whatever cannot be removed is left: it is no business of this writer's.
pub(crate) fn sweep(parent: &Directory, kind: FileType) {
    if may_skip(parent, kind) {
        return;
    }
    if let Ok(swept) = sweep_all(parent, kind)
        && swept.spares() > 0
        && let Ok(key) = key(parent, kind)
    {
        remember(key, swept.spares());
    }
}

fn skips() -> MutexGuard<'static, HashMap<Key, u64>> {
    SKIPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn may_skip(directory: &Directory, kind: FileType) -> bool {
    if skips().is_empty() {
        return false;
    }
    let Ok(key) = key(directory, kind) else {
        return false;
    };
    let mut skips = skips();
    match skips.get_mut(&key) {
        Some(left) if *left > 1 => {
            *left -= 1;
            true
        }
        Some(_last) => {
            let _last = skips.remove(&key);
            true
        }
        None => false,
    }
}

fn remember(directory: Key, skip: u64) {
    let mut skips = skips();
    if skips.len() >= MAX_REMEMBERED {
        skips.clear();
    }
    let _before = skips.insert(directory, skip);
}

fn sweep_all(parent: &Directory, kind: FileType) -> io::Result<Swept> {
    // Looking is no use of the directory: its time of access would be written back with every
    // commit, since each makes it older than the last change. Only the owner may ask for that.
    let _allowed = rustix::fs::fcntl_setfl(parent, OFlags::NOATIME);
    let mut swept = Swept::default();
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    // Nobody else reads through this descriptor: it stands at the beginning.
    let mut entries = RawDir::new(parent, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        swept.names += 1;
        let name = entry.file_name();
        let is_kind = entry.file_type() == kind || entry.file_type() == FileType::Unknown;
        if is_kind && temporary::is_temporary(name.to_bytes()) {
            swept.names += NAMES_PER_TEMPORARY;
            swept.found = true;
            // Not ours to remove, busy, or gone already: the next writer will see.
            let _left = remove_if_dead(parent, name, kind);
        }
    }
    Ok(swept)
}

/// Removes the temporary files of `target` whose writers are dead.
pub(crate) fn remove_of(parent: &Directory, target: &OsStr) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut entries = RawDir::new(parent, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        if temporary::is_temporary_of(entry.file_name().to_bytes(), target) {
            match remove_if_dead(parent, entry.file_name(), FileType::RegularFile) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _gone => {}
            }
        }
    }
    Ok(())
}

fn remove_if_dead(parent: &Directory, name: &CStr, kind: FileType) -> io::Result<()> {
    let name = OsStr::from_bytes(name.to_bytes());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    if file_type(&stat) != kind || matches!(temporary::try_lock(&fd)?, Lock::Theirs) {
        return Ok(());
    }
    // Its writer may have renamed it between the listing and the lock: only the name is removed,
    // and only while it is the file that is locked here.
    if !temporary::is_ours(parent, name, Identity::of(&stat))? {
        return Ok(());
    }
    match kind {
        FileType::Directory => tree::remove(parent, name, Identity::of(&stat)).map_err(Into::into),
        _ => parent.unlink(name),
    }
}
