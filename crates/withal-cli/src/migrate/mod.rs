//! `withal migrate`: every database at its newest version, or at the one it had.

mod file;
mod help;
mod progress;
mod session;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use nix::libc;
use withal_scope::Reaper;

use crate::cli::duration;
use crate::message::{Level, Messages, say, say_lines};
use crate::output::Closed;
use crate::process;
use crate::run::{Blocked, Exit};
use crate::source::BadSource;

use progress::Progress;

pub(crate) use file::needs_writing;
pub(crate) use help::{AFTER, USAGE};

/// How long rolling back and closing may take after a signal: less than what stops us waits.
const GRACE: Duration = Duration::from_secs(9);

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// The file that names the databases
    #[arg(value_name = "FILE.toml", required = true)]
    file: Option<PathBuf>,

    /// Show what would be run, and change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Go on with other databases when one fails
    #[arg(short, long)]
    keep_going: bool,

    /// How long to wait while another run migrates a database; without it, for ever
    #[arg(long, value_name = "DUR", value_parser = duration)]
    lock_wait: Option<Duration>,

    /// Say nothing but what went wrong
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show at which version each database is, what is pending and what is wrong
    #[command(after_help = help::STATUS)]
    Status(status::Arguments),
}

/// How to migrate.
#[derive(Clone, Copy, Debug)]
struct Options {
    keep_going: bool,
    lock_wait: Option<Duration>,
}

/// Does it. The answer is how this process should end.
pub(crate) fn run(arguments: Arguments) -> Exit {
    try_run(arguments).unwrap_or_else(|error| {
        if error.is::<Closed>() && !process::came_ignored(libc::SIGPIPE) {
            return Exit::Signal(libc::SIGPIPE);
        }
        match error.downcast_ref::<BadSource>() {
            Some(bad) => say_lines(bad),
            None => say(format_args!("{error:#}")),
        }
        Exit::FAILED
    })
}

fn try_run(arguments: Arguments) -> anyhow::Result<Exit> {
    let messages = Messages::new(match arguments.quiet {
        true => Level::Quiet,
        false => Level::Normal,
    });
    withal_core::set_notice_hook(move |notice| messages.notice(notice));
    let options = Options {
        keep_going: arguments.keep_going,
        lock_wait: arguments.lock_wait,
    };
    match (arguments.command, arguments.file) {
        (Some(Command::Status(arguments)), _) => {
            let targets = file::read(&arguments.file)?;
            block_on(status::run(&targets, &arguments))
        }
        (None, Some(path)) if arguments.dry_run => {
            let targets = file::read(&path)?;
            block_on(status::dry_run(&targets))
        }
        (None, Some(path)) => {
            let targets = file::read(&path)?;
            block_on(session::run(&targets, options, Progress::new(messages)))
        }
        (None, None) => unreachable!("clap requires a file"),
    }
}

/// Runs it until it ends or a signal comes; then what it has open is closed.
fn block_on(work: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    // Threads inherit the mask, so it comes before the runtime.
    let blocked = Blocked::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let ended = runtime.block_on(async {
        let mut signals = blocked.listen()?;
        let stop = tokio::select! {
            biased;
            stop = signals.next_stop() => stop,
            ended = work => return ended,
        };
        // What was open in it is being rolled back and closed now.
        let drained = tokio::select! {
            biased;
            second = signals.next_stop() => Err(second),
            report = Reaper::global().drain(GRACE) => Ok(report),
        };
        let name = stop.signal.as_str();
        match drained {
            Ok(report) if report.is_clean() => {
                say(format_args!(
                    "{name}: what ran is rolled back; `withal migrate status` shows the versions"
                ));
                Ok(stop.exit())
            }
            Ok(report) => {
                say(format_args!(
                    "{name}: not all was closed in order: {report}"
                ));
                Ok(stop.exit())
            }
            Err(second) => {
                say(format_args!(
                    "{name}: ended at once; the servers roll back what ran"
                ));
                Ok(second.exit())
            }
        }
    });
    runtime.shutdown_background();
    ended
}
