//! `withal log`: logs that are whole after any crash.

mod ack;
mod appender;
mod cat;
mod help;
mod holes;
mod progress;
mod records;
mod repair;
mod stamp;
mod stats;
mod tail;
mod values;
mod verify;
mod write;

use std::path::Path;

use anyhow::Context as _;
use nix::libc;
use withal_log::{LogError, LogErrorKind};

use crate::message::{say, with_remedy};
use crate::output::Closed;
use crate::process;
use crate::run::Exit;

pub(crate) use appender::Appender;
pub(crate) use help::AFTER;
pub(crate) use stamp::Format;
pub(crate) use values::size;
pub(crate) use write::{CHUNK, split_lines, whole_characters};

/// What to do with a log.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Append the lines of stdin to a log
    #[command(after_help = help::WRITE)]
    Write(write::Arguments),

    /// Print a log as it was written
    #[command(after_help = help::CAT)]
    Cat(cat::Arguments),

    /// Print the end of a log, and what is added to it
    #[command(after_help = help::TAIL)]
    Tail(tail::Arguments),

    /// Check every byte of a log
    #[command(after_help = help::VERIFY)]
    Verify(verify::Arguments),

    /// Cut what a crash has torn, and make lost sidecars anew
    #[command(after_help = help::REPAIR)]
    Repair(repair::Arguments),

    /// Show what a log holds
    #[command(after_help = help::STATS)]
    Stats(stats::Arguments),
}

impl Command {
    /// What no single option can know of itself.
    pub(crate) fn check(self) -> anyhow::Result<Command> {
        match &self {
            Command::Write(arguments) => arguments.check()?,
            Command::Cat(arguments) => arguments.check()?,
            _ => {}
        }
        Ok(self)
    }
}

/// Does it. The answer is how this process should end.
pub(crate) fn run(command: Command) -> Exit {
    let done = match command {
        Command::Write(arguments) => write::run(&arguments),
        Command::Cat(arguments) => cat::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Repair(arguments) => repair::run(&arguments),
        Command::Stats(arguments) => stats::run(&arguments),
    };
    done.unwrap_or_else(|error| failed(&error))
}

/// The exit status when another process writes the log.
const BUSY: Exit = Exit::Code(75);

fn failed(error: &anyhow::Error) -> Exit {
    if error.is::<Closed>() && !process::came_ignored(libc::SIGPIPE) {
        return Exit::Signal(libc::SIGPIPE);
    }
    let kind = error.downcast_ref().map(LogError::kind);
    match kind {
        Some(LogErrorKind::Busy) => {
            say(format_args!(
                "{error}: another process writes this log; wait for its end, or name another directory"
            ));
            BUSY
        }
        Some(LogErrorKind::Corrupt) => {
            say(format_args!(
                "{error:#}; `withal log verify` shows what is wrong"
            ));
            Exit::FAILED
        }
        _ => {
            say(with_remedy(error));
            Exit::FAILED
        }
    }
}

/// Says what is missing of what was printed, if anything is.
fn tell_removed(bytes: u64) {
    if bytes > 0 {
        say(format_args!(
            "{bytes} bytes are missing: retention removed them before they could be read"
        ));
    }
}

/// Refuses a directory that is no log, which would read as an empty one.
fn check_is_log(path: &Path) -> anyhow::Result<()> {
    match names(path)?.iter().any(is_of_log) {
        true => Ok(()),
        false => anyhow::bail!(
            "`{}`: not a log: there is no segment in it; `withal log write` makes one",
            path.display()
        ),
    }
}

/// Refuses to make a log among other files.
pub(crate) fn check_may_be_log(path: &Path) -> anyhow::Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let names = names(path)?;
    match names.iter().find(|name| !name.starts_with('.')) {
        Some(other) if !names.iter().any(is_of_log) => anyhow::bail!(
            "`{}`: not a log, and not empty: it holds `{other}`; name a new directory",
            path.display()
        ),
        _ => Ok(()),
    }
}

fn names(path: &Path) -> anyhow::Result<Vec<String>> {
    let cannot = || format!("cannot open the log `{}`", path.display());
    let entries = std::fs::read_dir(path).with_context(cannot)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names
        .collect::<std::io::Result<_>>()
        .with_context(|| format!("cannot read the directory `{}`", path.display()))
}

fn is_of_log(name: &String) -> bool {
    name == "META" || name == "LOCK" || is_segment(name)
}

fn is_segment(name: &str) -> bool {
    let known = [".log", ".idx", ".log.zst"];
    name.starts_with(|first: char| first.is_ascii_digit())
        && known.iter().any(|end| name.ends_with(end))
}
