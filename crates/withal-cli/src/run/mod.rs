//! `withal run`: acquire gates, run a command, undo the gates, on every path.
//!
//! Two processes do it: the front, which the user sees, and the keeper, which holds the gates
//! (`front`). What is done is written to a journal before (`journal`), so that whoever is left when
//! one of them is killed, or a later `withal`, can undo it (`recover`). The keeper blocks the
//! signals it handles before it has threads, reads them as data, and leaves the way out of each
//! state to one place: acquiring (`acquire`), running (`supervise`), undoing (`release`).

mod account;
mod alarms;
mod command;
mod deposit;
mod front;
mod gates;
mod id;
mod identity;
mod idle;
mod job;
mod journal;
mod leftovers;
mod recover;
mod release;
mod services;
mod signals;
mod status;
mod supervise;
mod take_over;
mod tree;

use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use anyhow::Context as _;
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use withal_core::{Error, ExitCase};
use withal_scope::AsyncExitStack;

use account::{Account, Chronicle, Destination, End};
use alarms::Raised;
use front::{Keeper, Kept, Side};
use gates::{Attributes, Busy, Held, Place, Secrets, Ties, Warnings};
use identity::{Distance, Host, Process};
use job::Orphans;
use journal::{Directory, Journal, Opened, Reading, Record};
use release::{Budget, Released, release};
use supervise::{Ending, Supervisor};
use tree::Tree;

use crate::message::{Level, Messages, say_error, shown, with_remedy};

pub(crate) use alarms::Alarms;
pub(crate) use command::{NotStarted, Running, Terminal};
pub(crate) use deposit::Deposit;
#[cfg(test)]
pub(crate) use gates::kinds;
pub(crate) use gates::{Arguments as GateArguments, Planned, open_output, output};
pub(crate) use id::RunId;
pub(crate) use job::{Asked, BadFile, Job, Keep, Settings, is_secret, print_plan};
pub(crate) use recover::{Arguments as RecoverArguments, ListArguments, RECOVER_HELP, ls, recover};
pub(crate) use services::{Service, Services};
pub(crate) use signals::{Arrived, Blocked, Signals};
pub(crate) use status::Exit;

/// What is done against being killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Safety {
    /// A second process, which outlives the first or is outlived by it.
    pub(crate) keeper: bool,
    /// A journal that outlives both.
    pub(crate) journal: bool,
    /// What earlier runs of the same job have left is undone first.
    pub(crate) recover: bool,
}

/// Does the job. Nothing of it is left, and the answer is how this process should end.
pub(crate) fn run(job: Job) -> Exit {
    let messages = job.messages;
    prepare_and_run(job).unwrap_or_else(|error| {
        messages.error(with_remedy(&error));
        Exit::FAILED
    })
}

/// What a run has from its beginning, in both processes.
struct Run {
    id: RunId,
    journal: Journal,
    blocked: Blocked,
    strangers: HashSet<Pid>,
    terminal: Terminal,
    report: Option<Destination>,
}

fn prepare_and_run(job: Job) -> anyhow::Result<Exit> {
    // Threads and processes inherit the mask, so it comes first.
    let blocked = Blocked::new()?;
    let messages = job.messages;
    tree::adopt_orphans(messages);
    // A shell may have started them and then replaced itself by withal.
    let strangers = tree::children_now().into_iter().collect();
    identity::check_handles(messages);
    let id = RunId::random()?;
    let report = job.report()?;
    let journal = open_journal(&job, id)?;
    let run = Run {
        id,
        journal: journal.clone(),
        blocked,
        strangers,
        terminal: Terminal::look(),
        report,
    };
    let not_begun = |_: &anyhow::Error| conclude(&journal, id, Exit::FAILED, messages);
    if !job.safety.keeper || !front::is_needed(messages) {
        return keep(job, run, None).inspect_err(not_begun);
    }
    match front::split(run.terminal.is_there).inspect_err(not_begun)? {
        Side::Keeper(keeper) => {
            // It has not inherited to be a reaper, nor any children.
            tree::adopt_orphans(Messages::new(Level::Quiet));
            let strangers = HashSet::new();
            let exit = keep(job, Run { strangers, ..run }, Some(&keeper));
            let exit = exit.inspect_err(not_begun).unwrap_or_else(|error| {
                messages.error(with_remedy(&error));
                Exit::FAILED
            });
            keeper.tell(exit);
            Ok(Exit::SUCCESS)
        }
        Side::Front(front) => {
            let Run {
                id,
                journal,
                blocked,
                mut strangers,
                terminal,
                report,
            } = run;
            let is_shells_job = terminal.is_shells_job;
            match front.wait(&blocked, is_shells_job, &mut strangers, messages)? {
                (Kept::Done(exit), _) => Ok(exit),
                (Kept::Killed, deposits) => {
                    let taken_over = SystemTime::now();
                    let exit = runtime(messages)?.block_on(take_over::take_over(
                        &journal,
                        &blocked,
                        strangers,
                        job.limits(),
                        messages,
                    ));
                    drop(deposits);
                    let account = recall(&job, id, &journal, taken_over);
                    account.write(&job, report);
                    exit
                }
            }
        }
    }
}

/// What there is to tell of a run that was taken over, and is over now.
fn recall(job: &Job, id: RunId, journal: &Journal, taken_over: SystemTime) -> Account {
    let story = match journal.read() {
        Ok(Reading::Whole(story)) => Some(story),
        Ok(Reading::Empty | Reading::Damaged(_)) => None,
        Err(error) => {
            job.messages.warn(format_args!("{error:#}"));
            None
        }
    };
    Account::recalled(job, id, story.as_deref(), taken_over, Exit::FAILED)
}

fn open_journal(job: &Job, id: RunId) -> anyhow::Result<Journal> {
    let opened = Opened {
        version: journal::VERSION,
        id,
        job: job.identity.clone(),
        argv: job.words(),
        cwd: std::env::current_dir().map_or_else(|_| String::new(), |path| shown(&path)),
        host: Host::this(),
        uid: rustix::process::geteuid().as_raw(),
        at: journal::now(),
        front: Process::of(nix::unistd::getpid()),
    };
    match job.safety.journal {
        true => Journal::create(&Directory::here()?, opened),
        false => Journal::unwritten(opened),
    }
}

fn runtime(messages: Messages) -> anyhow::Result<Runtime> {
    withal_core::set_notice_hook(move |notice| messages.notice(notice));
    check_room(OF_A_RUNTIME).context(NO_RUNTIME)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.context(NO_RUNTIME)
}

const NO_RUNTIME: &str = "cannot start the runtime";

/// How many descriptors a runtime opens. In want of some of them it panics, so that there is room is
/// known before.
const OF_A_RUNTIME: usize = 6;

/// Whether this process can open `count` more descriptors.
///
/// # Errors
///
/// It cannot.
pub(crate) fn check_room(count: usize) -> io::Result<()> {
    let copies = (0..count).map(|_| io::stderr().as_fd().try_clone_to_owned());
    let copies: io::Result<Vec<_>> = copies.collect();
    copies.map(drop)
}

/// Does the job in this process. An error means that it was not begun.
fn keep(job: Job, run: Run, keeper: Option<&Keeper>) -> anyhow::Result<Exit> {
    let messages = job.messages;
    if keeper.is_some()
        && let Some(process) = Process::of(nix::unistd::getpid())
    {
        run.journal.write(&Record::Keeper { process })?;
    }
    let runtime = runtime(messages)?;
    let exit = runtime.block_on(async {
        let mut signals = run.blocked.listen()?;
        let deposit = match keeper {
            Some(keeper) => {
                signals.follow(keeper.front, keeper.socket.clone())?;
                Deposit::with_front(keeper.socket.clone())
            }
            None => Deposit::default(),
        };
        let (alarms, raised) = Alarms::new();
        let ties = Ties {
            run: run.id,
            names: Arc::default(),
            alarms,
            services: Services::new(run.journal.clone(), messages),
            deposit,
            keep: job.settings.keep.unwrap_or_default(),
            is_hurried: Arc::default(),
            secrets: Secrets::default(),
            warnings: Warnings::new(messages),
            messages,
        };
        Ok(session(job, signals, raised, ties, run).await)
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
    mut raised: Raised,
    ties: Ties,
    run: Run,
) -> Exit {
    let messages = job.messages;
    let Run {
        id,
        journal,
        blocked,
        strangers,
        terminal,
        report,
    } = run;
    let journal = &journal;
    let services = ties.services.clone();
    let mut stack = AsyncExitStack::new();
    let mut command = Command::new(&job.program);
    if job.settings.clear_env == Some(true) {
        for (name, _) in std::env::vars_os() {
            let _ = command.env_remove(name);
        }
    }
    name_run(&mut command, id);
    let chronicle = Chronicle::new();
    let held = Held::new(chronicle.clone(), messages);
    let is_hurried = ties.is_hurried.clone();
    let secrets = ties.secrets.clone();
    let gates = std::mem::take(&mut job.gates);
    let mut place = Place {
        stack: &mut stack,
        command: &mut command,
        attributes: Attributes::new(),
        is_stdout_taken: gates.iter().any(Planned::takes_stdout),
        held: &held,
        ties,
        journal: journal.clone(),
    };
    let acquired = acquire_all(gates, &job, &mut place, &mut signals, &mut raised).await;
    let outcome = match acquired {
        Err(outcome) => {
            // What gates gave it is not kept open for their exits.
            drop(command);
            outcome
        }
        Ok(()) => {
            // What a hook has started, and its parent has left: its `release` ends it.
            let before = tree::children_now().into_iter();
            let before = before.chain(strangers.iter().copied()).collect();
            match Running::start(command, blocked.inherited(), terminal) {
                Err(not_started) => Outcome::NotStarted(not_started),
                Ok(running) => {
                    note_command(journal, running, messages);
                    messages.step(format_args!("started {}", tree::describe(running.pid)));
                    chronicle.command_started();
                    let supervisor = Supervisor::new(
                        running,
                        Tree::new(running.pid, before, services.clone()),
                        &mut signals,
                        &mut raised,
                        job.limits(),
                        messages,
                        chronicle.clone(),
                    );
                    let ending = idle::wait(supervisor.until_all_are_gone(), messages).await;
                    if !tree::is_reaper() && job.limits().orphans == Orphans::Kill {
                        end_strays(journal, messages).await;
                    }
                    let exit = Exit::of_command(ending.status);
                    note(journal, &Record::Exited { exit }, messages);
                    Outcome::Ended(ending)
                }
            }
        }
    };
    outcome.tell(messages);
    is_hurried.store(outcome.is_hurried(), Ordering::Relaxed);
    let released = release(
        stack,
        outcome.case(),
        &mut signals,
        || services.reap_all(),
        &held,
        messages,
        Budget {
            limit: job.teardown_limit(outcome.is_hurried()),
            hurried: job.teardown_limit(true),
            is_hurried,
        },
    )
    .await;
    let limits = job.limits();
    if !matches!(released, Released::Abandoned(_)) && limits.orphans != Orphans::Detach {
        // What gates have started and left running after all.
        services.forget();
        let mut tree = Tree::left_behind(strangers, services);
        supervise::end_all(&mut tree, &mut signals, limits, messages).await;
    }
    let exit = outcome.exit(&job, released);
    let end = match signals.have_lost_front() {
        true => outcome.end(exit).without_front(),
        false => outcome.end(exit),
    };
    let account = Account::new(&job, id, &chronicle, end);
    account.without(&secrets).write(&job, report);
    conclude(journal, id, exit, messages);
    exit
}

/// The variable that names the run.
const RUN: &str = "WITHAL_RUN";

/// Lets the command know which run it is in, and marks all that descends from it.
fn name_run(command: &mut Command, id: RunId) {
    let runs = match std::env::var_os(leftovers::COOKIE).filter(|runs| !runs.is_empty()) {
        Some(mut runs) => {
            runs.push(format!(":{id}"));
            runs
        }
        None => id.to_string().into(),
    };
    let _ = command.env(leftovers::COOKIE, runs);
    let _ = command.env(RUN, id.to_string());
}

/// Ends what the command has left and nobody has adopted.
async fn end_strays(journal: &Journal, messages: Messages) {
    let ended = match journal.read() {
        Ok(Reading::Whole(story)) => leftovers::end_command(&story, Distance::Here, messages).await,
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{error:#}")),
    };
    if let Err(error) = ended {
        messages.warn(format_args!("the command may have left something: {error}"));
    }
}

fn note_command(journal: &Journal, running: Running, messages: Messages) {
    if let Some(process) = Process::of(running.pid) {
        let has_group = running.has_own_group;
        note(journal, &Record::Command { process, has_group }, messages);
    }
}

/// Adds to the journal what a run can do without.
fn note(journal: &Journal, record: &Record, messages: Messages) {
    if let Err(error) = journal.write(record) {
        messages.warn(format_args!("{error:#}"));
    }
}

/// Removes the journal if nothing is left to be undone, and else says who can.
fn conclude(journal: &Journal, id: RunId, exit: Exit, messages: Messages) {
    if !journal.is_clean() {
        recover::say_pending(journal, id);
        return;
    }
    if let Err(error) = journal.close(&Record::Closed { exit: Some(exit) }) {
        messages.warn(format_args!("{error:#}"));
    }
}

/// The next signal that asks to stop, while gates are acquired.
async fn next_stop(signals: &mut Signals, services: &Services) -> Arrived {
    loop {
        let arrived = signals.next().await;
        if arrived.is_about_children() {
            services.reap_all();
        } else if arrived.asks_to_stop() {
            return arrived;
        }
    }
}

/// Undoes what earlier runs have left and acquires the gates, unless it is told to stop.
async fn acquire_all(
    gates: Vec<Planned>,
    job: &Job,
    place: &mut Place<'_>,
    signals: &mut Signals,
    raised: &mut Raised,
) -> Result<(), Outcome> {
    // Processes that undo what an earlier run has left are waited for by themselves.
    if job.safety.recover && job.safety.journal {
        tokio::select! {
            biased;
            stop = signals.next_stop() => return Err(Outcome::Interrupted(stop)),
            () = recover::before(&job.identity, job.messages) => {}
        }
    }
    let services = place.ties.services.clone();
    tokio::select! {
        biased;
        stop = next_stop(signals, &services) => return Err(Outcome::Interrupted(stop)),
        lost = raised.next() => return Err(Outcome::Lost(lost)),
        acquired = acquire(gates, job, place) => acquired.map_err(Outcome::NotAcquired)?,
    }
    // What was lost at the last moment counts, too.
    raised
        .taken()
        .map_or(Ok(()), |lost| Err(Outcome::Lost(lost)))
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
            Outcome::Interrupted(stop) => {
                messages.warn(format_args!("{}: the command was not started", stop.name()))
            }
            Outcome::NotAcquired(error) => say_error(error),
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
            Outcome::Ended(Ending {
                alarm: Some(alarm), ..
            }) => errored(alarm.clone()),
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
            Outcome::Ended(Ending {
                alarm: Some(alarm), ..
            }) => ("lost", Some(alarm.clone())),
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
                Outcome::Interrupted(stop) => stop.sent().map(|signal| signal as i32),
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
            Outcome::Ended(ending) if ending.alarm.is_some() => Exit::TEARDOWN_FAILED,
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
