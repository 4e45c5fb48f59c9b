//! Undoing the gates, within a limit, and open to a Ctrl-C that means it.

use std::pin::pin;
use std::time::Duration;

use tokio::time::Instant;
use withal_core::{Error, ExitCase};
use withal_scope::AsyncExitStack;

use super::gates::Held;
use super::signals::{Arrived, Signals};
use super::supervise::SECOND_CTRL_C;
use crate::message::{Messages, say};

/// How long undoing may take after a command that ended by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// The same if withal was asked to stop: with the grace before it, this fits the 10 s that CI
/// systems and container engines wait before they kill.
const HURRIED_LIMIT: Duration = Duration::from_secs(4);

/// What became of the gates.
pub(super) enum Released {
    Clean,
    Failed,
    /// The user did not want to wait.
    Abandoned(Arrived),
}

/// Undoes everything on `stack`. What goes wrong is told here.
pub(super) async fn release(
    mut stack: AsyncExitStack,
    case: ExitCase,
    signals: &mut Signals,
    held: &Held,
    messages: Messages,
    is_hurried: bool,
) -> Released {
    let before = case.error().cloned();
    let limit = if is_hurried { HURRIED_LIMIT } else { LIMIT };
    let deadline = Instant::now() + limit;
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
                asked_at = Some(Instant::now());
                messages.warn(format_args!(
                    "undoing {}; once more within 2s abandons it",
                    list(held)
                ));
            }
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
