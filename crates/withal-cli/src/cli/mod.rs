//! The command line, and what is wrong with it in one line.

mod help;
mod values;

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser};
use nix::sys::signal::Signal;

use crate::message::{Level, Messages, say};
use crate::run::{self, Exit, GateArguments, Job, Limits, Safety};
use crate::{atomic, log, migrate};

pub(crate) use values::{duration, time_limit};

/// What is asked for.
pub(crate) enum Request {
    Run(Job),
    Log(log::Command),
    Atomic(atomic::Job),
    Migrate(migrate::Arguments),
    Recover(run::RecoverArguments),
    List(run::ListArguments),
}

#[derive(Debug, Parser)]
#[command(
    name = "withal",
    version,
    about = "The with statement for any command",
    arg_required_else_help = true
)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    subcommand: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommand {
    /// Acquire locks, directories and files, run a command, undo them on every path
    #[command(after_help = help::AFTER, override_usage = help::USAGE, disable_help_flag = true)]
    Run(RunArguments),

    /// Finish the teardown of runs that were killed
    #[command(after_help = run::RECOVER_HELP)]
    Recover(run::RecoverArguments),

    /// List runs that live, and those that were killed and are not undone
    #[command(name = "ls")]
    List(run::ListArguments),

    /// Write, read, check and repair logs that are whole after any crash
    #[command(
        subcommand,
        arg_required_else_help = true,
        disable_help_subcommand = true
    )]
    #[command(after_help = log::AFTER)]
    Log(log::Command),

    /// Replace a file whole, or leave it as it was
    #[command(after_help = atomic::AFTER, override_usage = atomic::USAGE)]
    #[command(arg_required_else_help = true)]
    Atomic(atomic::Arguments),

    /// Bring any number of databases to their newest version, each whole or not at all
    #[command(after_help = migrate::AFTER, override_usage = migrate::USAGE)]
    #[command(arg_required_else_help = true, disable_help_subcommand = true)]
    Migrate(migrate::Arguments),
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    #[command(flatten)]
    gates: GateArguments,

    #[command(flatten)]
    options: Options,

    /// The command and its arguments, after `--`
    #[arg(last = true, required = true, num_args = 1.., value_name = "COMMAND", hide = true)]
    command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options")]
struct Options {
    /// Stop the command if it runs longer; the exit status is then 124
    #[arg(short = 'T', long, value_name = "DUR", value_parser = values::time_limit, allow_negative_numbers = true)]
    timeout: Option<Duration>,

    /// Time between being asked to stop and being killed
    #[arg(short = 'k', long, value_name = "DUR", default_value = "5s", value_parser = values::duration, allow_negative_numbers = true)]
    grace: Duration,

    /// What to send to stop the command when its time is over
    #[arg(short, long, value_name = "SIG", default_value = "TERM", value_parser = values::signal)]
    signal: Signal,

    /// Exit status when a lock is busy
    #[arg(long, value_name = "N", default_value_t = 75, value_parser = values::status, allow_negative_numbers = true)]
    busy_code: u8,

    /// On a timeout exit with the command's own status instead of 124
    #[arg(long)]
    preserve_status: bool,

    /// Do it all in one process; if that is killed, `withal recover` undoes the rest
    #[arg(long)]
    no_keeper: bool,

    /// Keep no journal; if withal is killed, all its processes at once, nobody undoes the rest
    #[arg(long)]
    no_journal: bool,

    /// Leave what an earlier run of the same job has left when it was killed
    #[arg(long)]
    no_recover: bool,

    /// Say what is acquired, started and undone
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    /// Say nothing but why withal itself failed
    #[arg(short, long)]
    quiet: bool,

    /// Print this help
    #[arg(short, long, action = ArgAction::HelpShort)]
    help: Option<bool>,
}

/// Reads the command line. What cannot be run is told, and gives the exit status.
pub(crate) fn parse() -> Result<Request, Exit> {
    let mut command = Arguments::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os());
    let matches = matches.map_err(|error| refuse(&error))?;
    let arguments = Arguments::from_arg_matches(&matches).map_err(|error| refuse(&error))?;
    let Some((_, matches)) = matches.subcommand() else {
        unreachable!("clap requires a subcommand");
    };
    let request = match arguments.subcommand {
        Subcommand::Run(run) => job(run, matches).map(Request::Run),
        Subcommand::Log(command) => command.check().map(Request::Log),
        Subcommand::Atomic(arguments) => arguments.job().map(Request::Atomic),
        Subcommand::Recover(arguments) => Ok(Request::Recover(arguments)),
        Subcommand::List(arguments) => Ok(Request::List(arguments)),
        Subcommand::Migrate(arguments) => Ok(Request::Migrate(arguments)),
    };
    request.map_err(|error| {
        say(format_args!("{error:#}"));
        Exit::FAILED
    })
}

fn job(arguments: RunArguments, matches: &ArgMatches) -> anyhow::Result<Job> {
    let options = arguments.options;
    let level = match (options.verbose, options.quiet) {
        (true, _) => Level::Verbose,
        (_, true) => Level::Quiet,
        _ => Level::Normal,
    };
    let mut words = arguments.command.into_iter();
    Ok(Job {
        name: name(),
        gates: arguments.gates.in_order(matches)?,
        directory: PathBuf::new(),
        program: words.next().expect("clap requires at least one word"),
        arguments: words.collect(),
        limits: Limits {
            timeout: options.timeout,
            grace: options.grace,
            signal: options.signal,
        },
        busy: Exit::Code(options.busy_code),
        preserve_status: options.preserve_status,
        safety: Safety {
            keeper: !options.no_keeper,
            journal: !options.no_journal,
            recover: !options.no_recover,
        },
        messages: Messages::new(level),
    })
}

/// What a job is called that has no name: the same words in the same directory are the same job.
fn name() -> String {
    let mut words = Vec::new();
    for word in std::env::args_os().skip(2) {
        words.extend_from_slice(word.as_bytes());
        words.push(0);
    }
    let directory = std::env::current_dir().unwrap_or_default();
    words.extend_from_slice(directory.as_os_str().as_bytes());
    format!("{:08x}", crc32c::crc32c(&words))
}

/// Prints help where that was asked for, and else one line that says what is wrong.
fn refuse(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has gone, as `| head`, is no failure.
            let _ = error.print();
            Exit::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::FAILED
        }
        _ => {
            say(describe(error));
            Exit::FAILED
        }
    }
}

fn describe(error: &clap::Error) -> String {
    let option = context(error, ContextKind::InvalidArg);
    let asked = asked();
    let is_run = asked == "withal run";
    match error.kind() {
        ErrorKind::ValueValidation | ErrorKind::InvalidValue if option.is_some() => {
            let option = option.unwrap_or_default();
            let option = option.split([' ', '=', '[']).next().unwrap_or_default();
            let value = context(error, ContextKind::InvalidValue).unwrap_or_default();
            let reason = std::error::Error::source(error).map(ToString::to_string);
            let reason = reason.unwrap_or_else(|| "a value is required".to_owned());
            match value.is_empty() {
                true => format!("{option}: {reason}"),
                false => format!("{option}: `{value}`: {reason}"),
            }
        }
        ErrorKind::MissingRequiredArgument
            if option
                .as_deref()
                .is_some_and(|option| option.starts_with("--lock")) =>
        {
            "--lock-wait: no lock to wait for; write `--lock PATH`, too".to_owned()
        }
        ErrorKind::MissingRequiredArgument if !is_run => {
            let missing = option.unwrap_or_default();
            format!("no {missing}: see `{asked} --help`")
        }
        ErrorKind::MissingRequiredArgument => {
            "no command: write it after `--`, as in `withal run --tempdir -- make`".to_owned()
        }
        ErrorKind::UnknownArgument
            if is_run && !option.as_deref().unwrap_or("-").starts_with('-') =>
        {
            let word = option.unwrap_or_default();
            format!("`{word}`: a command and its arguments stand after `--`")
        }
        ErrorKind::InvalidSubcommand if asked.starts_with("withal log") => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("`{word}`: no subcommand; `withal log --help` lists them")
        }
        ErrorKind::InvalidSubcommand => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("`{word}`: no subcommand; to run it, write `withal run -- {word}`")
        }
        ErrorKind::UnknownArgument if error.get(ContextKind::SuggestedArg).is_some() => {
            let similar = context(error, ContextKind::SuggestedArg).unwrap_or_default();
            let option = option.unwrap_or_default();
            format!("{option}: no such option; did you mean `{similar}`?")
        }
        _ => {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            format!("{first}; see `{asked} --help`")
        }
    }
}

/// The subcommand that was asked for, with its own if it has any.
fn asked() -> String {
    let words = std::env::args_os().skip(1).take(2);
    let mut asked = "withal".to_owned();
    for word in words.map_while(|word| word.into_string().ok()) {
        let is_group = asked == "withal log";
        if word.starts_with('-') || !(is_group || asked == "withal") {
            break;
        }
        asked = format!("{asked} {word}");
    }
    asked
}

fn context(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(value) => Some(value.clone()),
        ContextValue::Strings(values) => values.first().cloned(),
        _ => None,
    }
}
