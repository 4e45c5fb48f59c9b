//! The one place where exits, failures and verdicts add up.
//!
//! Sync blocks, exit stacks and async scopes all run their exits against an `Unwind`, so they
//! cannot disagree about what an exit sees or what comes out. Its rules are those of nested
//! blocks in CPython, which the conformance replay checks.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::error::Failure;
use crate::notice::{self, Notice};
use crate::{BoxError, Entry, Error, ExitCase, Flow, Matcher, Panicked, Stage, TimedOut, Verdict};

/// A caught panic.
pub type Payload = Box<dyn Any + Send + 'static>;

/// How the body ended, without what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// A value, or an error: the failures tell which.
    Returned,
    Panicked,
    Cancelled,
    TimedOut,
    Signalled(i32),
}

/// The state of a block that is being left: how its body ended and what has failed so far.
#[derive(Debug)]
pub struct Unwind {
    ending: Ending,
    failures: Option<Error>,
    /// A failure was swallowed, and the body's value with it: a nested block would have lost it.
    swallowed: bool,
    panic: Option<Box<Panicking>>,
}

/// A panic on its way out.
#[derive(Debug)]
struct Panicking {
    /// What exits see. It is the panic alone: what failed beside it cannot travel with a panic
    /// through nested blocks, so no exit may come to rely on it.
    seen: Error,
    /// The first panic caught here, also as it stands among the failures.
    ///
    /// `None` while the only panic is that of an outer block, which holds it.
    caught: Option<(Payload, Error)>,
}

impl Default for Unwind {
    #[inline]
    fn default() -> Unwind {
        Unwind {
            ending: Ending::Returned,
            failures: None,
            swallowed: false,
            panic: None,
        }
    }
}

impl Unwind {
    /// A block whose body ended as `case` says.
    #[must_use]
    pub fn from_case(case: ExitCase) -> Unwind {
        let (ending, failures) = match case {
            ExitCase::Succeeded => (Ending::Returned, None),
            ExitCase::Errored(error) => (Ending::Returned, Some(error)),
            ExitCase::Panicked(error) => (Ending::Panicked, Some(error)),
            ExitCase::Cancelled => (Ending::Cancelled, None),
            ExitCase::TimedOut => (Ending::TimedOut, None),
            ExitCase::Signalled(signal) => (Ending::Signalled(signal), None),
        };
        let panic = match (ending, &failures) {
            (Ending::Panicked, Some(seen)) => Some(Box::new(Panicking {
                seen: seen.clone(),
                caught: None,
            })),
            _ => None,
        };
        Unwind {
            ending,
            failures,
            swallowed: false,
            panic,
        }
    }

    /// What the next exit sees.
    #[inline]
    #[must_use]
    pub fn case(&self) -> ExitCase {
        match (self.ending, &self.failures) {
            (Ending::Returned, None) => ExitCase::Succeeded,
            (Ending::Returned, Some(failures)) => ExitCase::Errored(failures.clone()),
            (Ending::Panicked, _) => ExitCase::Panicked(match &self.panic {
                Some(panic) => panic.seen.clone(),
                None => Error::new("panicked"),
            }),
            (Ending::Cancelled, _) => ExitCase::Cancelled,
            (Ending::TimedOut, _) => ExitCase::TimedOut,
            (Ending::Signalled(signal), _) => ExitCase::Signalled(signal),
        }
    }

    /// Notes how the body ended; gives its value.
    #[inline]
    pub fn body<T>(&mut self, ended: Result<Result<T, BoxError>, Payload>) -> Option<T> {
        match ended {
            Ok(Ok(value)) => Some(value),
            Ok(Err(error)) => {
                self.fail(Stage::Body, None, error);
                None
            }
            Err(payload) => {
                self.panicked(Stage::Body, None, payload);
                None
            }
        }
    }

    /// Notes that the body was cut off by the block's own deadline.
    #[cold]
    pub fn timed_out(&mut self, limit: Duration) {
        self.ending = Ending::TimedOut;
        self.fail(Stage::Body, None, Box::new(TimedOut::new(limit)));
    }

    /// Notes that `enter` failed, so that the body does not run.
    #[cold]
    pub fn enter_failed(&mut self, entry: Entry, error: BoxError) {
        self.fail(Stage::Enter, Some(entry), error);
    }

    /// Notes that `enter` panicked, so that the body does not run.
    #[cold]
    pub fn enter_panicked(&mut self, entry: Entry, payload: Payload) {
        self.panicked(Stage::Enter, Some(entry), payload);
    }

    /// Notes how an exit ended.
    #[inline]
    pub fn exited<V: Verdict>(
        &mut self,
        entry: &Entry,
        ended: Result<Result<V, BoxError>, Payload>,
    ) {
        match ended {
            Ok(Ok(verdict)) => {
                if V::MAY_SUPPRESS {
                    self.settle(entry, verdict.into_flow());
                }
            }
            Ok(Err(error)) => self.fail(Stage::Exit, Some(entry.clone()), error),
            Err(payload) => self.panicked(Stage::Exit, Some(entry.clone()), payload),
        }
    }

    /// Notes that an exit was given up after `limit`.
    #[cold]
    pub fn exit_timed_out(&mut self, entry: &Entry, limit: Duration) {
        self.fail(
            Stage::Exit,
            Some(entry.clone()),
            Box::new(TimedOut::new(limit)),
        );
    }

    #[cold]
    fn fail(&mut self, stage: Stage, entry: Option<Entry>, error: BoxError) {
        if stage == Stage::Enter && error.is::<Swallowed>() {
            self.swallowed = true;
            return;
        }
        let Some(failures) = &mut self.failures else {
            self.failures = Some(Error::from_failure(stage, entry, error));
            return;
        };
        match error.downcast::<Error>() {
            // What the exit was shown and gives back adds nothing; what it added is new.
            Ok(list) if list.is_prefix_of(failures) => {}
            Ok(list) => match self
                .panic
                .as_ref()
                .and_then(|panic| list.grown_from(&panic.seen))
            {
                Some(None) => {}
                Some(Some(added)) => failures.extend(&added),
                None => failures.extend(&list),
            },
            Err(error) => failures.push(Failure::new(stage, entry, error)),
        }
    }

    #[cold]
    fn panicked(&mut self, stage: Stage, entry: Option<Entry>, payload: Payload) {
        let failure = Error::from_failure(stage, entry, Box::new(Panicked::new(&*payload)));
        match &mut self.failures {
            Some(failures) => failures.extend(&failure),
            None => self.failures = Some(failure.clone()),
        }
        if self.ending == Ending::Returned {
            self.ending = Ending::Panicked;
        }
        let panic = self.panic.get_or_insert_with(|| {
            Box::new(Panicking {
                seen: failure.clone(),
                caught: None,
            })
        });
        let _ = panic.caught.get_or_insert((payload, failure));
    }

    /// Only errors can be swallowed: panics and cancellation belong to whoever raised them.
    fn settle(&mut self, entry: &Entry, flow: Flow) {
        let failures = match self.ending {
            Ending::Returned => self.failures.take(),
            _ => None,
        };
        let Some(failures) = failures else {
            match flow {
                // There is nothing this could take the place of, so it joins what there is.
                Flow::Replace(error) => self.fail(Stage::Exit, Some(entry.clone()), error),
                Flow::Settled(Settled(None)) => self.swallowed = true,
                _ => {}
            }
            return;
        };
        match flow {
            Flow::Propagate => self.failures = Some(failures),
            Flow::Suppress => self.swallow(entry, &failures),
            Flow::SuppressMatching(matcher) => self.swallow_matching(entry, failures, &matcher),
            Flow::Replace(error) => {
                self.swallow(entry, &failures);
                self.fail(Stage::Exit, Some(entry.clone()), error);
            }
            Flow::Settled(Settled(left)) => {
                self.swallowed = true;
                self.failures = left;
            }
        }
    }

    fn swallow(&mut self, entry: &Entry, failures: &Error) {
        self.swallowed = true;
        notice::suppressed(entry, failures);
    }

    /// The matcher is the user's: a panic in it is a panic of the exit.
    fn swallow_matching(&mut self, entry: &Entry, failures: Error, matcher: &Matcher) {
        let split = catch_unwind(AssertUnwindSafe(|| {
            failures.split(|failure| matcher.matches(failure.error()))
        }));
        match split {
            Ok((None, _)) => self.failures = Some(failures),
            Ok((Some(swallowed), left)) => {
                self.failures = left;
                self.swallow(entry, &swallowed);
            }
            Err(payload) => {
                self.failures = Some(failures);
                self.panicked(Stage::Exit, Some(entry.clone()), payload);
            }
        }
    }

    /// Whether an error, a panic or a cancellation is on its way out.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.ending == Ending::Returned && self.failures.is_none()
    }

    /// What comes out of the block: the body's value, what failed, or the panic, which goes on.
    ///
    /// # Errors
    ///
    /// Everything that failed and was not swallowed.
    ///
    /// # Panics
    ///
    /// With the first panic of the body or an exit. What else failed is noticed, not lost.
    #[inline]
    pub fn finish<V: Verdict, T>(self, value: Option<T>) -> Result<V::Output<T>, Error> {
        match (self.failures, self.panic, value) {
            (None, None, Some(value)) if !self.swallowed => Ok(V::output(value)),
            (failures, panic, _value) => Self::finish_failed::<V, T>(failures, panic),
        }
    }

    #[cold]
    fn finish_failed<V: Verdict, T>(
        failures: Option<Error>,
        panic: Option<Box<Panicking>>,
    ) -> Result<V::Output<T>, Error> {
        if let Some((payload, thrown)) = panic.and_then(|panic| panic.caught) {
            resume(payload, failures, &thrown);
        }
        match (failures, V::suppressed()) {
            (Some(failures), _) => Err(failures),
            (None, Some(nothing)) => Ok(nothing),
            // A failed enter whose failure a nested tuple swallowed, under a manager of `()`.
            (None, None) => Err(Error::new(Swallowed)),
        }
    }

    /// For a teardown nobody waits for: everything that failed, panics included.
    #[must_use]
    pub fn into_failures(self) -> Option<Error> {
        self.failures
    }

    /// The answer of an exit that is itself made of exits: what it added to the `case` it was
    /// given, as the verdict or the error of one.
    ///
    /// # Errors
    ///
    /// What failed inside, without what `case` already carried.
    ///
    /// # Panics
    ///
    /// With the first panic inside.
    pub fn into_exit<V: Verdict>(self, case: &ExitCase) -> Result<V, Error> {
        if let Some((payload, thrown)) = self.panic.and_then(|panic| panic.caught) {
            let added = match (self.failures, case.error()) {
                (Some(now), Some(known)) => now.unknown_to(known),
                (now, _) => now,
            };
            resume(payload, added, &thrown);
        }
        match (case.error(), self.failures) {
            (None, Some(added)) => Err(added),
            (Some(known), Some(now)) if known.is_prefix_of(&now) => match now.since(known) {
                None => Ok(V::from_flow(Flow::Propagate)),
                Some(added) => Err(added),
            },
            (None, None) if !self.swallowed => Ok(V::from_flow(Flow::Propagate)),
            (_, left) => Ok(V::from_flow(Flow::Settled(Settled(left)))),
        }
    }
}

/// Lets the panic go on; what failed beside it cannot come along, and is noticed.
fn resume(payload: Payload, failures: Option<Error>, thrown: &Error) -> ! {
    let is_thrown = |failure: &Failure| std::ptr::eq(failure, thrown.first());
    if let Some(beside) = failures.and_then(|failures| failures.split(is_thrown).1) {
        notice::emit(&Notice::beside_panic(&beside));
    }
    resume_unwind(payload)
}

/// What the exits inside one exit have left of the failures; they have noticed what they
/// swallowed.
#[derive(Debug)]
pub struct Settled(Option<Error>);

/// Says that a tuple's enter failed and one of its own members swallowed that.
#[derive(Debug)]
pub(crate) struct Swallowed;

impl std::fmt::Display for Swallowed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a manager failed to enter and another swallowed its error")
    }
}

impl std::error::Error for Swallowed {}

/// Awaits `future`; a panic in it becomes a value.
///
/// # Cancel safety
///
/// As safe as `future`: dropping this drops it.
///
/// # Errors
///
/// The panic, if `future` panicked.
pub async fn catch<F: Future>(future: F) -> Result<F::Output, Payload> {
    let mut future = pin!(future);
    poll_fn(|context| poll_caught(future.as_mut(), context)).await
}

/// Polls `future`; a panic in it becomes a value, and it must not be polled again.
#[inline]
pub fn poll_caught<F: Future + ?Sized>(
    future: Pin<&mut F>,
    context: &mut Context<'_>,
) -> Poll<Result<F::Output, Payload>> {
    match catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
        Ok(poll) => poll.map(Ok),
        Err(payload) => Poll::Ready(Err(payload)),
    }
}
