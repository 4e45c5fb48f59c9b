//! Processes of gates: they lead process groups of their own, so that what is meant for the command
//! does not reach them, and all of a group can be ended.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::Pid;
use rustix::process::WaitStatus;
use serde::Deserialize;
use tokio::time::timeout;

use super::{Attributes, Recovery, SEARCH_PATH, Template, Ties, is_known};
use crate::message::shown;
use crate::process;
use crate::run::command::check_executable;
use crate::run::{RUN, RunId, Service, Services};

/// A program and its arguments, no shell between them.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<Template>")]
pub(super) struct Argv(Vec<Template>);

impl TryFrom<Vec<Template>> for Argv {
    type Error = &'static str;

    fn try_from(words: Vec<Template>) -> Result<Argv, &'static str> {
        match words.is_empty() {
            true => Err("no program; write its name and its arguments, as [\"touch\", \"file\"]"),
            false => Ok(Argv(words)),
        }
    }
}

impl Argv {
    /// The words, with what they refer to in place.
    pub(super) fn resolve(&self, attributes: &Attributes) -> anyhow::Result<Vec<OsString>> {
        let words = self.0.iter().map(|word| word.resolve(attributes));
        words.collect()
    }

    /// The same, as [`Template::filled`].
    pub(super) fn filled(&self, attributes: &Attributes) -> anyhow::Result<Argv> {
        let words = self.0.iter().map(|word| word.filled(attributes));
        words.collect::<anyhow::Result<_>>().map(Argv)
    }

    /// Its words.
    pub(super) fn words(&self) -> &[Template] {
        &self.0
    }

    /// Whether one of the words refers to the gate `id`.
    pub(super) fn refers_to(&self, id: &str) -> bool {
        self.0.iter().any(|word| word.refers_to(id))
    }
}

/// What starts `argv` in `directory`.
pub(super) fn command(argv: &[OsString], directory: &Path) -> anyhow::Result<Command> {
    let (program, arguments) = argv.split_first().context("no program")?;
    let mut command = Command::new(program);
    let _ = command.args(arguments);
    if !directory.as_os_str().is_empty() {
        let _ = command.current_dir(directory);
    }
    Ok(command)
}

/// The name of the program, for messages: its arguments are not shown.
pub(super) fn program(argv: &[OsString]) -> String {
    argv.first().map(shown).unwrap_or_default()
}

/// Looks for the program of `argv`, if that is known.
///
/// # Errors
///
/// It is not there, or cannot be executed.
pub(super) fn check(argv: &[OsString], directory: &Path) -> anyhow::Result<()> {
    let Some(program) = argv.first().filter(|program| is_known(program)) else {
        return Ok(());
    };
    let path = std::env::var_os(SEARCH_PATH);
    check_executable(program, path.as_deref(), Some(directory))
}

/// withal's stderr, for what a process prints that has nothing to do with the command's output.
pub(super) fn stderr() -> anyhow::Result<Stdio> {
    let stderr = std::io::stderr().as_fd().try_clone_to_owned();
    Ok(stderr.context("cannot share stderr")?.into())
}

/// What processes of gates belong to.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    run: RunId,
    services: Services,
}

impl From<&Ties> for Owner {
    fn from(ties: &Ties) -> Owner {
        Owner {
            run: ties.run,
            services: ties.services.clone(),
        }
    }
}

impl From<&Recovery> for Owner {
    fn from(recovery: &Recovery) -> Owner {
        Owner {
            run: recovery.run,
            services: recovery.services.clone(),
        }
    }
}

/// A process of a gate. Dropped while it runs, its group is killed.
#[derive(Debug)]
pub(super) struct Helper {
    child: Child,
    service: Service,
}

impl Helper {
    /// Starts `command`, with no stdin, and the run's name in its environment.
    pub(super) fn start(mut command: Command, owner: &Owner) -> anyhow::Result<Helper> {
        let _ = command
            .env(RUN, owner.run.to_string())
            .stdin(Stdio::null())
            .process_group(0);
        // What this process reads as data would never reach the other.
        process::hand_on(&mut command, SigSet::empty());
        let child = command.spawn();
        let child = child.with_context(|| {
            let program: &OsStr = command.get_program();
            format!("cannot start `{}`", shown(program))
        })?;
        let pid = child.id().try_into();
        let pid = pid.expect("process ids fit their own type");
        Ok(Helper {
            child,
            service: owner.services.register(Pid::from_raw(pid)),
        })
    }

    pub(super) fn pid(&self) -> Pid {
        self.service.pid()
    }

    /// What waits for its end beside whoever stops it.
    pub(super) fn service(&self) -> Service {
        self.service.clone()
    }

    pub(super) fn take_stdout(&mut self) -> Option<OwnedFd> {
        self.child.stdout.take().map(OwnedFd::from)
    }

    /// Waits for its end.
    ///
    /// # Cancel safety
    ///
    /// It can be called again.
    pub(super) async fn ended(&self) -> anyhow::Result<Ended> {
        self.service.ended().await.map(Ended)
    }

    /// Asks its group to end, and kills what is left of that after `grace`.
    pub(super) async fn stop(self, signal: Signal, grace: Duration) -> anyhow::Result<()> {
        self.send(signal);
        self.send(Signal::SIGCONT);
        let ended = timeout(grace, self.ended()).await;
        self.send(Signal::SIGKILL);
        match ended {
            Ok(ended) => ended.map(drop),
            Err(_late) => self.ended().await.map(drop),
        }
    }

    /// Signals its group.
    pub(super) fn send(&self, signal: Signal) {
        // A failure means that nobody of it is left.
        let _gone = killpg(self.pid(), signal);
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if self.service.status().is_none() {
            self.send(Signal::SIGKILL);
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended(WaitStatus);

impl Ended {
    pub(super) fn new(status: WaitStatus) -> Ended {
        Ended(status)
    }

    pub(super) fn is_success(self) -> bool {
        self.0.exit_status() == Some(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.exit_status(), self.0.terminating_signal()) {
            (Some(status), _) => write!(f, "exited with {status}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(signal) => write!(f, "died of {signal}"),
                Err(_) => write!(f, "died of signal {signal}"),
            },
            (None, None) => f.write_str("ended"),
        }
    }
}
