//! Managers that tell what they do, and a stream.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use withal::{AsyncContextManager, ContextManager, ExitCase};

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    pub(crate) fn note(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
    }

    pub(crate) fn span(&self, name: &str) -> Span {
        Span(self.clone(), name.to_owned())
    }
}

/// Notes its enter and exit; the exit of `bad` fails.
pub(crate) struct Span(Trace, String);

impl Span {
    pub(crate) fn note(&mut self, event: &str) {
        self.0.note(format!("{}:{event}", self.1));
    }
}

impl ContextManager for Span {
    type Resource = Span;
    type Error = std::fmt::Error;

    fn enter(self) -> Result<Span, std::fmt::Error> {
        self.0.note(format!("+{}", self.1));
        Ok(self)
    }

    fn exit(span: Span, case: ExitCase) -> Result<(), std::fmt::Error> {
        let ok = if case.is_succeeded() { "ok" } else { "failed" };
        span.0.note(format!("-{} {ok}", span.1));
        if span.1 == "bad" {
            Err(std::fmt::Error)
        } else {
            Ok(())
        }
    }
}

impl AsyncContextManager for Span {
    type Resource = Span;
    type Error = std::fmt::Error;

    async fn enter(self) -> Result<Span, std::fmt::Error> {
        tokio::task::yield_now().await;
        ContextManager::enter(self)
    }

    async fn exit(span: Span, case: ExitCase) -> Result<(), std::fmt::Error> {
        tokio::task::yield_now().await;
        <Span as ContextManager>::exit(span, case)
    }
}

/// An application's error: its own cases, and one for blocks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error("own")]
    Own,
    #[error(transparent)]
    Block(#[from] withal::Error),
}

/// The stream of what `next` gives.
pub(crate) struct FromFn<F>(pub(crate) F);

impl<F: FnMut() -> Option<T> + Unpin, T> Stream for FromFn<F> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<T>> {
        Poll::Ready((self.0)())
    }
}

pub(crate) async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    std::future::poll_fn(|context| Pin::new(&mut *stream).poll_next(context)).await
}
