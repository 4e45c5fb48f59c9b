//! Starting the command and reaching it with signals.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::unistd::{Pid, getpgid, getpgrp, getppid, getsid, tcgetpgrp};
use rustix::fs::{Access, access};

use super::Exit;
use super::signals::{Arrived, Origin};
use crate::message::{remedy_of, shown};
use crate::process;

/// Why the command does not run.
#[derive(Debug)]
pub(crate) struct NotStarted {
    pub(crate) exit: Exit,
    pub(crate) reason: String,
}

/// A command that has been started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) pid: Pid,
    /// Whether it leads a process group of its own, so that the terminal's signals, if there are
    /// any, do not reach it.
    pub(super) has_own_group: bool,
    is_shells_job: bool,
}

/// What the shell that started us expects, looked at before there is a second process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Whether there is one whose Ctrl-C and Ctrl-Z are meant for the command, too.
    pub(super) is_there: bool,
    /// Whether our parent is a shell with job control that runs us, and so the command, as a job:
    /// then it is told of stops, and can continue what has stopped.
    pub(super) is_shells_job: bool,
}

impl Terminal {
    pub(crate) fn look() -> Terminal {
        let parent = getppid();
        let is_there = has_terminal();
        let is_elsewhere = getpgid(Some(parent)).is_ok_and(|group| group != getpgrp());
        let is_on_our_terminal = getsid(Some(parent)) == getsid(None);
        Terminal {
            is_there,
            is_shells_job: is_there && is_elsewhere && is_on_our_terminal,
        }
    }
}

impl Running {
    /// Starts `command` with its gates' contributions, and lets go of what they gave it.
    pub(crate) fn start(
        mut command: Command,
        mask: SigSet,
        terminal: Terminal,
    ) -> Result<Running, NotStarted> {
        let has_own_group = !terminal.is_there;
        if has_own_group {
            let _ = command.process_group(0);
        }
        process::hand_on(&mut command, mask);
        let child = command.spawn();
        let child = child.map_err(|error| not_started(&command, &error))?;
        let pid = child
            .id()
            .try_into()
            .expect("process ids fit their own type");
        Ok(Running {
            pid: Pid::from_raw(pid),
            has_own_group,
            is_shells_job: terminal.is_shells_job,
        })
    }

    /// Passes a signal on, unless it has reached the command already: on a terminal the command
    /// shares our process group, so that it gets what the terminal sends.
    pub(crate) fn pass_on(&self, arrived: &Arrived) {
        let has_reached_it = matches!(arrived.origin, Origin::Terminal | Origin::Group);
        if !has_reached_it || self.has_own_group {
            let is_for_all = arrived.asks_to_stop() || arrived.signal == Signal::SIGCONT;
            self.send(arrived.signal, is_for_all);
        }
    }

    /// Asks the command to stop; a stopped one is continued, or it could not answer.
    pub(crate) fn stop(&self, signal: Signal) {
        self.send(signal, true);
        self.send(Signal::SIGCONT, true);
    }

    /// Whether somebody is to be told that the command has stopped: see [`Terminal`].
    pub(super) fn is_shells_job(&self) -> bool {
        self.is_shells_job
    }

    /// Signals the command, or, if `is_for_all`, the group it leads.
    ///
    /// It has not been reaped, or it would not be signalled any more: its id means nobody else.
    fn send(&self, signal: Signal, is_for_all: bool) {
        let leads_group = self.has_own_group && getpgid(Some(self.pid)) == Ok(self.pid);
        // A failure means that it has just ended, or that it changed its user and may not be
        // signalled; the grace period then shows.
        let _ = match is_for_all && leads_group {
            true => killpg(self.pid, signal),
            false => kill(self.pid, signal),
        };
    }
}

/// Whether there is a terminal whose Ctrl-C and Ctrl-Z are meant for the command, too.
fn has_terminal() -> bool {
    // Only a controlling terminal tells its foreground group; any other sends no signals here.
    let streams = [
        tcgetpgrp(io::stdin()).is_ok(),
        tcgetpgrp(io::stdout()).is_ok(),
        tcgetpgrp(io::stderr()).is_ok(),
    ];
    // All three may be redirected while the shell's job is in the foreground all the same.
    streams.contains(&true) || File::open("/dev/tty").is_ok()
}

fn not_started(command: &Command, error: &io::Error) -> NotStarted {
    let program = command.get_program();
    let name = shown(program);
    let (exit, reason) = match error.raw_os_error() {
        // The kernel has no room for it: that says nothing of the command.
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE) => (
            Exit::FAILED,
            format!("cannot start {name}: {error}{}", remedy_of(error)),
        ),
        Some(libc::ENOENT | libc::ENOTDIR | libc::EACCES) if let Some(cwd) = unusable(command) => (
            Exit::FAILED,
            format!("cannot start {name} in `{}`: {error}", shown(cwd)),
        ),
        Some(libc::ENOENT) if program.is_empty() => (
            Exit::NOT_FOUND,
            "the command's name is empty; write it after `--`".to_owned(),
        ),
        Some(libc::ENOENT) if find(program, command).is_none() => {
            (Exit::NOT_FOUND, format!("{name}: command not found"))
        }
        Some(libc::ENOENT) => (
            Exit::NOT_EXECUTABLE,
            format!("{name}: the interpreter in its first line was not found"),
        ),
        Some(libc::ENOTDIR) => (
            Exit::NOT_FOUND,
            format!("{name}: command not found: {error}"),
        ),
        Some(libc::EACCES) => {
            let found = find(program, command);
            let remedy = found.as_deref().map_or("", why_not_executable);
            (
                Exit::NOT_EXECUTABLE,
                format!("{name}: cannot be executed: {error}{remedy}"),
            )
        }
        _ => (
            Exit::NOT_EXECUTABLE,
            format!("{name}: cannot be executed: {error}"),
        ),
    };
    NotStarted { exit, reason }
}

/// The directory the command is to run in, if it is none.
fn unusable(command: &Command) -> Option<&Path> {
    let cwd = command.get_current_dir()?;
    (!cwd.as_os_str().is_empty() && !cwd.join(".").is_dir()).then_some(cwd)
}

/// What is wrong with a file that may not be executed, where it can be seen, and what to do.
fn why_not_executable(file: &Path) -> &'static str {
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_dir() => "; it is a directory",
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            "; make it executable with `chmod +x`"
        }
        _ => "",
    }
}

/// Why a program cannot be started.
#[derive(Debug)]
enum Unusable {
    /// It is called nothing.
    Unnamed,
    NotFound,
    /// It has no slash in it, and is nowhere in the `PATH`.
    NotInPath,
    NotExecutable(PathBuf),
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unusable::Unnamed => f.write_str("its name is empty; write it"),
            Unusable::NotFound => f.write_str("No such file or directory; write its path"),
            Unusable::NotInPath => f.write_str(
                "No such file or directory in the `PATH`; install it, or write its path",
            ),
            Unusable::NotExecutable(file) => {
                write!(f, "Permission denied{}", why_not_executable(file))
            }
        }
    }
}

/// Looks for what is started as `program` in `directory`, with these folders in `PATH`. What depends
/// on a directory that is not known is taken to be there.
///
/// # Errors
///
/// It is not there, or cannot be executed.
pub(super) fn check_executable(
    program: &OsStr,
    path: Option<&OsStr>,
    directory: Option<&Path>,
) -> anyhow::Result<()> {
    let found = find_executable(program, path, directory);
    found.map_err(|why| anyhow::anyhow!("cannot start `{}`: {why}", shown(program)))
}

fn find_executable(
    program: &OsStr,
    path: Option<&OsStr>,
    directory: Option<&Path>,
) -> Result<(), Unusable> {
    if program.is_empty() {
        return Err(Unusable::Unnamed);
    }
    // Where the C library looks without a `PATH`, and somewhat further.
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let (files, none) = match program.as_bytes().contains(&b'/') {
        true => (vec![PathBuf::from(program)], Unusable::NotFound),
        false => {
            let folders = std::env::split_paths(path);
            let files = folders.map(|folder| folder.join(program));
            (files.collect(), Unusable::NotInPath)
        }
    };
    let mut unusable = none;
    for file in files {
        let file = match directory {
            Some(directory) => directory.join(file),
            None if file.is_absolute() => file,
            None => return Ok(()),
        };
        match fs::metadata(&file) {
            Ok(found) if found.is_file() && access(&file, Access::EXEC_OK).is_ok() => return Ok(()),
            Ok(_) => unusable = Unusable::NotExecutable(file),
            // Whether it is there cannot be seen from here.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(()),
            Err(_) => {}
        }
    }
    Err(unusable)
}

/// The file of `program`, where the command's own `PATH` leads.
fn find(program: &OsStr, command: &Command) -> Option<PathBuf> {
    let cwd = command.get_current_dir().unwrap_or(Path::new(""));
    if program.as_bytes().contains(&b'/') {
        let path = cwd.join(program);
        return fs::symlink_metadata(&path).is_ok().then_some(path);
    }
    let set = command.get_envs().find(|(name, _)| *name == "PATH");
    let path: Option<OsString> = match set {
        Some((_, value)) => value.map(OsStr::to_owned),
        None => std::env::var_os("PATH"),
    };
    let folders = path.unwrap_or_default();
    let mut files = std::env::split_paths(&folders).map(|folder| cwd.join(folder).join(program));
    files.find(|file| file.is_file())
}
