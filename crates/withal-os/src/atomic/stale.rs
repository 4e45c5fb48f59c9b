//! The temporaries of writers that were killed.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::fs::{Dir, FileType, Mode, OFlags};

use crate::atomic::temporary::{self, Lock};
use crate::directory::{Directory, Identity, file_type};
use crate::tree;

/// How many names a writer reads to look for stale temporaries, on average.
const NAMES_PER_WRITER: u64 = 1024;

/// How many directories are remembered.
const MAX_REMEMBERED: usize = 1024;

/// How many writers in large directories may skip the sweep still.
static SKIPS: LazyLock<Mutex<HashMap<Identity, u64>>> = LazyLock::new(Mutex::default);

/// Removes the temporary files or directories in `parent` whose writers are dead.
///
/// The first writer of a process in a directory always sweeps. In a directory with many thousands
/// of names only every so manieth does, so that writing n files there takes no n² steps.
/// Whatever cannot be removed is left: it is no business of this writer's.
pub(crate) fn sweep(parent: &Directory, kind: FileType) {
    let Ok(identity) = Identity::of_fd(parent) else {
        return;
    };
    if may_skip(identity) {
        return;
    }
    if let Ok(names) = sweep_all(parent, kind) {
        remember(identity, names / NAMES_PER_WRITER);
    }
}

fn may_skip(directory: Identity) -> bool {
    let mut skips = SKIPS.lock().unwrap_or_else(PoisonError::into_inner);
    match skips.get_mut(&directory) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}

fn remember(directory: Identity, skip: u64) {
    let mut skips = SKIPS.lock().unwrap_or_else(PoisonError::into_inner);
    if skips.len() >= MAX_REMEMBERED {
        skips.clear();
    }
    let _before = match skip {
        0 => skips.remove(&directory),
        skip => skips.insert(directory, skip),
    };
}

/// Gives the number of names read.
fn sweep_all(parent: &Directory, kind: FileType) -> io::Result<u64> {
    let mut names = 0;
    for entry in Dir::read_from(parent)? {
        let entry = entry?;
        names += 1;
        let name = entry.file_name();
        let is_kind = entry.file_type() == kind || entry.file_type() == FileType::Unknown;
        if is_kind && temporary::is_temporary(name.to_bytes()) {
            // Not ours to remove, busy, or gone already: the next writer will see.
            let _left = remove_if_dead(parent, name, kind);
        }
    }
    Ok(names)
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
    if !temporary::is_ours(parent, name, &fd)? {
        return Ok(());
    }
    match kind {
        FileType::Directory => tree::remove(parent, name, Identity::of(&stat)).map_err(Into::into),
        _ => parent.unlink(name),
    }
}
