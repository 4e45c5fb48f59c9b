//! `withal run`: acquire gates, run a command, undo the gates, on every path.
//!
//! One process does it all. It blocks the signals it handles before it has threads, reads them as
//! data, and leaves the way out of each state to one place: acquiring (`acquire`), running
//! (`supervise`), undoing (`release`).

mod account;
mod alarms;
mod command;
mod deposit;
mod gates;
mod id;
mod job;
mod release;
mod services;
mod signals;
mod status;
mod supervise;
mod tree;

use std::collections::HashSet;
use std::process::Command;

use anyhow::Context as _;
use nix::unistd::Pid;
use withal_core::{Error, ExitCase};
use withal_scope::AsyncExitStack;

use account::{Account, Chronicle, End};
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
pub(crate) use job::{Asked, BadFile, Job, Keep, Settings, print_plan};
pub(crate) use services::{Service, Services};
pub(crate) use signals::{Arrived, Blocked};
pub(crate) use status::Exit;

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
    mut strangers: HashSet<Pid>,
) -> Exit {
    let messages = job.messages;
    let mut stack = AsyncExitStack::new();
    let mut command = Command::new(&job.program);
    if job.settings.clear_env == Some(true) {
        for (name, _) in std::env::vars_os() {
            let _ = command.env_remove(name);
        }
    }
    let chronicle = Chronicle::new();
    let held = Held::new(chronicle.clone(), messages);
    let (alarms, mut raised) = Alarms::new();
    let begun = RunId::random().and_then(|run| Ok((run, job.report()?)));
    let (ties, report) = match begun {
        Ok((run, report)) => (
            Ties {
                run,
                alarms,
                services: Services::default(),
                deposit: Deposit::default(),
                keep: job.settings.keep.unwrap_or_default(),
                messages,
            },
            report,
        ),
        Err(error) => {
            messages.error(format_args!("{error:#}"));
            return Exit::FAILED;
        }
    };
    let (run, services) = (ties.run, ties.services.clone());
    let gates = std::mem::take(&mut job.gates);
    let mut place = Place {
        stack: &mut stack,
        command: &mut command,
        attributes: Attributes::new(),
        is_stdout_taken: gates.iter().any(Planned::takes_stdout),
        held: &held,
        ties,
    };
    let acquired = tokio::select! {
        biased;
        stop = signals.next_stop() => Err(Outcome::Interrupted(stop)),
        lost = raised.next() => Err(Outcome::Lost(lost)),
        acquired = acquire(gates, &job, &mut place) => acquired.map_err(Outcome::NotAcquired),
    };
    // What was lost at the last moment counts, too.
    let acquired = acquired.and_then(|()| {
        raised
            .taken()
            .map_or(Ok(()), |lost| Err(Outcome::Lost(lost)))
    });
    // What a hook has started, and its parent has left: its `release` ends it.
    let before = tree::children_now();
    let outcome = match acquired {
        Err(outcome) => {
            // What gates gave it is not kept open for their exits.
            drop(command);
            outcome
        }
        Ok(()) => match Running::start(command, blocked.inherited()) {
            Err(not_started) => Outcome::NotStarted(not_started),
            Ok(running) => {
                messages.step(format_args!("started {}", tree::describe(running.pid)));
                chronicle.command_started();
                strangers.extend(before);
                let tree = Tree::new(running.pid, strangers, services);
                let supervisor = Supervisor::new(
                    running,
                    tree,
                    &mut signals,
                    &mut raised,
                    job.limits(),
                    messages,
                    chronicle.clone(),
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
        job.teardown_limit(outcome.is_hurried()),
    )
    .await;
    let exit = outcome.exit(&job, released);
    Account::new(&job, run, &chronicle, outcome.end(exit)).write(&job, report);
    exit
}

/// Acquires the gates. Then the rest of the command is known, which may refer to them.
async fn acquire(gates: Vec<Planned>, job: &Job, place: &mut Place<'_>) -> anyhow::Result<()> {
    for gate in gates {
        gate.enter(place).await?;
    }
    for argument in &job.arguments {
        let _ = place.command.arg(argument.resolve(&place.attributes)?);
    }
    if let Some(cwd) = &job.cwd {
        let directory = cwd.base.join(cwd.path.resolve(&place.attributes)?);
        if !directory.as_os_str().is_empty() {
            let _ = place.command.current_dir(directory);
        }
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

    /// The same for reports.
    fn end(&self, exit: Exit) -> End {
        let (outcome, error) = match self {
            Outcome::Interrupted(_) => ("interrupted", None),
            Outcome::NotAcquired(error) if error.is::<Busy>() => {
                ("busy", Some(format!("{error:#}")))
            }
            Outcome::NotAcquired(error) => ("not_acquired", Some(format!("{error:#}"))),
            Outcome::Lost(lost) => ("lost", Some(lost.clone())),
            Outcome::NotStarted(not_started) => ("not_started", Some(not_started.reason.clone())),
            Outcome::Ended(ending) if ending.timed_out => ("timed_out", None),
            Outcome::Ended(ending) if ending.alarmed => ("lost", None),
            Outcome::Ended(ending) => match Exit::of_command(ending.status) {
                Exit::SUCCESS => ("succeeded", None),
                Exit::Code(_) => ("failed", None),
                Exit::Signal(_) => ("signalled", None),
            },
        };
        End {
            outcome,
            error,
            signal: match self {
                Outcome::Interrupted(stop) => Some(stop.signal as i32),
                Outcome::Ended(ending) => ending.status.terminating_signal(),
                _ => None,
            },
            timed_out: matches!(self, Outcome::Ended(ending) if ending.timed_out),
            exit,
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
            Outcome::NotAcquired(error) => match error.downcast_ref::<Busy>() {
                Some(busy) => job.busy(busy.code),
                None => Exit::FAILED,
            },
            Outcome::Lost(_) => Exit::TEARDOWN_FAILED,
            Outcome::NotStarted(not_started) => not_started.exit,
            Outcome::Ended(ending)
                if ending.timed_out && job.settings.preserve_status != Some(true) =>
            {
                Exit::TIMED_OUT
            }
            Outcome::Ended(ending) if ending.alarmed => Exit::TEARDOWN_FAILED,
            Outcome::Ended(ending) => match Exit::of_command(ending.status) {
                Exit::SUCCESS if ending.has_survivors => Exit::TEARDOWN_FAILED,
                Exit::SUCCESS if job.minds(&released) => Exit::TEARDOWN_FAILED,
                own => own,
            },
        }
    }
}

fn errored(reason: String) -> ExitCase {
    ExitCase::Errored(Error::new(reason))
}
