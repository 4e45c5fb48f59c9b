//! One watch, from its first sample to its end.

use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::{Signal, raise};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use withal_core::with;

use super::arguments::Job;
use super::model::{Model, Verdict};
use super::pace::{Pace, used};
use super::scan::{About, Lost, Scanner};
use super::subject::{self, Absent, Subject};
use super::view::{self, Form, Keys, Live, View};
use super::{LEAKING, NO_VERDICT};
use crate::message::say;
use crate::run::{Arrived, Blocked, Exit, Signals};

/// The end of a process takes no more than this part of the window.
const LONGEST_END: u32 = 4;

/// All that can be shown.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) about: About,
    pub(super) model: Model,
    /// Since the watch began.
    pub(super) at: Duration,
    /// Whether the last sample was a full one.
    pub(super) is_full: bool,
    pub(super) pace: Pace,
    pub(super) interval: Duration,
    pub(super) window: Duration,
}

/// Why a watch is over.
#[derive(Debug)]
pub(super) enum Ending {
    /// The process has ended.
    Ended,
    /// `--for` is over.
    TimeOver,
    /// A signal asked for it.
    Stopped(Arrived),
    /// A key did.
    Quit,
    /// The process may not be looked at any more.
    Lost(Lost),
}

/// What is to be done after a key or a signal.
pub(super) enum Turn {
    GoOn,
    /// Let the shell have the terminal.
    Suspend,
    /// Take the terminal anew: somebody else has had it.
    Anew,
    End(Ending),
}

enum Event {
    Ended,
    Signal(Arrived),
    Keys(Vec<u8>),
    Sample,
    TimeOver,
}

/// Does it. The answer is how this process should end.
pub(super) fn run(job: Job) -> anyhow::Result<Exit> {
    // Threads inherit the mask, so it comes before all else.
    let blocked = Blocked::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("cannot start the runtime")?;
    let _entered = runtime.enter();
    let signals = blocked.listen()?;
    let mut form = Form::of(&job)?;
    let subject = match Subject::open(job.subject, &blocked) {
        Ok(subject) => subject,
        Err(Absent::NotStarted(not_started)) => {
            say(&not_started.reason);
            return Ok(not_started.exit);
        }
        Err(Absent::Lost(pid, lost)) => {
            say(format_args!("{pid}: {lost}"));
            return Ok(NO_VERDICT);
        }
    };
    let opened = Scanner::open(subject.pid, job.has_tree);
    let opened = opened.and_then(|scanner| Ok((scanner.about()?, scanner)));
    let (about, scanner) = match opened {
        Ok(opened) => opened,
        Err(lost) => return runtime.block_on(unseen(subject, signals, lost)),
    };
    let started = Instant::now();
    let mut ticks = interval(job.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut session = Session {
        subject,
        signals,
        scanner,
        ticks,
        started,
        time_is_over: job.time.map(|time| started + time),
        keys: None,
        before_fall: None,
        picture: Picture {
            about,
            model: Model::new(job.window),
            at: Duration::ZERO,
            is_full: false,
            pace: Pace::new(job.interval, job.share),
            interval: job.interval,
            window: job.window,
        },
    };
    let watched = match &mut form {
        Form::Lines(lines) => runtime
            .block_on(session.watch(lines))
            .map(|turn| match turn {
                Turn::End(ending) => ending,
                Turn::GoOn | Turn::Suspend | Turn::Anew => Ending::Quit,
            }),
        Form::Live(live, _) => session.watch_live(live, &runtime),
    };
    runtime.block_on(session.finish(watched, &mut form, job.fail))
}

/// The end of a command that could not be watched, or of a watch that could not begin.
async fn unseen(subject: Subject, mut signals: Signals, lost: Lost) -> anyhow::Result<Exit> {
    let has_ended = subject.has_ended();
    let lost = match lost {
        Lost::Gone | Lost::Denied if has_ended => Lost::Zombie,
        lost => lost,
    };
    if !(subject.is_ours() && has_ended) {
        say(format_args!("{}: {lost}", subject.pid));
    }
    until_end(&subject, &mut signals).await;
    Ok(subject.status()?.unwrap_or(NO_VERDICT))
}

/// Waits for the end of a command, and passes signals on to it; returns at once for any other
/// process.
async fn until_end(subject: &Subject, signals: &mut Signals) {
    while subject.is_ours() && !subject.has_ended() {
        tokio::select! {
            biased;
            () = subject.ended() => {}
            arrived = signals.next() => subject.pass_on(&arrived),
        }
    }
}

struct Session {
    subject: Subject,
    signals: Signals,
    scanner: Scanner,
    ticks: Interval,
    started: Instant,
    time_is_over: Option<Instant>,
    /// The keyboard, if it is ours.
    keys: Option<Keys>,
    picture: Picture,
    /// How it was when the number of descriptors began to fall, if it still does.
    before_fall: Option<Box<Picture>>,
}

impl Session {
    /// Takes samples and shows them until something else is to be done.
    async fn watch(&mut self, view: &mut impl View) -> anyhow::Result<Turn> {
        loop {
            let turn = match self.next().await {
                Event::Ended => Turn::End(Ending::Ended),
                Event::TimeOver => Turn::End(Ending::TimeOver),
                Event::Keys(keys) => view.keys(&keys, &self.picture)?,
                Event::Signal(arrived) => self.signalled(arrived, view)?,
                Event::Sample => self.sample(view)?,
            };
            if !matches!(turn, Turn::GoOn) {
                return Ok(turn);
            }
        }
    }

    /// The same on a terminal, which is as it was when this returns, or is stopped, or panics.
    fn watch_live(
        &mut self,
        live: &mut Live,
        runtime: &tokio::runtime::Runtime,
    ) -> anyhow::Result<Ending> {
        let keys = io::stdin().as_fd().try_clone_to_owned();
        let keys = keys.and_then(subject::readiness);
        self.keys = Some(keys.context("cannot wait for keys")?);
        loop {
            let turn = with(view::screen(), |(_, _, terminal)| {
                let mut on_screen = live.on(terminal);
                on_screen.show(&self.picture)?;
                Ok(runtime.block_on(self.watch(&mut on_screen))?)
            })?;
            match turn {
                Turn::End(ending) => return Ok(ending),
                Turn::Suspend => raise(Signal::SIGTSTP).context("cannot stop")?,
                Turn::GoOn | Turn::Anew => {}
            }
        }
    }

    async fn next(&mut self) -> Event {
        let time_is_over = async {
            match self.time_is_over {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.subject.ended() => Event::Ended,
            arrived = self.signals.next() => Event::Signal(arrived),
            () = time_is_over => Event::TimeOver,
            keys = view::typed(self.keys.as_ref()) => Event::Keys(keys),
            _ = self.ticks.tick() => Event::Sample,
        }
    }

    fn signalled(&mut self, arrived: Arrived, view: &mut impl View) -> anyhow::Result<Turn> {
        if self.subject.is_ours() {
            self.subject.pass_on(&arrived);
            return Ok(Turn::GoOn);
        }
        match arrived.signal {
            _ if arrived.asks_to_stop() => Ok(Turn::End(Ending::Stopped(arrived))),
            Signal::SIGWINCH => view.resize(&self.picture).map(|()| Turn::GoOn),
            Signal::SIGCONT => Ok(Turn::Anew),
            _ => Ok(Turn::GoOn),
        }
    }

    fn sample(&mut self, view: &mut impl View) -> anyhow::Result<Turn> {
        let before = used();
        let is_full = self.picture.pace.is_full();
        match self.scan(is_full) {
            Ok(()) => view.show(&self.picture)?,
            // It is about to end, and that will be heard of.
            Err(Lost::Gone) => return Ok(Turn::GoOn),
            Err(lost) => return Ok(Turn::End(Ending::Lost(lost))),
        }
        let cost = used().saturating_sub(before);
        self.picture.pace.note(is_full, cost);
        Ok(Turn::GoOn)
    }

    fn scan(&mut self, is_full: bool) -> Result<(), Lost> {
        let at = self.started.elapsed();
        if is_full {
            let census = self.scanner.look()?;
            let about = self.scanner.about()?;
            self.note_fall(at, census.total());
            self.picture.model.note(at, &census, about.limit);
            self.picture.about = about;
        } else {
            let total = self.scanner.count()?;
            self.note_fall(at, total);
            self.picture.model.note_total(at, total);
        }
        self.picture.at = at;
        self.picture.is_full = is_full;
        Ok(())
    }

    /// Remembers how it was before a fall that may turn out to be the end of the process: many close
    /// what they have, leaked or not, before they end.
    fn note_fall(&mut self, at: Duration, total: u64) {
        let before = self.picture.model.total().unwrap_or(total);
        if total < before && self.before_fall.is_none() {
            self.before_fall = Some(Box::new(self.picture.clone()));
        }
        let longest = self.picture.window / LONGEST_END;
        let is_no_end = |picture: &mut Box<Picture>| total > before || picture.at + longest < at;
        let _no_end = self.before_fall.take_if(is_no_end);
    }

    /// Says the verdict, sees a command to its end, and tells how this process should end.
    async fn finish(
        &mut self,
        watched: anyhow::Result<Ending>,
        form: &mut Form,
        fail: bool,
    ) -> anyhow::Result<Exit> {
        match watched {
            Ok(Ending::TimeOver) => self.subject.stop().await,
            Ok(Ending::Ended) => {
                if let Some(before) = self.before_fall.take() {
                    self.picture = *before;
                }
            }
            _ => {}
        }
        let told = watched.and_then(|ending| form.end(&self.picture, &ending).map(|()| ending));
        until_end(&self.subject, &mut self.signals).await;
        let status = self.subject.status()?;
        let ending = told?;
        let report = self.picture.model.report(self.picture.at);
        let verdict = report.map_or(Verdict::Unknown, |report| report.verdict);
        Ok(exit(&ending, verdict, status, fail))
    }
}

/// The exit status; `status` is a command's own.
fn exit(ending: &Ending, verdict: Verdict, status: Option<Exit>, fail: bool) -> Exit {
    match (ending, status) {
        _ if fail && verdict == Verdict::Leaking => LEAKING,
        (Ending::TimeOver, Some(_)) => Exit::SUCCESS,
        (_, Some(status)) => status,
        (Ending::Lost(_), None) => NO_VERDICT,
        _ if fail && verdict == Verdict::Unknown => NO_VERDICT,
        (Ending::Stopped(arrived), None) if !fail => arrived.exit(),
        _ => Exit::SUCCESS,
    }
}
