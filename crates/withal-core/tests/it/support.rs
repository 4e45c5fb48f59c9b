//! Programs that leave a trace.

use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Once;

use withal_core::{BoxError, ContextManager, Error, ExitCase, Flow, Notice, NoticeKind};

/// An error that is its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Oops(pub(crate) String);

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Oops {}

pub(crate) fn oops(text: impl Into<String>) -> Oops {
    Oops(text.into())
}

/// A body that fails.
pub(crate) fn fail<T>(text: &str) -> Result<T, BoxError> {
    Err(oops(text).into())
}

/// Panics without a line on stderr.
pub(crate) fn throw(text: impl Into<String>) -> ! {
    resume_unwind(Box::new(text.into()))
}

/// What `program` panicked with.
pub(crate) fn caught<T: fmt::Debug>(program: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(program)).expect_err("the program panics");
    text_of(&*payload)
}

pub(crate) fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    match payload.downcast_ref::<String>() {
        Some(text) => text.clone(),
        None => (*payload.downcast_ref::<&str>().expect("a text")).to_owned(),
    }
}

thread_local! {
    static TRACE: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    static NOTICES: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
}

/// Adds an event to this thread's trace.
pub(crate) fn log(event: impl Into<String>) {
    TRACE.with_borrow_mut(|trace| trace.push(event.into()));
}

/// Takes this thread's trace.
pub(crate) fn trace() -> Vec<String> {
    TRACE.take()
}

/// Runs `program`, which must leave the trace `want`; gives what it gave.
#[track_caller]
pub(crate) fn check<T>(program: impl FnOnce() -> T, want: &[&str]) -> T {
    trace();
    let result = program();
    assert_eq!(trace(), want);
    result
}

/// A notice, as the hook saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: NoticeKind,
    pub(crate) entry: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) texts: Vec<String>,
    pub(crate) count: u64,
}

/// Runs `program`; gives its result and the notices it sent on this thread.
pub(crate) fn noticing<T>(program: impl FnOnce() -> T) -> (T, Vec<Seen>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        withal_core::set_notice_hook(|notice: &Notice<'_>| {
            let seen = Seen {
                kind: notice.kind,
                entry: notice.entry.map(|entry| entry.name().to_owned()),
                line: notice.entry.map(|entry| entry.location().line()),
                texts: notice.error.map(oldest_first).unwrap_or_default(),
                count: notice.count,
            };
            NOTICES.with_borrow_mut(|notices| notices.push(seen));
        });
    });
    NOTICES.take();
    let result = program();
    (result, NOTICES.take())
}

pub(crate) fn oldest_first(error: &Error) -> Vec<String> {
    error.iter().map(|f| f.error().to_string()).collect()
}

pub(crate) fn newest_first(error: &Error) -> Vec<String> {
    error
        .newest_first()
        .map(|f| f.error().to_string())
        .collect()
}

/// A case in words: how it ended, and what the exit saw, newest first.
pub(crate) fn told(case: &ExitCase) -> String {
    let name = match case {
        ExitCase::Succeeded => "succeeded",
        ExitCase::Errored(_) => "errored",
        ExitCase::Panicked(_) => "panicked",
        ExitCase::Cancelled => "cancelled",
        ExitCase::TimedOut => "timed out",
        ExitCase::Signalled(_) => "signalled",
        _ => "?",
    };
    match case.error() {
        Some(error) => format!("{name}: {}", newest_first(error).join(" < ")),
        None => name.to_owned(),
    }
}

/// What a [`Step`] does at one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Pass,
    Fail(&'static str),
    Panic(&'static str),
    /// Gives back the very error it was shown.
    Reraise,
    Suppress,
    /// Swallows the errors that have this text.
    Match(&'static str),
    Replace(&'static str),
}

/// A manager that logs its ends and does as it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) enter: Act,
    pub(crate) exit: Act,
}

/// A step that never swallows errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain(pub(crate) Step);

/// A step that passes at both ends.
pub(crate) const fn step(name: &'static str) -> Plain {
    Plain(Step {
        name,
        enter: Act::Pass,
        exit: Act::Pass,
    })
}

impl Plain {
    pub(crate) const fn enter(mut self, act: Act) -> Plain {
        self.0.enter = act;
        self
    }

    pub(crate) const fn exit(mut self, act: Act) -> Plain {
        self.0.exit = act;
        self
    }
}

/// A step that may swallow errors, and answers `act`.
pub(crate) const fn flow(name: &'static str, act: Act) -> Step {
    step(name).exit(act).0
}

impl Step {
    fn enter_now(self) -> Result<Step, BoxError> {
        log(format!("enter {}", self.name));
        match self.enter {
            Act::Pass => Ok(self),
            Act::Fail(text) => fail(text),
            Act::Panic(text) => throw(text),
            act => unreachable!("an enter cannot {act:?}"),
        }
    }

    fn exit_now(self, case: &ExitCase) -> Result<Flow, BoxError> {
        log(format!("exit {}: {}", self.name, told(case)));
        match self.exit {
            Act::Pass => Ok(Flow::Propagate),
            Act::Fail(text) => fail(text),
            Act::Panic(text) => throw(text),
            Act::Reraise => match case.error() {
                Some(error) => Err(error.clone().into()),
                None => Ok(Flow::Propagate),
            },
            Act::Suppress => Ok(Flow::Suppress),
            Act::Match(text) => Ok(Flow::SuppressMatching(withal_core::Matcher::new(
                move |error| error.to_string() == text,
            ))),
            Act::Replace(text) => Ok(Flow::Replace(oops(text).into())),
        }
    }
}

impl ContextManager<Flow> for Step {
    type Resource = Step;
    type Error = BoxError;

    fn enter(self) -> Result<Step, BoxError> {
        self.enter_now()
    }

    fn exit(step: Step, case: ExitCase) -> Result<Flow, BoxError> {
        step.exit_now(&case)
    }

    fn name(&self) -> std::borrow::Cow<'static, str> {
        self.name.into()
    }
}

impl ContextManager for Plain {
    type Resource = Plain;
    type Error = BoxError;

    fn enter(self) -> Result<Plain, BoxError> {
        self.0.enter_now().map(Plain)
    }

    fn exit(step: Plain, case: ExitCase) -> Result<(), BoxError> {
        match step.0.exit_now(&case)? {
            Flow::Propagate => Ok(()),
            flow => unreachable!("a plain step cannot answer {flow:?}"),
        }
    }

    fn name(&self) -> std::borrow::Cow<'static, str> {
        self.0.name.into()
    }
}
