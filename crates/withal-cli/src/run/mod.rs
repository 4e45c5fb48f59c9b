//! `withal run`: acquire gates, run a command, undo the gates, on every path.
//!
//! One process does it all. It blocks the signals it handles before it has threads, reads them as
//! data, and leaves the way out of each state to one place: acquiring (`acquire`), running
//! (`supervise`), undoing (`release`).

mod alarms;
mod command;
mod deposit;
mod gates;
mod id;
mod release;
mod services;
mod signals;
mod status;
mod supervise;
mod tree;

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use nix::unistd::Pid;
use withal_core::{Error, ExitCase};
use withal_scope::AsyncExitStack;

use command::{NotStarted, Running};
use gates::{Attributes, Busy, Held, Place, Ties};
use release::{Released, release};
use signals::Signals;
use supervise::{Ending, Supervisor};
use tree::Tree;

use crate::message::Messages;

pub(crate) use alarms::Alarms;
pub(crate) use deposit::Deposit;
pub(crate) use gates::{Arguments as GateArguments, Planned, open_output, output};
pub(crate) use id::RunId;
pub(crate) use services::Services;
pub(crate) use signals::{Arrived, Blocked};
pub(crate) use status::Exit;
pub(crate) use supervise::Limits;

/// What is to be done.
pub(crate) struct Job {
    pub(crate) gates: Vec<Planned>,
    /// What relative paths are relative to.
    pub(crate) directory: PathBuf,
    pub(crate) program: OsString,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) limits: Limits,
    /// The exit status when a lock is busy.
    pub(crate) busy: Exit,
    /// Whether a command that was stopped by the timeout gives its own status.
    pub(crate) preserve_status: bool,
    pub(crate) messages: Messages,
}

/// Does the job. Nothing of it is left, and the answer is how this process should end.
pub(crate) fn run(job: Job) -> Exit {
    let messages = job.messages;
    match prepare_and_run(job) {
        Ok(exit) => exit,
        Err(error) => {
            messages.error(format_args!("{error:#}"));
            Exit::FAILED
        }
    }
}

fn prepare_and_run(job: Job) -> anyhow::Result<Exit> {
    // Threads inherit the mask, so it comes before the runtime.
    let blocked = Blocked::new()?;
    let strangers = tree::adopt_orphans()?;
    let messages = job.messages;
    withal_core::set_notice_hook(move |notice| messages.warn(notice));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("cannot start the runtime")?;
    let exit = runtime.block_on(async {
        let signals = blocked.listen()?;
        Ok(session(job, signals, &blocked, strangers).await)
    });
    // A thread may still wait for a lock that nobody wants any more.
    runtime.shutdown_background();
    exit
}

/// What became of the command.
enum Outcome {
    /// A signal came before it was started.
    Interrupted(Arrived),
    /// A gate could not be acquired, so it was not started.
    NotAcquired(anyhow::Error),
    /// A gate has lost what it held before the command was started.
    Lost(String),
    NotStarted(NotStarted),
    Ended(Ending),
}

async fn session(
    mut job: Job,
    mut signals: Signals,
    blocked: &Blocked,
    strangers: HashSet<Pid>,
) -> Exit {
    let messages = job.messages;
    let mut stack = AsyncExitStack::new();
    let mut command = Command::new(&job.program);
    let _ = command.args(&job.arguments);
    let held = Held::new(messages);
    let (alarms, mut raised) = Alarms::new();
    let ties = match RunId::random() {
        Ok(run) => Ties {
            run,
            alarms,
            services: Services::default(),
            deposit: Deposit::default(),
        },
        Err(error) => {
            messages.error(format_args!("{error:#}"));
            return Exit::FAILED;
        }
    };
    let services = ties.services.clone();
    let mut place = Place {
        stack: &mut stack,
        command: &mut command,
        directory: &job.directory,
        attributes: Attributes::new(),
        held: &held,
        ties,
    };
    let gates = std::mem::take(&mut job.gates);
    let acquired = tokio::select! {
        biased;
        stop = signals.next_stop() => Err(Outcome::Interrupted(stop)),
        lost = raised.next() => Err(Outcome::Lost(lost)),
        acquired = acquire(gates, &mut place) => acquired.map_err(Outcome::NotAcquired),
    };
    // What was lost at the last moment counts, too.
    let acquired = acquired.and_then(|()| {
        raised
            .taken()
            .map_or(Ok(()), |lost| Err(Outcome::Lost(lost)))
    });
    let outcome = match acquired {
        Err(outcome) => outcome,
        Ok(()) => match Running::start(command, blocked.inherited()) {
            Err(not_started) => Outcome::NotStarted(not_started),
            Ok(running) => {
                messages.step(format_args!("started {}", tree::describe(running.pid)));
                let tree = Tree::new(running.pid, strangers, services);
                let supervisor = Supervisor::new(
                    running,
                    tree,
                    &mut signals,
                    &mut raised,
                    job.limits,
                    messages,
                );
                Outcome::Ended(supervisor.until_all_are_gone().await)
            }
        },
    };
    outcome.tell(messages);
    let released = release(
        stack,
        outcome.case(),
        &mut signals,
        &held,
        messages,
        outcome.is_hurried(),
    )
    .await;
    outcome.exit(&job, released)
}

async fn acquire(gates: Vec<Planned>, place: &mut Place<'_>) -> anyhow::Result<()> {
    for gate in gates {
        gate.enter(place).await?;
    }
    Ok(())
}

impl Outcome {
    fn tell(&self, messages: Messages) {
        match self {
            Outcome::Interrupted(stop) => messages.warn(format_args!(
                "{}: the command was not started",
                stop.signal.as_str()
            )),
            Outcome::NotAcquired(error) => messages.error(format_args!("{error:#}")),
            Outcome::Lost(lost) => {
                messages.error(format_args!("{lost}: the command was not started"));
            }
            Outcome::NotStarted(not_started) => messages.error(&not_started.reason),
            Outcome::Ended(_) => {}
        }
    }

    /// What the gates see: the command succeeded if it exited with 0 and was not cut short.
    fn case(&self) -> ExitCase {
        match self {
            Outcome::Interrupted(stop) => ExitCase::Signalled(stop.signal as i32),
            Outcome::NotAcquired(error) => errored(format!("{error:#}")),
            Outcome::Lost(lost) => errored(lost.clone()),
            Outcome::NotStarted(not_started) => errored(not_started.reason.clone()),
            Outcome::Ended(ending) if ending.timed_out => ExitCase::TimedOut,
            Outcome::Ended(ending) if ending.alarmed => {
                errored("a gate has stopped the command".to_owned())
            }
            Outcome::Ended(ending) => match Exit::of_command(ending.status) {
                Exit::SUCCESS => ExitCase::Succeeded,
                Exit::Code(code) => errored(format!("the command exited with {code}")),
                Exit::Signal(signal) => errored(format!("the command died of signal {signal}")),
            },
        }
    }

    /// Whether somebody waits for us to be gone.
    fn is_hurried(&self) -> bool {
        match self {
            Outcome::Interrupted(_) => true,
            Outcome::Ended(ending) => ending.asked_to_stop,
            Outcome::NotAcquired(_) | Outcome::Lost(_) | Outcome::NotStarted(_) => false,
        }
    }

    /// The command's failure wins over one of the teardown, which has been told.
    fn exit(&self, job: &Job, released: Released) -> Exit {
        if let Released::Abandoned(stop) = released {
            return stop.exit();
        }
        match self {
            Outcome::Interrupted(stop) => stop.exit(),
            Outcome::NotAcquired(error) if error.is::<Busy>() => job.busy,
            Outcome::NotAcquired(_) => Exit::FAILED,
            Outcome::Lost(_) => Exit::TEARDOWN_FAILED,
            Outcome::NotStarted(not_started) => not_started.exit,
            Outcome::Ended(ending) if ending.timed_out && !job.preserve_status => Exit::TIMED_OUT,
            Outcome::Ended(ending) if ending.alarmed => Exit::TEARDOWN_FAILED,
            Outcome::Ended(ending) => match Exit::of_command(ending.status) {
                Exit::SUCCESS if ending.has_survivors => Exit::TEARDOWN_FAILED,
                Exit::SUCCESS if !matches!(released, Released::Clean) => Exit::TEARDOWN_FAILED,
                own => own,
            },
        }
    }
}

fn errored(reason: String) -> ExitCase {
    ExitCase::Errored(Error::new(reason))
}
