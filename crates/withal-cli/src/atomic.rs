//! `withal atomic`: a file that is replaced whole or not at all.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::ValueEnum;
use withal_os::{AtomicWriter, Durability, Symlinks};

use crate::input::Input;
use crate::message::{Level, Messages};
use crate::run::{self, Exit};
use crate::stop::Stop;

pub(crate) const USAGE: &str = "\
withal atomic [OPTIONS] FILE -- COMMAND [ARG]...
       COMMAND | withal atomic [OPTIONS] FILE";

pub(crate) const AFTER: &str = "\
The new content goes to a temporary file beside FILE, is synced, and is renamed over FILE: whoever
reads FILE sees the old content or the new one, at any time, also after a crash or a power loss.
Mode, owner and extended attributes stay as they were.

With COMMAND, its stdout is the new content, and FILE is replaced only if COMMAND exits with 0. In
a pipe, FILE is replaced when stdin ends: a pipe cannot say that the command before it has failed,
so prefer the form with COMMAND.

Examples:
  withal atomic prices.csv -- ./fetch-prices
  withal atomic --backup hosts -- sed 's/old/new/' hosts
  sort -u words | withal atomic words
  withal atomic --no-clobber --mode 600 key.pem -- openssl genrsa 4096

Exit status:
  0-255  COMMAND's own; 0 in a pipe
  123    COMMAND succeeded, but FILE was not replaced
  125    withal failed: wrong usage, or FILE cannot be written
  126    COMMAND cannot be executed
  127    COMMAND was not found
  128+n  signal n came before that; FILE is as it was";

const OPTION: &str = "atomic";

/// How much is read at a time.
const CHUNK: usize = 256 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The file to replace, or to make
    #[arg(value_name = "FILE")]
    path: PathBuf,

    /// The mode of the new file, in octal, whatever that of the old one and the umask
    #[arg(short, long, value_name = "MODE", value_parser = mode)]
    mode: Option<u32>,

    /// Fail if the file exists
    #[arg(short, long, conflicts_with = "backup")]
    no_clobber: bool,

    /// Keep the old file, with a suffix
    #[arg(short, long, value_name = "SUFFIX", num_args = 0..=1, require_equals = true, default_missing_value = "~",
        value_parser = suffix)]
    backup: Option<OsString>,

    /// If the file is a symbolic link, replace what it points at; so it is without options, too
    #[arg(long, conflicts_with = "replace_link")]
    follow: bool,

    /// If the file is a symbolic link, replace the link
    #[arg(long)]
    replace_link: bool,

    /// What a power loss leaves: `full`, the old file or the new one, and after the end the new one;
    /// `file`, the old file or the new one; `none`, perhaps neither
    #[arg(short, long, value_name = "MODE", default_value = "full")]
    durability: Mode,

    /// Say each step
    #[arg(short, long, conflicts_with = "quiet")]
    verbose: bool,

    /// Say nothing but why withal itself failed
    #[arg(short, long)]
    quiet: bool,

    /// The command and its arguments, after `--`
    #[arg(last = true, num_args = 1.., value_name = "COMMAND", hide = true)]
    command: Vec<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Full,
    File,
    None,
}

/// What is to be done.
pub(crate) enum Job {
    /// Run a command, whose stdout it is.
    Command(run::Job),
    /// Read stdin.
    Pipe(AtomicWriter, Messages),
}

impl Arguments {
    pub(crate) fn job(self) -> anyhow::Result<Job> {
        let messages = Messages::new(match (self.verbose, self.quiet) {
            (true, _) => Level::Verbose,
            (_, true) => Level::Quiet,
            _ => Level::Normal,
        });
        let mut writer = AtomicWriter::create(self.path)
            .no_clobber(self.no_clobber)
            .symlinks(match self.replace_link {
                true => Symlinks::Replace,
                false => Symlinks::Follow,
            })
            .durability(match self.durability {
                Mode::Full => Durability::Durable,
                Mode::File => Durability::Content,
                Mode::None => Durability::Atomic,
            });
        if let Some(mode) = self.mode {
            writer = writer.mode(mode);
        }
        if let Some(suffix) = self.backup {
            writer = writer.backup_suffix(suffix);
        }
        let mut words = self.command.into_iter();
        let Some(program) = words.next() else {
            // In a script it may come from a variable that is empty.
            let is_cut = std::env::args_os()
                .next_back()
                .is_some_and(|last| last == "--");
            anyhow::ensure!(
                !is_cut,
                "no command: name it after `--`, or leave `--` away to read stdin"
            );
            return Ok(Job::Pipe(writer, messages));
        };
        // A temporary file that is left is found by its name: no journal.
        Ok(Job::Command(run::Job::simple(
            vec![run::output(writer, OPTION)],
            program,
            words.collect(),
            messages,
        )))
    }
}

/// Does it. The answer is how this process should end.
pub(crate) fn run(job: Job) -> Exit {
    match job {
        Job::Command(job) => run::run(job),
        Job::Pipe(writer, messages) => pipe(writer, messages).unwrap_or_else(|error| {
            messages.error(format_args!("{OPTION}: {error:#}"));
            Exit::FAILED
        }),
    }
}

/// Replaces the file by what stdin holds, if that ends.
fn pipe(writer: AtomicWriter, messages: Messages) -> anyhow::Result<Exit> {
    let stop = Stop::listen("ended at once: the file is as it was, or new", messages)?;
    withal_core::set_notice_hook(move |notice| messages.notice(notice));
    let mut input = Input::new(stop);
    let mut file = run::open_output(writer)?;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let read = input
            .read(&mut buffer, CHUNK)
            .context("cannot read stdin")?;
        if let Some(stop) = input.stopped() {
            let path = file.path().to_owned();
            file.abort()?;
            let (name, path) = (stop.signal.as_str(), path.display());
            messages.warn(format_args!("{name}: `{path}` is as it was"));
            return Ok(stop.exit());
        }
        if read == 0 {
            break;
        }
        file.write_all(&buffer).map_err(|error| {
            match error.downcast::<withal_os::WriteError>() {
                Ok(error) => anyhow::Error::new(error),
                Err(error) => error.into(),
            }
        })?;
    }
    file.commit()?;
    Ok(Exit::SUCCESS)
}

pub(crate) fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok();
    let mode = mode.filter(|mode| *mode <= 0o7777 && !text.starts_with('+'));
    mode.ok_or_else(|| "not a mode; write it in octal, as `644` or `0600`".to_owned())
}

fn suffix(text: &str) -> Result<OsString, String> {
    match text.contains('/') || text.is_empty() {
        true => Err("not a suffix; write some characters without `/`, as `.bak`".to_owned()),
        false => Ok(text.into()),
    }
}
