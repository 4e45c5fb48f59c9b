//! The forms a program can be written in.

use std::fmt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use withal_core::{Error, ExitStack, with};
use withal_scope::{AsyncExitStack, async_with, scope};

use crate::format::{Body, Case, Entry, Event, Exit, Kind, Outcome};
use crate::managers::{Log, Plain, Scripted, Swallowing, names};

/// A way to write the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Blocks in blocks.
    Nested,
    /// One `ExitStack`.
    ExitStack,
    /// One `AsyncExitStack`.
    AsyncExitStack,
    /// One `scope`.
    Scope,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Nested => "nested blocks",
            Form::ExitStack => "ExitStack",
            Form::AsyncExitStack => "AsyncExitStack",
            Form::Scope => "scope",
        })
    }
}

impl Form {
    /// All of them.
    pub const ALL: [Form; 4] = [
        Form::Nested,
        Form::ExitStack,
        Form::AsyncExitStack,
        Form::Scope,
    ];

    /// Whether `case` can be written this way.
    #[must_use]
    pub fn fits(self, case: &Case) -> bool {
        match self {
            Form::Nested | Form::AsyncExitStack => true,
            Form::ExitStack => case.entries.iter().all(|entry| entry.kind == Kind::Sync),
            // A scope's block always gives its value: its entries swallow nothing.
            Form::Scope => case
                .entries
                .iter()
                .all(|entry| entry.exit != Exit::Suppress),
        }
    }
}

/// `None` if an error was swallowed on the way.
type Ended = Result<Option<()>, Error>;

/// Runs `case` in `form`; gives what it logged, and what came out.
#[must_use]
pub fn replay(case: &Case, form: Form) -> (Vec<Event>, Outcome) {
    let log = Log::default();
    let managers = || {
        let entries = case.entries.iter().cloned().enumerate();
        entries.map(|(index, entry)| Scripted {
            index,
            entry,
            log: log.clone(),
        })
    };
    let ended = match form {
        Form::Nested => block_on(nested(managers().collect(), case.body, log.clone())),
        Form::ExitStack => on_stack(managers(), case.body, &log),
        Form::AsyncExitStack => block_on(on_async_stack(managers(), case.body, &log)),
        Form::Scope => block_on(in_scope(managers(), case.body, &log)),
    };
    let outcome = match ended {
        Ok(Some(())) => Outcome::Returned(true),
        Ok(None) => Outcome::Suppressed(true),
        Err(error) => Outcome::Error(names(&error)),
    };
    (log.events(), outcome)
}

/// The blocks inside the first of `managers`, which are outermost first.
fn nested(
    mut managers: std::collections::VecDeque<Scripted>,
    body: Body,
    log: Log,
) -> Pin<Box<dyn Future<Output = Ended>>> {
    Box::pin(async move {
        let Some(outermost) = managers.pop_front() else {
            return log.body(body).map(Some).map_err(Error::new);
        };
        let Entry { kind, exit, .. } = outermost.entry;
        let inner = move || nested(managers, body, log);
        match (kind, exit) {
            (Kind::Sync, Exit::Suppress) => {
                with(Swallowing(outermost), |_| Ok(block_on(inner())?)).map(Option::flatten)
            }
            (Kind::Sync, _) => with(Plain(outermost), |_| Ok(block_on(inner())?)),
            (Kind::Async, Exit::Suppress) => {
                async_with(Swallowing(outermost), async |_| Ok(inner().await?))
                    .await
                    .map(Option::flatten)
            }
            (Kind::Async, _) => async_with(Plain(outermost), async |_| Ok(inner().await?)).await,
        }
    })
}

fn on_stack(managers: impl Iterator<Item = Scripted>, body: Body, log: &Log) -> Ended {
    with(ExitStack::suppressing(), |stack| {
        for manager in managers {
            drop(match manager.entry.exit {
                Exit::Suppress => stack.enter_context(Swallowing(manager))?,
                _ => stack.enter_context(Plain(manager))?,
            });
        }
        log.body(body)
    })
}

async fn on_async_stack(managers: impl Iterator<Item = Scripted>, body: Body, log: &Log) -> Ended {
    async_with(AsyncExitStack::suppressing(), async |stack| {
        for manager in managers {
            let Entry { kind, exit, .. } = manager.entry;
            drop(match (kind, exit) {
                (Kind::Sync, Exit::Suppress) => stack.enter_context(Swallowing(manager))?,
                (Kind::Sync, _) => stack.enter_context(Plain(manager))?,
                (Kind::Async, Exit::Suppress) => {
                    stack.enter_async_context(Swallowing(manager)).await?
                }
                (Kind::Async, _) => stack.enter_async_context(Plain(manager)).await?,
            });
        }
        log.body(body)
    })
    .await
}

async fn in_scope(managers: impl Iterator<Item = Scripted>, body: Body, log: &Log) -> Ended {
    scope(async |s| {
        for manager in managers {
            let _resource = match manager.entry.kind {
                Kind::Sync => s.enter_context(Plain(manager))?,
                Kind::Async => s.enter(Plain(manager)).await?,
            };
        }
        log.body(body)
    })
    .await
    .map(Some)
}

/// Polls until it is ready: what waits here only gives way.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
