//! `--log`: what the command prints, in a log as well.

mod lines;
mod pass;
mod pump;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use withal_core::{AsyncContextManager, ExitCase};
use withal_log::{Log as Engine, LogError, LogErrorKind, LogOptions, OnFull};

use super::directory::check_opens;
use super::source::{self, EndGuard};
use super::{Busy, Equip, Kind, NoUndo, Setting, Taken, Template, Ties, is_known, taken};
use crate::log::{CHUNK, check_may_be_log, size};
use crate::message::shown;
use lines::Lines;
use pass::Pass;
use pump::{Failures, Pump};

const PAGE: usize = 4096;

/// What the command prints, in a log as well.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Log {
    path: Template,
    #[serde(default)]
    streams: Streams,
    rotate: Option<Rotate>,
    /// Whether each line begins with its time.
    #[serde(default)]
    time: bool,
    /// Whether it is printed, too.
    #[serde(default = "yes")]
    tee: bool,
}

fn yes() -> bool {
    true
}

/// Which streams go to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Streams {
    /// In the order they were written, to stdout.
    #[default]
    Both,
    Stdout,
    Stderr,
}

/// When a new file is begun, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Rotate {
    size: u64,
    /// All, if nothing is said.
    files: Option<u64>,
}

impl TryFrom<String> for Rotate {
    type Error = String;

    fn try_from(text: String) -> Result<Rotate, String> {
        rotate(&text)
    }
}

/// `10MB`, or `10MB:5`.
fn rotate(text: &str) -> Result<Rotate, String> {
    const REMEDY: &str = "not a number of files; write `10MB:5`, with at least 1";
    let (text, files) = match text.split_once(':') {
        Some((text, files)) => (text, Some(files)),
        None => (text, None),
    };
    let size = size(text)?;
    let files = files.map(|files| {
        let files = files.parse().ok().filter(|files: &u64| *files > 0);
        files.ok_or(REMEDY)
    });
    Ok(Rotate {
        size,
        files: files.transpose()?,
    })
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Put stdout and stderr, as one, into the log in DIR as well; with --output, stderr alone
    #[arg(long, value_name = "DIR")]
    log: Vec<PathBuf>,

    /// Begin a new file of the log at SIZE, and keep N of them [default: 64MiB, all]
    #[arg(long, value_name = "SIZE[:N]", requires = "log", value_parser = rotate)]
    log_rotate: Option<Rotate>,

    /// Begin each line of the log with its time
    #[arg(long, requires = "log")]
    log_time: bool,
}

impl Kind for Log {
    const NAME: &'static str = "log";
    const ATTRIBUTES: &'static [&'static str] = &["path"];
    type Options = Options;
    type Gate = Open;
    type Undo = NoUndo;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Open> {
        Ok(Open {
            path: setting.path(&self.path)?,
            streams: self.streams.beside(setting.is_stdout_taken)?,
            rotate: self.rotate,
            time: self.time,
            tee: self.tee,
            ties: setting.ties.clone(),
        })
    }

    fn check(open: &Open) -> anyhow::Result<()> {
        check_opens(&open.path)?;
        match is_known(&open.path) {
            true => check_may_be_log(&open.path),
            false => Ok(()),
        }
    }

    fn takes(&self, gate: &Self::Gate) -> Vec<Taken> {
        let streams = match gate.streams {
            Streams::Both => &[Taken::Stdout, Taken::Stderr][..],
            Streams::Stdout => &[Taken::Stdout],
            Streams::Stderr => &[Taken::Stderr],
        };
        let log = Taken::Log(taken::place(&gate.path));
        streams.iter().cloned().chain([log]).collect()
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "log";
    type Kind = Log;

    fn gates(self) -> anyhow::Result<Vec<Log>> {
        let logs = self.log.into_iter().map(|path| Log {
            path: path.into_os_string().into(),
            streams: Streams::Both,
            rotate: self.log_rotate,
            time: self.log_time,
            tee: true,
        });
        Ok(logs.collect())
    }
}

impl Streams {
    /// Which are left if another gate takes stdout.
    fn beside(self, is_stdout_taken: bool) -> anyhow::Result<Streams> {
        match (is_stdout_taken, self) {
            (true, Streams::Both) => Ok(Streams::Stderr),
            (true, Streams::Stdout) => {
                anyhow::bail!("another gate takes stdout; write `streams = \"stderr\"`")
            }
            _ => Ok(self),
        }
    }
}

pub(super) struct Open {
    path: PathBuf,
    streams: Streams,
    rotate: Option<Rotate>,
    time: bool,
    tee: bool,
    ties: Ties,
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {}", shown(&self.path))
    }
}

pub(super) struct Logging {
    path: PathBuf,
    streams: Streams,
    /// What the command gets.
    write: Option<OwnedFd>,
    /// Dropped when nothing more will come.
    guard: EndGuard,
    pump: JoinHandle<Failures>,
}

impl AsyncContextManager for Open {
    type Resource = Logging;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Logging> {
        check_may_be_log(&self.path)?;
        let options = self.options();
        // Looking through what a crash has left may take long.
        let opened = spawn_blocking(|| options.open()).await;
        let engine = opened.context("opening the log panicked")?;
        let engine = engine.map_err(busy)?;
        let lines = Lines::new(engine, self.ties.secrets.clone(), self.time)?;
        let (source, guard, write) = source::pipe()?;
        // Without a reader the command would die of its next write.
        self.ties.deposit.keep(source.pipe())?;
        let (name, stream) = match self.streams {
            Streams::Stderr => ("stderr", io::stderr().as_fd().try_clone_to_owned()),
            _ => ("stdout", io::stdout().as_fd().try_clone_to_owned()),
        };
        let stream = stream.context("no descriptor left")?;
        let pass = match self.tee {
            true => Some(Pass::new(stream)?),
            false => None,
        };
        let pump = Pump::new(source, pass, name, lines, self.piece(), &self.ties);
        let thread = thread::Builder::new().name("log".to_owned());
        let pump = thread.spawn(move || pump.run());
        Ok(Logging {
            path: self.path,
            streams: self.streams,
            write: Some(write),
            guard,
            pump: pump.context("cannot start a thread")?,
        })
    }

    async fn exit(logging: Logging, _case: ExitCase) -> anyhow::Result<()> {
        drop(logging.guard);
        drop(logging.write);
        let ended = spawn_blocking(|| logging.pump.join()).await;
        let ended = ended.context("the wait panicked")?;
        let failures = ended.map_err(|_panic| anyhow::anyhow!("the log's thread panicked"))?;
        failures.check(match logging.streams {
            Streams::Stderr => "stderr",
            _ => "stdout",
        })
    }
}

impl Open {
    /// How much the log gets at a time.
    fn piece(&self) -> usize {
        let size = self.rotate.map_or(u64::MAX, |rotate| rotate.size);
        usize::try_from(size).map_or(CHUNK, |size| size.clamp(PAGE, CHUNK))
    }

    fn options(&self) -> LogOptions {
        // The command does not wait for a disk to have room again.
        let options = Engine::open(&self.path).on_full(OnFull::Fail);
        let Some(Rotate { size, files }) = self.rotate else {
            return options;
        };
        let options = options.rotate_size(size);
        match files {
            Some(files) => options.keep_size(size.saturating_mul(files)),
            None => options,
        }
    }
}

fn busy(error: LogError) -> anyhow::Error {
    match error.kind() {
        LogErrorKind::Busy => Busy::new(format!(
            "{error}: another process writes this log; wait for its end, or name another directory"
        ))
        .into(),
        _ => error.into(),
    }
}

impl Failures {
    fn check(self, stream: &str) -> anyhow::Result<()> {
        if let Some(error) = self.log {
            return Err(error).context("the log is not whole");
        }
        if let Some(error) = self.pass {
            return Err(error).with_context(|| format!("{stream} is not whole"));
        }
        let left = self.not_passed;
        anyhow::ensure!(
            left == 0,
            "nobody read {stream}: {left} bytes are not printed"
        );
        Ok(())
    }
}

impl Equip for Logging {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        // Kept here, the pipe would never end.
        let write = self.write.take().context("one command only")?;
        match self.streams {
            Streams::Both => {
                let copy = write.try_clone().context("no descriptor left")?;
                let _ = command.stdout(copy).stderr(write);
            }
            Streams::Stdout => {
                let _ = command.stdout(write);
            }
            Streams::Stderr => {
                let _ = command.stderr(write);
            }
        }
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![("path", self.path.clone().into())]
    }
}

#[cfg(test)]
mod tests {
    use super::{Rotate, Streams, rotate};

    #[test]
    fn rotation_is_a_size_and_a_number_of_files() {
        let check = |text: &str, size: u64, files: Option<u64>| {
            assert_eq!(rotate(text), Ok(Rotate { size, files }), "{text}");
        };
        check("10MB:5", 10_000_000, Some(5));
        check("1MiB", 1 << 20, None);
        for wrong in ["", ":5", "x", "10MB:", "10MB:0", "10MB:x", "0"] {
            assert!(rotate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_log_leaves_stdout_to_another_gate() {
        assert_eq!(Streams::Both.beside(true).unwrap(), Streams::Stderr);
        assert_eq!(Streams::Stderr.beside(true).unwrap(), Streams::Stderr);
        assert_eq!(Streams::Both.beside(false).unwrap(), Streams::Both);
        assert!(Streams::Stdout.beside(true).is_err());
    }
}
