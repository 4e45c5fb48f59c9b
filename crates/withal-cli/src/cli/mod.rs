//! The command line, and what is wrong with it in one line.

mod help;
mod man;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, CommandFactory as _, FromArgMatches as _, Parser};

use crate::message::{Level, Messages, say, say_error, say_lines, shown};
use crate::output::Closed;
use crate::run::{self, Asked, BadFile, Exit, GateArguments, Job, Safety, Settings};
use crate::{atomic, log, migrate, suggest, watch};

pub(crate) use values::{duration, signal, status, switch, time_limit};

/// What is asked for.
pub(crate) enum Request {
    Run(Job),
    /// Tell what a run would do.
    Plan(Job),
    /// All that was asked for is done.
    Nothing,
    Log(log::Command),
    Atomic(atomic::Job),
    Migrate(migrate::Arguments),
    Watch(watch::Job),
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

    /// Check a job file and print what it would do; nothing is acquired
    #[command(override_usage = help::CHECK_USAGE, disable_help_flag = true)]
    Check(RunArguments),
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

    /// Count the open descriptors of a process by kind, and say whether it leaks them
    #[command(after_help = watch::AFTER, override_usage = watch::USAGE)]
    #[command(arg_required_else_help = true)]
    Watch(watch::Arguments),

    /// Print what completes words in a shell
    #[command(arg_required_else_help = true)]
    Completions(man::CompletionsArguments),

    /// Write the pages of the manual
    Man(man::ManArguments),
}

#[derive(Debug, clap::Args)]
struct RunArguments {
    #[command(flatten)]
    gates: GateArguments,

    #[command(flatten)]
    settings: Settings,

    #[command(flatten)]
    options: Options,

    /// A job file
    #[arg(value_name = "JOB.toml", hide = true)]
    job: Vec<PathBuf>,

    /// The command and its arguments, after `--`
    #[arg(last = true, num_args = 1.., value_name = "COMMAND", hide = true)]
    command: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options")]
struct Options {
    /// Print what would be done, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,

    /// Do it all in one process; if that is killed, `withal recover` undoes the rest
    #[arg(long, value_parser = switch, env = "WITHAL_NO_KEEPER", hide_env = true)]
    no_keeper: bool,

    /// Keep no journal; if withal is killed, all its processes at once, nobody undoes the rest
    #[arg(long, value_parser = switch, env = "WITHAL_NO_JOURNAL", hide_env = true)]
    no_journal: bool,

    /// Leave what an earlier run of the same job has left when it was killed
    #[arg(long, value_parser = switch, env = "WITHAL_NO_RECOVER", hide_env = true)]
    no_recover: bool,

    /// Say what is acquired, started and undone
    #[arg(short, long, value_parser = switch, env = "WITHAL_VERBOSE", hide_env = true)]
    verbose: bool,

    /// Say nothing but why withal itself failed
    #[arg(short, long, value_parser = switch, env = "WITHAL_QUIET", hide_env = true)]
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
        Subcommand::Run(run) => job(run, matches, false),
        Subcommand::Check(run) => job(run, matches, true),
        Subcommand::Log(command) => command.check().map(Request::Log),
        Subcommand::Atomic(arguments) => arguments.job().map(Request::Atomic),
        Subcommand::Recover(arguments) => Ok(Request::Recover(arguments)),
        Subcommand::List(arguments) => Ok(Request::List(arguments)),
        Subcommand::Migrate(arguments) => Ok(Request::Migrate(arguments)),
        Subcommand::Watch(arguments) => arguments.job().map(Request::Watch),

        Subcommand::Completions(arguments) => {
            let printed = man::completions(Arguments::command(), &arguments);
            printed.map(|()| Request::Nothing)
        }
        Subcommand::Man(arguments) => {
            let written = man::man(Arguments::command(), &arguments);
            written.map(|()| Request::Nothing)
        }
    };
    request.map_err(|error| {
        if error.is::<Closed>() {
            return Exit::SUCCESS; // a reader that has gone, as `| head`, is no failure
        }
        match error.downcast_ref::<BadFile>() {
            Some(bad) => bad.0.iter().for_each(say_lines),
            None => say_error(&error),
        }
        wrong_usage()
    })
}

fn job(arguments: RunArguments, matches: &ArgMatches, is_check: bool) -> anyhow::Result<Request> {
    let RunArguments {
        gates,
        settings,
        options,
        job,
        command,
    } = arguments;
    let file = job_file(job)?;
    if file.is_none() && is_check {
        anyhow::bail!("no job file; write `withal check JOB.toml`");
    }
    if file.is_none() && command.is_empty() {
        anyhow::bail!(NO_COMMAND);
    }
    let asked = Asked {
        words_of_gates: GateArguments::words(matches),
        gates: gates.in_order(matches)?,
        settings,
        file,
        words: command,
        safety: Safety {
            keeper: !options.no_keeper,
            journal: !options.no_journal,
            recover: !options.no_recover,
        },
        is_rehearsal: is_check || options.dry_run,
        messages: Messages::new(level(&options, matches)?),
    };
    let is_rehearsal = asked.is_rehearsal;
    let job = asked.job()?;
    Ok(match is_rehearsal {
        true => Request::Plan(job),
        false => Request::Run(job),
    })
}

const NO_COMMAND: &str = "no command: write it after `--`, as in `withal run --tempdir -- make`";

/// The one word before `--`, if it names a job file.
fn job_file(words: Vec<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    let mut words = words.into_iter();
    match (words.next(), words.next()) {
        (None, _) => Ok(None),
        (Some(file), None) if file.extension().is_some_and(|end| end == "toml") => Ok(Some(file)),
        (Some(file), Some(word)) if file.extension().is_some_and(|end| end == "toml") => {
            let word = shown(&word);
            anyhow::bail!("`{word}`: further arguments of a job's command stand after `--`")
        }
        (Some(word), _) => {
            let word = shown(&word);
            anyhow::bail!("`{word}`: a command and its arguments stand after `--`")
        }
    }
}

/// What is given as an option wins over what is set as a variable.
fn level(options: &Options, matches: &ArgMatches) -> anyhow::Result<Level> {
    let is_given = |option| matches.value_source(option) == Some(ValueSource::CommandLine);
    match (is_given("verbose"), is_given("quiet")) {
        (true, true) => anyhow::bail!("both --verbose and --quiet; write one of them"),
        (true, false) => Ok(Level::Verbose),
        (false, true) => Ok(Level::Quiet),
        (false, false) if options.quiet => Ok(Level::Quiet),
        (false, false) if options.verbose => Ok(Level::Verbose),
        (false, false) => Ok(Level::Normal),
    }
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
            wrong_usage()
        }
        _ => {
            say(describe(error));
            wrong_usage()
        }
    }
}

fn wrong_usage() -> Exit {
    match asked() == "withal watch" {
        true => watch::WRONG_USAGE,
        false => Exit::FAILED,
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
            let reason = reason.unwrap_or_else(|| match value.is_empty() {
                true => "a value is required".to_owned(),
                false => other_values(error, &value),
            });
            match (value.is_empty(), option.starts_with('<')) {
                (true, _) => format!("{option}: {reason}"),
                (false, false) => format!("{option}: `{value}`: {reason}"),
                (false, true) => format!("`{value}`: {reason}"),
            }
        }
        ErrorKind::MissingRequiredArgument if is_run => {
            let missing = option.unwrap_or_default();
            let mut needs = NEEDS.iter();
            let need =
                needs.find(|(option, _)| missing.trim_start_matches('<').starts_with(option));
            need.map_or(NO_COMMAND, |(_, why)| why).to_owned()
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = option.unwrap_or_default();
            format!("no {missing}: see `{asked} --help`")
        }
        ErrorKind::InvalidSubcommand if asked.starts_with("withal log") => {
            let word = context(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("`{word}`: no subcommand; `withal log --help` lists them")
        }
        ErrorKind::InvalidSubcommand
            if context(error, ContextKind::InvalidSubcommand).as_deref() == Some("help") =>
        {
            "`help`: no subcommand; write `withal --help`".to_owned()
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

/// Options of gates that are not asked for, by the option that asks for the gate.
const NEEDS: [(&str, &str); 4] = [
    (
        "--lock ",
        "--lock-wait: no lock to wait for; write `--lock PATH`, too",
    ),
    (
        "--log ",
        "--log-rotate and --log-time: no log; write `--log DIR`, too",
    ),
    (
        "--output ",
        "--keep-partial: no output to keep; write `--output FILE`, too",
    ),
    (
        "--pg-lock ",
        "--lease: no lease; write `--pg-lock KEY` or `--redis-lock KEY`, too",
    ),
];

/// What could have been written where `value` stands.
fn other_values(error: &clap::Error, value: &str) -> String {
    let Some(ContextValue::Strings(values)) = error.get(ContextKind::ValidValue) else {
        return "not a value of it".to_owned();
    };
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    format!("no such value; {}", suggest::instead(value, &values))
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
