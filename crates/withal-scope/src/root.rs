//! The root of a program: signals cancel it, and nothing is left when it ends.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::process::{ExitCode, Termination};
use std::task::Poll;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use crate::interruption::{self, Interruption};
use crate::registry::{Open, open};
use crate::{Reaper, Report};

/// How a program's root is run: which grace its exits have.
///
/// ```
/// use std::time::Duration;
/// use withal_scope::Root;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let outcome = Root::new()
///     .grace(Duration::from_secs(4))
///     .run(async { 42 })
///     .await;
/// assert_eq!(outcome.ended, Ok(42));
/// assert!(outcome.report.is_clean());
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a root does nothing until it is run"]
pub struct Root {
    grace: Duration,
    hurry: Duration,
}

impl Default for Root {
    fn default() -> Self {
        Root::new()
    }
}

impl Root {
    /// A grace of 9 s for all exits, which fits the 10 s that CI systems and `docker stop` give;
    /// 1 s after a second signal.
    pub fn new() -> Root {
        Root {
            grace: Duration::from_secs(9),
            hurry: Duration::from_secs(1),
        }
    }

    /// How long the exits may take once the future has ended or been cancelled.
    pub fn grace(mut self, grace: Duration) -> Root {
        self.grace = grace;
        self
    }

    /// How long they may take after a second signal. A third ends the wait at once.
    pub fn hurry(mut self, hurry: Duration) -> Root {
        self.hurry = hurry;
        self
    }

    /// Runs `future` until it ends or the process is told to stop, then waits for the exits.
    ///
    /// On SIGINT, SIGTERM or SIGHUP the future is dropped: every scope in it hands its exits to the
    /// reaper, with [`ExitCase::Signalled`](withal_core::ExitCase::Signalled). A signal that the
    /// process was started to ignore (`nohup`) stays ignored. In both cases the global reaper is
    /// then drained under the grace period.
    ///
    /// # Panics
    ///
    /// If the runtime's timer or I/O driver is not enabled.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops `future`, without waiting for anything.
    pub async fn run<F: Future>(self, future: F) -> RootOutcome<F::Output> {
        let mut signals = Signals::listen();
        let mut future = pin!(Some(future));
        let ended = poll_fn(|context| {
            if let Poll::Ready(number) = signals.poll(context) {
                return Poll::Ready(Err(number));
            }
            match future.as_mut().as_pin_mut() {
                Some(running) => running.poll(context).map(Ok),
                None => Poll::Pending,
            }
        })
        .await;
        match ended {
            Ok(_) => future.set(None),
            Err(number) => {
                interruption::during(Interruption::Signalled(number), || future.set(None));
            }
        }
        let report = self.drain(&mut signals, ended.is_err()).await;
        RootOutcome {
            ended,
            report,
            open: open(),
        }
    }

    /// Waits for the teardowns; the second signal shortens the wait, the third ends it.
    async fn drain(&self, signals: &mut Signals, signalled: bool) -> Report {
        let mut deadline = Instant::now() + self.grace;
        let mut signals_seen = u32::from(signalled);
        loop {
            let remaining = deadline.saturating_duration_since(Instant::now());
            let mut draining = pin!(Reaper::global().drain(remaining));
            let drained = poll_fn(|context| {
                if let Poll::Ready(report) = draining.as_mut().poll(context) {
                    return Poll::Ready(Some(report));
                }
                signals.poll(context).map(|_| None)
            })
            .await;
            match drained {
                Some(report) => return report,
                None => signals_seen += 1,
            }
            match signals_seen {
                0 | 1 => {}
                // Less may be left of the grace; it is not made longer.
                2 => deadline = deadline.min(Instant::now() + self.hurry),
                _ => return Reaper::global().report(),
            }
        }
    }
}

/// Runs `future` as a program's root; see [`Root::run`].
///
/// # Panics
///
/// If the runtime's timer or I/O driver is not enabled.
///
/// # Cancel safety
///
/// Dropping it drops `future`, without waiting for anything.
pub async fn root<F: Future>(future: F) -> RootOutcome<F::Output> {
    Root::new().run(future).await
}

/// Runs `future` as the root of the whole process, on a runtime of its own.
///
/// This is what `#[withal::main]` expands to. It prints what was lost to stderr. The exit code is
/// that of the future's output, or 128 + n after signal n.
///
/// # Panics
///
/// If the runtime cannot be started, and with a panic of the future, once the exits have run.
///
/// ```
/// # use std::process::ExitCode;
/// fn main() -> ExitCode {
///     withal_scope::block_on(async {
///         println!("hello");
///         Ok::<(), withal_core::Error>(())
///     })
/// }
/// ```
pub fn block_on<F>(future: F) -> ExitCode
where
    F: Future,
    F::Output: Termination,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a tokio runtime can be started: threads and epoll are available");
    let outcome = runtime.block_on(root(future));
    if !outcome.report.is_clean() {
        eprintln!("withal: {}", outcome.report);
    }
    for open in &outcome.open {
        eprintln!("withal: never closed: {open}");
    }
    outcome.exit_code()
}

/// How a root ended.
#[derive(Debug)]
#[non_exhaustive]
pub struct RootOutcome<T> {
    /// The future's output, or the signal that stopped it.
    pub ended: Result<T, i32>,
    /// What became of the teardowns that nobody awaited.
    pub report: Report,
    /// What is still open: held by tasks that no scope waits for, or abandoned.
    pub open: Vec<Open>,
}

impl<T: Termination> RootOutcome<T> {
    /// The exit code of the output, or 128 + n after signal n.
    pub fn exit_code(self) -> ExitCode {
        match self.ended {
            Ok(output) => output.report(),
            Err(number) => ExitCode::from(u8::try_from(128 + number).unwrap_or(u8::MAX)),
        }
    }
}

/// The signals that ask a program to stop.
struct Signals(Vec<(i32, Signal)>);

impl Signals {
    fn listen() -> Signals {
        let ignored = ignored_signals();
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let signals = kinds
            .into_iter()
            .map(|kind| (kind.as_raw_value(), kind))
            .filter(|(number, _)| ignored & (1 << (number - 1)) == 0)
            .map(|(number, kind)| {
                let listening = signal(kind);
                (
                    number,
                    listening.expect("SIGINT, SIGTERM and SIGHUP can be handled"),
                )
            });
        Signals(signals.collect())
    }

    fn poll(&mut self, context: &mut std::task::Context<'_>) -> Poll<i32> {
        for (number, signal) in &mut self.0 {
            if let Poll::Ready(Some(())) = signal.poll_recv(context) {
                return Poll::Ready(*number);
            }
        }
        Poll::Pending
    }
}

impl fmt::Debug for Signals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(number, _)| number))
            .finish()
    }
}

/// The signals this process ignores, as a bit mask; none where the kernel does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}
