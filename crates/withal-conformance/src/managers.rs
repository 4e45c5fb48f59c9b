//! Managers that do what a case says, and log it.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use withal_core::{AsyncContextManager, BoxError, ContextManager, Error, ExitCase, Flow};

use crate::format::{Body, Enter, Entry, Event, Exit};

/// The events of one run.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    fn note(&self, event: Event) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(event);
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Runs the innermost body.
    ///
    /// # Errors
    ///
    /// With `body`, if the case says so.
    pub fn body(&self, body: Body) -> Result<(), BoxError> {
        self.note(Event::Body);
        match body {
            Body::Ok => Ok(()),
            Body::Error => Err(Named("body".to_owned()).into()),
        }
    }
}

/// An error known by its name.
#[derive(Debug)]
struct Named(String);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Named {}

/// The names of the errors, newest first.
#[must_use]
pub fn names(error: &Error) -> Vec<String> {
    error
        .newest_first()
        .map(|failure| failure.error().to_string())
        .collect()
}

/// A manager whose type says that it swallows nothing.
#[derive(Clone, Debug)]
pub struct Plain(pub Scripted);

/// A manager whose type says that it may swallow errors.
#[derive(Clone, Debug)]
pub struct Swallowing(pub Scripted);

/// What a manager of a case does.
#[derive(Clone, Debug)]
pub struct Scripted {
    /// Its place, from the outside.
    pub index: usize,
    /// Its script.
    pub entry: Entry,
    /// Where it logs.
    pub log: Log,
}

impl Scripted {
    fn enter(&self) -> Result<(), BoxError> {
        self.log.note(Event::Enter { entry: self.index });
        match self.entry.enter {
            Enter::Ok => Ok(()),
            Enter::Fail => Err(Named(format!("enter{}", self.index)).into()),
        }
    }

    fn exit(&self, case: &ExitCase) -> Result<Flow, BoxError> {
        let saw = case.error().map(names).unwrap_or_default();
        self.log.note(Event::Exit {
            entry: self.index,
            saw,
        });
        match (self.entry.exit, case.error()) {
            (Exit::Ok, _) | (Exit::Reraise, None) => Ok(Flow::Propagate),
            (Exit::Suppress, _) => Ok(Flow::Suppress),
            (Exit::Raise, _) => Err(Named(format!("exit{}", self.index)).into()),
            (Exit::Reraise, Some(error)) => Err(error.clone().into()),
        }
    }

    async fn turn(&self) {
        if self.entry.turns {
            Turn(false).await;
        }
    }
}

/// Gives way once.
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl ContextManager for Plain {
    type Resource = Scripted;
    type Error = BoxError;

    fn enter(self) -> Result<Scripted, BoxError> {
        self.0.enter()?;
        Ok(self.0)
    }

    fn exit(resource: Scripted, case: ExitCase) -> Result<(), BoxError> {
        resource.exit(&case).map(drop)
    }
}

impl ContextManager<Flow> for Swallowing {
    type Resource = Scripted;
    type Error = BoxError;

    fn enter(self) -> Result<Scripted, BoxError> {
        self.0.enter()?;
        Ok(self.0)
    }

    fn exit(resource: Scripted, case: ExitCase) -> Result<Flow, BoxError> {
        resource.exit(&case)
    }
}

impl AsyncContextManager for Plain {
    type Resource = Scripted;
    type Error = BoxError;

    async fn enter(self) -> Result<Scripted, BoxError> {
        self.0.turn().await;
        self.0.enter()?;
        Ok(self.0)
    }

    async fn exit(resource: Scripted, case: ExitCase) -> Result<(), BoxError> {
        resource.turn().await;
        resource.exit(&case).map(drop)
    }
}

impl AsyncContextManager<Flow> for Swallowing {
    type Resource = Scripted;
    type Error = BoxError;

    async fn enter(self) -> Result<Scripted, BoxError> {
        self.0.turn().await;
        self.0.enter()?;
        Ok(self.0)
    }

    async fn exit(resource: Scripted, case: ExitCase) -> Result<Flow, BoxError> {
        resource.turn().await;
        resource.exit(&case)
    }
}
