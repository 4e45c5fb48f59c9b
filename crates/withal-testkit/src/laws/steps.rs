//! Single enters and exits, with what they are owed: an end.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use tokio::time::timeout;
use withal_core::unwind::{Payload, catch};
use withal_core::{
    AsyncContextManager, BoxError, ContextManager, Error, ExitCase, Panicked, Verdict,
};

/// The error of a body, for managers to be exited with.
#[derive(Debug)]
struct BodyFailed;

impl fmt::Display for BodyFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body failed, as the laws ask")
    }
}

impl std::error::Error for BodyFailed {}

/// Every way a body can end.
pub(super) fn cases() -> [ExitCase; 6] {
    [
        ExitCase::Succeeded,
        ExitCase::Errored(Error::new(BodyFailed)),
        ExitCase::Panicked(Error::new(Panicked::new(&"the body panicked"))),
        ExitCase::Cancelled,
        ExitCase::TimedOut,
        ExitCase::Signalled(15),
    ]
}

/// The case in words.
pub(super) fn after(case: &ExitCase) -> &'static str {
    match case {
        ExitCase::Succeeded => "after success",
        ExitCase::Errored(_) => "after an error",
        ExitCase::Panicked(_) => "after a panic",
        ExitCase::Cancelled => "after a cancellation",
        ExitCase::TimedOut => "after a timeout",
        _ => "after a signal",
    }
}

pub(super) fn enter<M: ContextManager<V>, V: Verdict>(manager: M) -> Result<M::Resource, String> {
    let ended = catch_unwind(AssertUnwindSafe(|| manager.enter().map_err(Into::into)));
    told("enter", ended)
}

pub(super) fn exit<M: ContextManager<V>, V: Verdict>(
    resource: M::Resource,
    case: ExitCase,
) -> Result<(), String> {
    let exiting = || M::exit(resource, case.clone()).map_err(Into::into);
    let ended = catch_unwind(AssertUnwindSafe(exiting));
    exited(&case, ended)
}

pub(super) async fn enter_async<M: AsyncContextManager<V>, V: Verdict>(
    manager: M,
    patience: Duration,
) -> Result<M::Resource, String> {
    let entering = async { manager.enter().await.map_err(Into::into) };
    match timeout(patience, catch(entering)).await {
        Ok(ended) => told("enter", ended),
        Err(_) => Err("enter never ends".to_owned()),
    }
}

pub(super) async fn exit_async<M: AsyncContextManager<V>, V: Verdict>(
    resource: M::Resource,
    case: ExitCase,
    patience: Duration,
) -> Result<(), String> {
    let exiting = async { M::exit(resource, case.clone()).await.map_err(Into::into) };
    match timeout(patience, catch(exiting)).await {
        Ok(ended) => exited(&case, ended),
        Err(_) => Err(format!("exit {} never ends", after(&case))),
    }
}

fn exited<V>(case: &ExitCase, ended: Result<Result<V, BoxError>, Payload>) -> Result<(), String> {
    match ended {
        // An exit may pass on the failure it was shown.
        Ok(Err(error)) if is_of(case, &error) => Ok(()),
        ended => told(&format!("exit {}", after(case)), ended).map(drop),
    }
}

fn is_of(case: &ExitCase, error: &BoxError) -> bool {
    let shown = case.error().map(ToString::to_string);
    shown.is_some_and(|shown| error.to_string().contains(&shown))
}

fn told<T>(step: &str, ended: Result<Result<T, BoxError>, Payload>) -> Result<T, String> {
    match ended {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("{step} fails: {error}")),
        Err(payload) => Err(format!("{step} {}", Panicked::new(&*payload))),
    }
}
