//! What a process hands on to a command, and how it ends: the command's only `unsafe`.
//!
//! Four things have no safe interface.
//!
//! - *Which signals came in ignored.* Rust's runtime ignores SIGPIPE before `main`, so what it was
//!   must be read earlier: by a function in `.init_array`, which the loader calls with the process
//!   still single-threaded. It calls `sigaction` and stores into atomics, nothing that needs the
//!   runtime.
//! - *Handing it on.* The hook that runs between fork and exec calls `sigprocmask` and `signal`
//!   only, both async-signal-safe; it allocates nothing and takes no lock.
//! - *Setting a disposition to its default.* `SIG_DFL` runs no code of ours, and no handler is
//!   ever installed here.
//! - *Raising a signal by number*, real-time ones too, which no enumeration knows.

#![expect(
    unsafe_code,
    reason = "dispositions and the fork hook have no safe interface"
)]

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc::{self, c_int};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::SigSet;

use crate::run::Exit;

/// The signals that came in ignored, one bit each. Written once, before `main`.
static IGNORED: AtomicU64 = AtomicU64::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static NOTE_IGNORED: extern "C" fn() = note_ignored;

extern "C" fn note_ignored() {
    let ignored = (1..32)
        .filter(|signal| is_ignored_now(*signal))
        .fold(0, |bits, signal| bits | 1 << signal);
    IGNORED.store(ignored, Ordering::Relaxed);
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

/// Lets children be waited for: an ignored SIGCHLD would reap them before we see how they ended.
pub(crate) fn wait_for_children() {
    set_default(libc::SIGCHLD);
}

/// Gives the command the signal mask and the dispositions that this process came with.
pub(crate) fn hand_on_signals(command: &mut Command, mask: SigSet) {
    let hook = move || {
        for signal in [libc::SIGPIPE, libc::SIGCHLD] {
            if came_ignored(signal) {
                // SAFETY: `signal` is async-signal-safe, and ignoring runs no code.
                let _ = unsafe { libc::signal(signal, libc::SIG_IGN) };
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
