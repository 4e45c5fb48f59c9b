//! Undoing the gates, within a limit, and open to a Ctrl-C that means it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use withal_core::{Error, ExitCase};
use withal_scope::AsyncExitStack;

use super::gates::Held;
use super::signals::{Arrived, Signals};
use super::supervise::SECOND_CTRL_C;
use crate::message::{Messages, say};

/// How long undoing may take after a command that ended by itself.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

/// The same if withal was asked to stop: with the grace before it, this fits the 10 s that CI
/// systems and container engines wait before they kill.
pub(super) const HURRIED_LIMIT: Duration = Duration::from_secs(4);

/// What became of the gates.
#[derive(Debug)]
pub(super) enum Released {
    Clean,
    Failed,
    /// The user did not want to wait.
    Abandoned(Arrived),
}

/// How long undoing may take.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) limit: Duration,
    /// The same from when withal is asked to stop.
    pub(super) hurried: Duration,
    /// Tells the gates that it is.
    pub(super) is_hurried: Arc<AtomicBool>,
}

/// Undoes everything on `stack`; `reap` is called when children have ended. What goes wrong is told
/// here.
pub(super) async fn release(
    mut stack: AsyncExitStack,
    case: ExitCase,
    signals: &mut Signals,
    mut reap: impl FnMut(),
    held: &Held,
    messages: Messages,
    budget: Budget,
) -> Released {
    let before = case.error().cloned();
    let mut limit = budget.limit;
    let mut deadline = Instant::now() + limit;
    let mut closing = pin!(stack.close_with(case));
    let mut asked_at: Option<Instant> = None;
    loop {
        let arrived = tokio::select! {
            biased;
            closed = &mut closing => return tell(closed, before.as_ref()),
            arrived = signals.next_before(Some(deadline)) => arrived,
        };
        match arrived {
            None => {
                say(format_args!(
                    "not undone within {}: {}",
                    humantime::format_duration(limit),
                    list(held)
                ));
                told();
                return Released::Failed;
            }
            Some(stop) if stop.asks_to_stop() => {
                if asked_at.is_some_and(|asked| asked.elapsed() <= SECOND_CTRL_C) {
                    say(format_args!("abandoned, not undone: {}", list(held)));
                    told();
                    return Released::Abandoned(stop);
                }
                let now = Instant::now();
                asked_at = Some(now);
                // A Ctrl-C starts no clock.
                if stop.was_sent() && now + budget.hurried < deadline {
                    limit = budget.hurried;
                    deadline = now + limit;
                    budget.is_hurried.store(true, Ordering::Relaxed);
                }
                messages.warn(format_args!(
                    "undoing {}; once more within 2s abandons it",
                    list(held)
                ));
            }
            Some(arrived) if arrived.is_about_children() => reap(),
            Some(_) => {}
        }
    }
}

/// What is given up has been told by its name; that its runtime ends is no news.
fn told() {
    withal_core::set_notice_hook(|_| ());
}

/// The failures of exits; the case's own came in with it.
fn tell(closed: Result<(), Error>, before: Option<&Error>) -> Released {
    let Err(error) = closed else {
        return Released::Clean;
    };
    let known = before.map_or(0, Error::len);
    let mut failures = error.iter().skip(known).peekable();
    if failures.peek().is_none() {
        return Released::Clean;
    }
    for failure in failures {
        let mut text = failure.error().to_string();
        let mut source = failure.error().source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        say(text);
    }
    Released::Failed
}

fn list(held: &Held) -> String {
    held.names().join(", ")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;
    use std::sync::Arc;

    use nix::sys::signal::{Signal, raise};
    use withal_core::{Error, ExitCase};
    use withal_scope::AsyncExitStack;

    use super::{Budget, HURRIED_LIMIT, LIMIT, Released, release};
    use crate::message::{Level, Messages};
    use crate::run::account::Chronicle;
    use crate::run::gates::Held;
    use crate::run::signals::Blocked;

    /// Undoes `stack` after `case` while `signals` are pending, with a clock that never waits.
    fn check(stack: AsyncExitStack, case: ExitCase, signals: &[Signal]) -> Released {
        let messages = Messages::new(Level::Quiet);
        let blocked = Blocked::new().unwrap();
        for signal in signals {
            raise(*signal).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(async {
            let mut signals = blocked.listen().unwrap();
            let held = Held::new(Chronicle::new(), messages);
            held.acquired("gate");
            let budget = Budget {
                limit: LIMIT,
                hurried: HURRIED_LIMIT,
                is_hurried: Arc::default(),
            };
            release(stack, case, &mut signals, || (), &held, messages, budget).await
        })
    }

    fn failing() -> AsyncExitStack {
        let mut stack = AsyncExitStack::new();
        stack.callback(|| Err::<(), _>("no"));
        stack
    }

    fn endless() -> AsyncExitStack {
        let mut stack = AsyncExitStack::new();
        stack.push_async(async |_case| {
            pending::<()>().await;
            Ok::<(), Infallible>(())
        });
        stack
    }

    #[test]
    fn exits_that_fail_count_and_the_commands_own_failure_does_not() {
        let failed = || ExitCase::Errored(Error::new("the command failed"));
        let check = |stack: AsyncExitStack, case: ExitCase, is_clean: bool| {
            let released = check(stack, case, &[]);
            assert_eq!(
                matches!(released, Released::Clean),
                is_clean,
                "{released:?}"
            );
        };
        check(AsyncExitStack::new(), ExitCase::Succeeded, true);
        check(AsyncExitStack::new(), failed(), true);
        check(failing(), ExitCase::Succeeded, false);
        check(failing(), failed(), false);
        check(failing(), ExitCase::TimedOut, false);
    }

    #[test]
    fn two_requests_to_stop_abandon_what_does_not_end() {
        let released = check(
            endless(),
            ExitCase::Succeeded,
            &[Signal::SIGINT, Signal::SIGTERM],
        );
        assert!(matches!(released, Released::Abandoned(_)), "{released:?}");
    }

    #[test]
    fn one_request_to_stop_and_other_signals_abandon_nothing() {
        let signals = [Signal::SIGINT, Signal::SIGUSR1, Signal::SIGWINCH];
        let released = check(endless(), ExitCase::Succeeded, &signals);
        assert!(matches!(released, Released::Failed), "{released:?}");
    }

    #[test]
    fn what_does_not_end_is_given_up_after_a_while() {
        let released = check(endless(), ExitCase::Succeeded, &[]);
        assert!(matches!(released, Released::Failed), "{released:?}");
    }
}
