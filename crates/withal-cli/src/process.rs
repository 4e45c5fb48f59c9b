//! What a process hands on to a command, what it keeps meanwhile, and how it ends: the command's
//! only `unsafe`.
//!
//! Six things have no safe interface.
//!
//! - *Which signals came in ignored, and which standard streams closed.* Rust's runtime ignores
//!   SIGPIPE and opens `/dev/null` for closed streams before `main`, so what was must be read
//!   earlier: by a function in `.init_array`, which the loader calls with the process still
//!   single-threaded. It calls `sigaction` and `fcntl` and stores into atomics, nothing that needs
//!   the runtime.
//! - *Handing it on.* The hook that runs between fork and exec calls `sigprocmask`, `signal`,
//!   `fstat` and `close` only, all async-signal-safe; it allocates nothing and takes no lock. It
//!   runs after the streams are in place and closes none but those that came in closed.
//! - *Setting a disposition to its default.* `SIG_DFL` runs no code of ours, and no handler is
//!   ever installed here.
//! - *Forking.* The child of a process with one thread may do whatever its parent might: no lock is
//!   held by a thread that it does not have. [`fork`] asks the kernel how many there are.
//! - *Giving pages back.* Those of private mappings of files that are not writable and of which no
//!   page was ever written to: the kernel finds each again in its file when it is used, and nobody
//!   can tell. The kernel says which those are (`smaps`).
//! - *Raising a signal by number*, real-time ones too, which no enumeration knows.

#![expect(
    unsafe_code,
    reason = "dispositions and the fork hook have no safe interface"
)]

use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc::{self, c_int, c_void};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;
use nix::unistd::ForkResult;
use procfs::process::{MMPermissions, MemoryMap, Process};
use rustix::mm::{Advice, madvise};

use crate::run::Exit;

/// The signals that came in ignored, one bit each. Written once, before `main`.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// The standard streams that came in closed, one bit each. Written once, before `main`.
static CLOSED: AtomicU64 = AtomicU64::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_INHERITED: extern "C" fn() = note_inherited;

extern "C" fn note_inherited() {
    let closed = (0..3)
        .filter(|stream| is_closed_now(*stream))
        .fold(0, |bits, stream| bits | 1 << stream);
    CLOSED.store(closed, Ordering::Relaxed);
    let ignored = (1..32)
        .filter(|signal| is_ignored_now(*signal))
        .fold(0, |bits, signal| bits | 1 << signal);
    IGNORED.store(ignored, Ordering::Relaxed);
}

fn is_closed_now(stream: c_int) -> bool {
    // SAFETY: asking for the flags of a descriptor has no requirements; EBADF says it is none.
    unsafe { libc::fcntl(stream, libc::F_GETFD) == -1 }
}

/// Whether `stream` is what the runtime has opened in place of a closed one.
fn is_null_device(stream: c_int) -> bool {
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the result is written to a place that is large enough.
    let result = unsafe { libc::fstat(stream, stat.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `stat`, should the call have failed.
    let stat = unsafe { stat.assume_init() };
    let is_device = stat.st_mode & libc::S_IFMT == libc::S_IFCHR;
    result == 0 && is_device && stat.st_rdev == libc::makedev(1, 3)
}

fn is_ignored_now(signal: c_int) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the new action is null, so nothing changes; the old one is written to a place that
    // is large enough.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: all-zero bytes are a valid `sigaction`, should the call have failed.
    let action = unsafe { action.assume_init() };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Whether this process was started with `signal` ignored, as by `nohup`.
pub(crate) fn came_ignored(signal: c_int) -> bool {
    (0..64).contains(&signal) && IGNORED.load(Ordering::Relaxed) & (1 << signal) != 0
}

/// Makes a second process of this one.
///
/// # Errors
///
/// There are other threads already, or the kernel does not say; it has no room for a process.
pub(crate) fn fork() -> io::Result<ForkResult> {
    // A directory's links are its parent's, its own and those of the directories in it: one for
    // each thread.
    let threads = std::fs::metadata("/proc/self/task")?
        .nlink()
        .saturating_sub(2);
    if threads != 1 {
        return Err(io::Error::other(format!("there are {threads} threads")));
    }
    // SAFETY: this is the only thread.
    unsafe { nix::unistd::fork() }.map_err(io::Error::from)
}

/// Gives back the memory that this process has allocated and does not use, and the pages of the
/// program and its libraries: what is used of them again comes from their files again. `sleep` comes
/// next, and what it runs is in memory again: the less that is, the better.
///
/// # Errors
///
/// The kernel does not say which pages those are, or does not take them; there is no sleep then.
pub(crate) fn give_back_pages(sleep: impl FnOnce()) -> anyhow::Result<()> {
    let maps = Process::myself()?.smaps()?;
    let as_read: Vec<_> = maps.iter().filter_map(as_read).collect();
    drop(maps);
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's locks, and gives back only what is free.
    unsafe {
        let _gave_any = libc::malloc_trim(0);
    }
    for (begin, length) in &as_read {
        // SAFETY: it is a mapping of a file, private, not writable, and no page of it differs from
        // the file: whoever reads it, now or later, finds what was there.
        unsafe { madvise(begin.as_ptr(), *length, Advice::LinuxDontNeed) }?;
    }
    sleep();
    Ok(())
}

/// Where it lies and how long it is, if it is as it was read from its file, and stays so.
fn as_read(map: &MemoryMap) -> Option<(NonNull<c_void>, usize)> {
    let can_differ = MMPermissions::WRITE | MMPermissions::SHARED;
    let differs = map
        .extension
        .map
        .get("Anonymous")
        .is_none_or(|bytes| *bytes > 0);
    if map.inode == 0 || map.perms.intersects(can_differ) || differs {
        return None;
    }
    let (begin, end) = map.address;
    let length = usize::try_from(end.checked_sub(begin)?).ok()?;
    let begin = NonZeroUsize::new(usize::try_from(begin).ok()?)?;
    Some((NonNull::without_provenance(begin), length))
}

/// Lets children be waited for: an ignored SIGCHLD would reap them before we see how they ended.
pub(crate) fn wait_for_children() {
    set_default(libc::SIGCHLD);
}

/// Makes a write beyond `ulimit -f` an error like any other, in place of a signal that kills.
pub(crate) fn outlive_full_files() {
    // SAFETY: ignoring runs no code; no handler that could be lost was ever installed.
    let _ = unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

/// Gives the command the signal mask, the dispositions and the closed streams that this process came
/// with. A stream that a gate has taken since is not the null device, and stays.
pub(crate) fn hand_on(command: &mut Command, mask: SigSet) {
    let hook = move || {
        for signal in [libc::SIGPIPE, libc::SIGCHLD] {
            if came_ignored(signal) {
                // SAFETY: `signal` is async-signal-safe, and ignoring runs no code.
                let _ = unsafe { libc::signal(signal, libc::SIG_IGN) };
            }
        }
        if !came_ignored(libc::SIGXFSZ) {
            set_default(libc::SIGXFSZ);
        }
        for stream in 0..3 {
            if CLOSED.load(Ordering::Relaxed) & (1 << stream) != 0 && is_null_device(stream) {
                // SAFETY: nobody but the command uses the streams of this process any more.
                let _ = unsafe { libc::close(stream) };
            }
        }
        mask.thread_set_mask().map_err(io::Error::from)
    };
    // SAFETY: the hook makes async-signal-safe calls only; it owns what it captures.
    let _ = unsafe { command.pre_exec(hook) };
}

/// Ends this process as `exit` says: with a code, or by the signal the command died of.
///
/// A process that survives its signal, as PID 1 does, exits with 128 + n.
pub(crate) fn end(exit: Exit) -> ! {
    if let Exit::Signal(signal) = exit {
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        set_default(signal);
        let _ = SigSet::all().thread_unblock();
        // SAFETY: `raise` has no requirements; no handler is installed.
        let _ = unsafe { libc::raise(signal) };
    }
    std::process::exit(exit.code())
}

fn set_default(signal: c_int) {
    // SAFETY: `SIG_DFL` runs no code; no handler that could be lost was ever installed.
    let _ = unsafe { libc::signal(signal, libc::SIG_DFL) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of files that this process has in memory.
    fn of_files() -> u64 {
        Process::myself().unwrap().statm().unwrap().shared
    }

    #[test]
    fn pages_that_are_given_back_come_again() {
        let before = of_files();
        give_back_pages(|| ()).unwrap();
        let after = of_files();
        assert!(after < before, "{after} of {before}");
        assert_eq!(format!("{:?}", "what it reads"), "\"what it reads\"");
    }
}
