//! `#[withal::with(..)]`, by the number of contextlib's behaviour.

use std::sync::{Arc, Mutex};

use withal::{AsyncContextManager, ContextManager, ExitCase};

#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn note(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap()).join(" ")
    }

    fn span(&self, name: &str) -> Span {
        Span(self.clone(), name.to_owned())
    }
}

struct Span(Trace, String);

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("own")]
    Own,
    #[error(transparent)]
    Block(#[from] withal::Error),
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

/// The documentation of `double`.
#[withal::with(t.span(name))]
#[must_use]
fn double(t: &Trace, name: &str, n: u32) -> Result<u32, AppError> {
    t.note("body");
    if n == 0 {
        return Err(AppError::Own);
    }
    Ok(n * 2)
}

#[test]
fn c038_a_decorated_function_runs_inside_its_block() {
    let t = Trace::default();
    assert_eq!(double(&t, "a", 2).unwrap(), 4);
    assert_eq!(t.take(), "+a body -a ok");
    assert_eq!(double(&t, "b", 3).unwrap(), 6);
    assert_eq!(t.take(), "+b body -b ok");
}

#[test]
fn c039_its_own_error_comes_out_as_it_went_in() {
    let t = Trace::default();
    assert!(matches!(double(&t, "a", 0), Err(AppError::Own)));
    assert_eq!(t.take(), "+a body -a failed");
    let Err(AppError::Block(error)) = double(&t, "bad", 0) else {
        panic!("the failed exit is not lost");
    };
    assert_eq!(error.len(), 2);
    assert!(matches!(
        error.downcast_ref::<AppError>(),
        Some(AppError::Own)
    ));
}

struct Counter<'a> {
    count: u32,
    trace: &'a Trace,
}

impl<'a> Counter<'a> {
    #[withal::with(self.trace.span("method"))]
    fn add<T: Into<u32>>(&mut self, n: T) -> Result<&mut Self, AppError> {
        self.count += n.into();
        Ok(self)
    }

    #[withal::with(self.trace.span("outer"), self.trace.span("inner"))]
    async fn add_later(&mut self, n: u32) -> Result<u32, AppError> {
        tokio::task::yield_now().await;
        self.trace.note("body");
        self.count += n;
        Ok(self.count)
    }
}

#[tokio::test]
async fn c040_c109_methods_keep_self_generics_and_lifetimes() {
    let t = Trace::default();
    let mut counter = Counter {
        count: 0,
        trace: &t,
    };
    assert_eq!(counter.add(2_u8).unwrap().add(3_u16).unwrap().count, 5);
    assert_eq!(t.take(), "+method -method ok +method -method ok");
    assert_eq!(counter.add_later(4).await.unwrap(), 9);
    assert_eq!(t.take(), "+outer +inner body -inner ok -outer ok");
}

#[withal::with(t.span("depth"))]
fn recurse(t: &Trace, n: u32) -> anyhow::Result<u32> {
    anyhow::ensure!(n < 100, "too deep");
    if n == 0 {
        Ok(0)
    } else {
        Ok(recurse(t, n - 1)? + 1)
    }
}

#[test]
fn c024_a_decorated_function_may_recurse_and_fail_with_anyhow() {
    let t = Trace::default();
    assert_eq!(recurse(&t, 9).unwrap(), 9);
    assert_eq!(t.take().matches("+depth").count(), 10);
    assert_eq!(recurse(&t, 100).unwrap_err().to_string(), "too deep");
}

#[withal::with(t.span("lazy"))]
async fn later(t: Trace) -> Result<(), withal::Error> {
    tokio::task::yield_now().await;
    t.note("body");
    Ok(())
}

#[tokio::test]
async fn c126_a_decorated_async_function_is_lazy_and_inside_for_its_whole_run() {
    let t = Trace::default();
    let call = later(t.clone());
    assert_eq!(t.take(), "");
    tokio::spawn(call).await.unwrap().unwrap();
    assert_eq!(t.take(), "+lazy body -lazy ok");
}
