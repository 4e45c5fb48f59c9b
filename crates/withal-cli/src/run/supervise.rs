//! From the command's start until nothing of it is left.

use std::time::Duration;

use nix::sys::signal::{Signal, raise};
use nix::unistd::Pid;
use rustix::process::WaitStatus;
use tokio::time::Instant;

use super::account::Chronicle;
use super::alarms::Raised;
use super::command::Running;
use super::job::Orphans;
use super::signals::{Arrived, Signals};
use super::tree::{self, Tree};
use crate::message::Messages;

/// How long killed processes may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Within this time a second Ctrl-C means that the first was no mistake.
pub(super) const SECOND_CTRL_C: Duration = Duration::from_secs(2);

/// When and how the command is told to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) signal: Signal,
    pub(crate) orphans: Orphans,
}

/// How the command ended.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) status: WaitStatus,
    pub(super) timed_out: bool,
    /// Why a gate has stopped it, if one has.
    pub(super) alarm: Option<String>,
    /// Whether a signal asked to stop while something still ran.
    pub(super) asked_to_stop: bool,
    /// Whether processes are left that could not be killed.
    pub(super) has_survivors: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Nothing has asked anybody to stop.
    Free,
    /// Everybody is asked to stop, and has until then.
    Grace(Instant),
    /// Everybody is being killed; those not gone then cannot be.
    Killing(Instant),
}

/// Watches the command and all its descendants.
#[derive(Debug)]
pub(super) struct Supervisor<'a> {
    running: Running,
    tree: Tree,
    signals: &'a mut Signals,
    alarms: &'a mut Raised,
    limits: Limits,
    messages: Messages,
    chronicle: Chronicle,
    phase: Phase,
    times_out_at: Option<Instant>,
    timed_out: bool,
    alarm: Option<String>,
    asked_to_stop: bool,
    /// Whether it is noted what the command has left running.
    has_orphans: bool,
    ctrl_c_at: Option<Instant>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(
        running: Running,
        tree: Tree,
        signals: &'a mut Signals,
        alarms: &'a mut Raised,
        limits: Limits,
        messages: Messages,
        chronicle: Chronicle,
    ) -> Supervisor<'a> {
        Supervisor {
            running,
            tree,
            signals,
            alarms,
            limits,
            messages,
            chronicle,
            phase: Phase::Free,
            times_out_at: limits.timeout.map(|limit| Instant::now() + limit),
            timed_out: false,
            alarm: None,
            asked_to_stop: false,
            has_orphans: false,
            ctrl_c_at: None,
        }
    }

    /// Waits for the command, passes signals on, keeps the deadlines; then ends what the command
    /// left running. What is gone, is reaped.
    pub(super) async fn until_all_are_gone(mut self) -> Ending {
        loop {
            self.tree.reap();
            let left = self.tree.left();
            if let Some(status) = self.tree.ended() {
                self.chronicle.command_ended();
                let gives_up =
                    matches!(self.phase, Phase::Killing(until) if until <= Instant::now());
                if left.is_empty() || gives_up {
                    // What has been raised since the command ended counts, too.
                    if let Some(alarm) = self.alarms.taken() {
                        self.messages.error(&alarm);
                        self.alarm = Some(alarm);
                    }
                    return self.ending(status, &left);
                }
                match (self.limits.orphans, self.phase) {
                    (Orphans::Detach, _) => return self.detaching(status, &left),
                    (Orphans::Wait, Phase::Free) => self.note_orphans(&left),
                    _ => self.end_orphans(&left),
                }
            }
            if let Phase::Killing(_) = self.phase {
                tree::kill_all(&left);
            }
            let (deadline, has_ended) = (self.deadline(), self.tree.ended().is_some());
            let arrived = tokio::select! {
                biased;
                alarm = self.alarms.next(), if !has_ended => {
                    self.alarm(alarm);
                    continue;
                }
                arrived = self.signals.next_before(deadline) => arrived,
            };
            match arrived {
                Some(arrived) if arrived.is_about_children() => self.stop_with_command().await,
                Some(arrived) if self.tree.ended().is_none() => self.signalled(arrived),
                Some(arrived) => self.signalled_at_the_end(arrived, &left),
                None => self.deadline_passed(),
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Free => self.times_out_at,
            Phase::Grace(until) | Phase::Killing(until) => Some(until),
        }
    }

    fn grace(&self) -> Phase {
        Phase::Grace(Instant::now() + self.limits.grace)
    }

    fn kill(&mut self) {
        self.chronicle.killed();
        self.phase = Phase::Killing(Instant::now() + KILL_LIMIT);
    }

    /// A signal while the command runs.
    fn signalled(&mut self, arrived: Arrived) {
        if arrived.asks_to_stop() {
            self.chronicle.mark(arrived.name());
        }
        // The command goes on when it is told to, and a lease may have ended while it was stopped.
        if arrived.signal == Signal::SIGCONT
            && self.alarm.is_none()
            && let Some(alarm) = self.alarms.look()
        {
            self.alarm(alarm);
        }
        self.running.pass_on(&arrived);
        if !arrived.asks_to_stop() || !arrived.was_sent() {
            return;
        }
        match self.phase {
            Phase::Grace(_) if self.asked_to_stop && arrived.insists() => {
                self.messages
                    .warn("asked to stop again: killing the command");
                self.kill();
            }
            Phase::Free => self.phase = self.grace(),
            Phase::Grace(_) | Phase::Killing(_) => {}
        }
        self.asked_to_stop = true;
    }

    /// A gate has lost what the command relies on.
    fn alarm(&mut self, text: String) {
        self.messages
            .error(format_args!("{text}: stopping the command"));
        self.alarm = Some(text);
        self.chronicle.mark("alarm");
        if let Phase::Free = self.phase {
            self.running.stop(self.limits.signal);
            self.phase = self.grace();
        }
    }

    /// Stops if the command has stopped and a shell waits to hear that of its job: it sees this
    /// process only. Ctrl-Z stops both anyway; a command may also stop itself.
    async fn stop_with_command(&mut self) {
        if !matches!(self.phase, Phase::Free) || !self.running.is_shells_job() {
            return;
        }
        // What has arrived meanwhile comes first. A continuation among it means that the shell has
        // seen a stop already: it is passed on, and there is nothing to stop for any more.
        while let Some(arrived) = self.signals.next_before(Some(Instant::now())).await {
            if !arrived.is_about_children() {
                self.signalled(arrived);
            }
        }
        if self.tree.has_stopped() {
            // Goes on here when it is continued. The continuation is a signal to be passed on.
            let _ = raise(Signal::SIGSTOP);
        }
    }

    /// A signal when only what the command left behind still runs, and is being ended.
    fn signalled_at_the_end(&mut self, arrived: Arrived, left: &[Pid]) {
        if !arrived.asks_to_stop() {
            return;
        }
        self.chronicle.mark(arrived.name());
        let insists = match arrived.was_sent() {
            true => std::mem::replace(&mut self.asked_to_stop, true),
            false => {
                let before = self.ctrl_c_at.replace(Instant::now());
                before.is_some_and(|before| before.elapsed() <= SECOND_CTRL_C)
            }
        };
        if insists {
            self.kill();
        } else if let Phase::Free = self.phase {
            self.end_orphans(left); // nothing has asked them to end so far
        } else {
            let names = tree::describe_all(left);
            let text = format_args!("waiting for processes the command left: {names}");
            self.messages.warn(text);
        }
    }

    fn deadline_passed(&mut self) {
        match self.phase {
            Phase::Free => {
                self.timed_out = true;
                self.chronicle.mark("timeout");
                self.times_out_at = None;
                let limit = self.limits.timeout.unwrap_or_default();
                let limit = humantime::format_duration(limit);
                self.messages.warn(format_args!(
                    "the command ran longer than {limit}: stopping it"
                ));
                match self.tree.ended() {
                    None => self.running.stop(self.limits.signal),
                    Some(_) => self.tree.ask(&self.tree.left(), self.limits.signal),
                }
                self.phase = self.grace();
            }
            Phase::Grace(_) => {
                warn_of_killing(&self.tree.left(), self.limits, self.messages);
                self.kill();
            }
            // What the command itself uses is not taken away from it while it lives.
            Phase::Killing(_) if self.tree.ended().is_none() => {
                let left = self.tree.left();
                let names = tree::describe_all(&left);
                self.messages
                    .error(format_args!("cannot be killed, still waiting: {names}"));
                self.kill();
            }
            Phase::Killing(_) => {}
        }
    }

    /// The command is gone; what it left running must go, too.
    fn end_orphans(&mut self, left: &[Pid]) {
        self.note_orphans(left);
        if let Phase::Free = self.phase {
            let names = tree::describe_all(left);
            self.messages.step(format_args!(
                "stopping what the command left running: {names}"
            ));
            self.phase = self.grace();
        }
        self.tree.ask(left, self.limits.signal);
    }

    fn note_orphans(&mut self, left: &[Pid]) {
        if !std::mem::replace(&mut self.has_orphans, true) {
            let names = left.iter().map(|pid| tree::describe(*pid).to_string());
            self.chronicle.orphans(names.collect());
        }
    }

    /// What the command left running is nobody's any more.
    fn detaching(&mut self, status: WaitStatus, left: &[Pid]) -> Ending {
        self.note_orphans(left);
        let names = tree::describe_all(left);
        self.messages.warn(format_args!("left running: {names}"));
        self.ending(status, &[])
    }

    fn ending(&self, status: WaitStatus, left: &[Pid]) -> Ending {
        if !left.is_empty() {
            tell_survivors(left, self.messages);
        }
        Ending {
            status,
            timed_out: self.timed_out,
            alarm: self.alarm.clone(),
            asked_to_stop: self.asked_to_stop,
            has_survivors: !left.is_empty(),
        }
    }
}

/// Asks all that is left to end, and kills what has not ended after the grace.
pub(super) async fn end_all(
    tree: &mut Tree,
    signals: &mut Signals,
    limits: Limits,
    messages: Messages,
) {
    let mut kills = false;
    let mut deadline = Instant::now() + limits.grace;
    let last_deadline = || Instant::now() + KILL_LIMIT;
    loop {
        tree.reap();
        let left = tree.left();
        if left.is_empty() {
            return;
        }
        match kills {
            true => tree::kill_all(&left),
            false => tree.ask(&left, limits.signal),
        }
        match signals.next_before(Some(deadline)).await {
            Some(arrived) if arrived.insists() && !kills => {
                (kills, deadline) = (true, last_deadline());
            }
            Some(_) => {}
            None if kills => return tell_survivors(&left, messages),
            None => {
                warn_of_killing(&left, limits, messages);
                (kills, deadline) = (true, last_deadline());
            }
        }
    }
}

fn warn_of_killing(left: &[Pid], limits: Limits, messages: Messages) {
    let names = tree::describe_all(left);
    let grace = humantime::format_duration(limits.grace);
    messages.warn(format_args!("not ended within {grace}, killed: {names}"));
}

fn tell_survivors(left: &[Pid], messages: Messages) {
    let names = tree::describe_all(left);
    messages.error(format_args!(
        "left running, because it cannot be killed: {names}"
    ));
}
