//! The command line of `withal watch`.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use nix::unistd::Pid;

use super::model::ENOUGH;
use crate::cli;
use crate::message::shown;

pub(crate) const USAGE: &str = "\
withal watch [OPTIONS] PID
       withal watch [OPTIONS] -- COMMAND [ARG]...";

pub(crate) const AFTER: &str = "\
Counts the open descriptors of a process by kind, and says whether it leaks them. Only /proc is
read: the process is not stopped, traced or changed.

On a terminal there is a live chart; keys: q quit, p pause, k next kind. Elsewhere, or with
--plain, there is a line for each sample. At the end there is a table with the verdict. COMMAND
runs with withal's stdin, stdout and stderr and gets its signals; the table goes to stderr then.

A kind is LEAKING if it rises beyond chance (Mann-Kendall, z >= 3.3), by 0.5 a minute or more
(Theil-Sen), and its lowest count rose from each quarter of the window to the next. It is growing
if it only rises beyond chance. A verdict takes 20 samples.

DUR is a number with a unit, as 20ms, 5s, 10m or 1h, or plain seconds.

Examples:
  Why is this server at its limit?
    withal watch $(pidof api-server)

  Fail a test run that leaks, in CI; the server is stopped after two minutes:
    withal watch --fail --for 2m -- ./server --port 8080

  Keep an eye on a slow leak, for other programs to read:
    withal watch --interval 10s --window 1h --json 4711 >> descriptors.json

Exit status:
  0  it ended well: --for is over, PID has ended, or q was pressed; --fail: and nothing leaks
  1  --fail: it leaks
  2  wrong usage
  3  no such process, or no permission; --fail: too few samples for a verdict
  125  withal itself failed
  128+n  signal n ended the watch; --fail: 0, 1 or 3 instead
With COMMAND it is COMMAND's own (126 or 127 if it did not start) unless --fail says 1; it is 0
if --for ended it.";

/// How many samples the window holds if it is not said how long it is.
const SAMPLES: u32 = 60;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The process to watch
    #[arg(value_name = "PID", allow_negative_numbers = true)]
    pid: Option<OsString>,

    /// Time between two samples
    #[arg(short, long, value_name = "DUR", default_value = "1s", value_parser = interval, allow_negative_numbers = true)]
    interval: Duration,

    /// Watch no longer than this; COMMAND is then stopped, first with TERM, 5 s later with KILL
    #[arg(short = 'f', long = "for", value_name = "DUR", value_parser = cli::time_limit, allow_negative_numbers = true)]
    time: Option<Duration>,

    /// What the verdict looks back on; by default 60 samples
    #[arg(short, long, value_name = "DUR", value_parser = cli::time_limit, allow_negative_numbers = true)]
    window: Option<Duration>,

    /// Count the processes below it, too
    #[arg(short, long)]
    tree: bool,

    /// Print JSON: a line for each sample, and a last one with the verdict
    #[arg(short, long, conflicts_with = "plain")]
    json: bool,

    /// Print lines, also on a terminal; with COMMAND: one for each sample, too
    #[arg(short, long)]
    plain: bool,

    /// Write to this file instead of stdout, or stderr with COMMAND
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Exit with 1 if it leaks
    #[arg(long)]
    fail: bool,

    /// How much of a core to use at most: where looking at each descriptor costs more, that is
    /// done less often, and only their number is read in between
    #[arg(long, value_name = "PERCENT", default_value = "0.5", value_parser = percent, allow_negative_numbers = true)]
    cpu: f64,

    /// The command to start and watch, after `--`
    #[arg(last = true, num_args = 1.., value_name = "COMMAND", hide = true)]
    command: Vec<OsString>,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Job {
    pub(super) subject: Subject,
    pub(super) interval: Duration,
    pub(super) time: Option<Duration>,
    pub(super) window: Duration,
    pub(super) has_tree: bool,
    pub(super) format: Format,
    pub(super) output: Option<PathBuf>,
    pub(super) fail: bool,
    /// The share of a core, from 0 to 1.
    pub(super) share: f64,
}

#[derive(Debug)]
pub(super) enum Subject {
    Process(Pid),
    Command {
        program: OsString,
        arguments: Vec<OsString>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// What suits where it goes to.
    Fitting,
    Plain,
    Json,
}

impl Arguments {
    pub(crate) fn job(self) -> anyhow::Result<Job> {
        let mut words = self.command.into_iter();
        let subject = match (self.pid, words.next()) {
            (Some(pid), None) => Subject::Process(parse(&pid)?),
            (None, Some(program)) => Subject::Command {
                program,
                arguments: words.collect(),
            },
            (Some(_), Some(_)) => anyhow::bail!(
                "a process and a command: watch one of them; to watch a command, write `withal \
                 watch -- COMMAND`"
            ),
            (None, None) => anyhow::bail!(
                "nothing to watch: write a process id, as in `withal watch 4711`, or a command, \
                 as in `withal watch -- ./server`"
            ),
        };
        let window = self.window.unwrap_or(self.interval * SAMPLES);
        let shortest = self.interval * u32::try_from(ENOUGH)?;
        let too_short = |option: &str| {
            let shortest = humantime::format_duration(shortest).to_string();
            let shortest = shortest.replace(' ', "");
            anyhow::anyhow!(
                "{option}: a verdict takes {ENOUGH} samples; write at least `{shortest}`, or a \
                 shorter `--interval`"
            )
        };
        if window < shortest {
            return Err(too_short("--window"));
        }
        if self.fail && self.time.is_some_and(|time| time < shortest) {
            return Err(too_short("--for"));
        }
        Ok(Job {
            subject,
            interval: self.interval,
            time: self.time,
            window,
            has_tree: self.tree,
            format: match (self.plain, self.json) {
                (true, _) => Format::Plain,
                (_, true) => Format::Json,
                _ => Format::Fitting,
            },
            output: self.output,
            fail: self.fail,
            share: self.cpu / 100.0,
        })
    }
}

fn parse(pid: &OsString) -> anyhow::Result<Pid> {
    let text = pid.to_str().unwrap_or_default();
    match text.parse::<i64>() {
        Ok(number) => match i32::try_from(number).ok().and_then(NonZero::new) {
            Some(number) if number.get() > 0 => Ok(Pid::from_raw(number.get())),
            _ => anyhow::bail!("`{text}`: not a process id; they are numbers from 1 on"),
        },
        Err(_) => {
            let word = shown(pid);
            anyhow::bail!(
                "`{word}`: not a process id; write a number as `pidof` prints it, or, to start \
                 and watch a command, `withal watch -- {word}`"
            )
        }
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = cli::duration(text)?;
    match interval < Duration::from_millis(1) {
        true => Err("too short; write at least `1ms`".to_owned()),
        false => Ok(interval),
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse::<f64>().ok();
    let percent = percent.filter(|percent| *percent > 0.0 && *percent <= 100.0);
    percent.ok_or_else(|| "not a share of a core; write percent, as `0.5` or `5`".to_owned())
}
