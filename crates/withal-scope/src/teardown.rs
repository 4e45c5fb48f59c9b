//! Leaving a block: wait for dropped inner blocks, run the exits, keep the deadlines.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use withal_core::unwind::{Payload, Unwind};
use withal_core::{Error, Notice, NoticeKind, Panicked, emit_notice};

use crate::cell::{Exits, Step};
use crate::deadline::{self, Timer};
use crate::reaper::{Reaper, Work};

/// The part of a block that is not droppable: awaited in place, or moved to the reaper.
pub(crate) struct Teardown {
    pub(crate) exits: Exits,
    pub(crate) unwind: Unwind,
    /// The deadline of the current exit.
    timer: Timer,
    /// The deadline of all exits together.
    total: Timer,
    limit: Option<Duration>,
    /// The deadline of all has passed: exits that are not ready at once are given up.
    overdue: bool,
}

impl Teardown {
    pub(crate) fn new(exits: Exits) -> Teardown {
        Teardown {
            limit: exits.frame().settings.teardown_timeout,
            exits,
            unwind: Unwind::default(),
            timer: None,
            total: None,
            overdue: false,
        }
    }

    /// The limit that has passed for the current exit, if one has.
    fn poll_deadlines(&mut self, context: &mut Context<'_>) -> Poll<Duration> {
        let own = self.exits.current().and_then(|(_, own)| own);
        let limit = own.or(self.exits.frame().settings.exit_timeout);
        if !self.overdue && deadline::poll(&mut self.total, self.limit, context).is_ready() {
            self.overdue = true;
        }
        if let (true, Some(limit)) = (self.overdue, self.limit) {
            return Poll::Ready(limit);
        }
        deadline::poll(&mut self.timer, limit, context)
    }

    #[cold]
    fn give_up(&mut self, limit: Duration) -> Step {
        if let Some((entry, _)) = self.exits.current() {
            self.unwind.exit_timed_out(&entry, limit);
            let given_up = self.exits.give_up();
            return given_up.unwrap_or_else(|payload| {
                self.unwind.exited::<()>(&entry, Err(payload));
                Step::Exited
            });
        }
        Step::Exited
    }
}

impl Future for Teardown {
    type Output = Unwind;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Unwind> {
        let this = &mut *self;
        loop {
            // Dependants may borrow what the next exit takes: wait for them, each time.
            ready!(this.exits.frame().orphans.poll_zero(context));
            let step = match this.exits.poll_next(context, &mut this.unwind) {
                Poll::Ready(step) => step,
                Poll::Pending => {
                    let limit = ready!(this.poll_deadlines(context));
                    this.give_up(limit)
                }
            };
            this.timer = None;
            if step == Step::Finished {
                this.exits.frame().laid_to_rest();
                return Poll::Ready(std::mem::take(&mut this.unwind));
            }
        }
    }
}

/// Moves the teardown of a block whose future is being dropped to the reaper.
#[cold]
pub(crate) fn hand_over(mut teardown: Teardown) {
    let frame = std::sync::Arc::clone(teardown.exits.frame());
    let reaper = frame.settings.reaper.clone();
    let reaper = reaper.as_ref().unwrap_or(Reaper::global());
    frame.become_orphan();
    teardown.limit = teardown.limit.or(Some(reaper.deadline()));
    teardown.total = None;
    let handover = frame.handover();
    let runtime = handover.and_then(|handover| handover.runtime.clone());
    let work: Work = Box::pin(Finishing(teardown));
    #[cfg(feature = "tracing")]
    let work = match handover {
        Some(handover) => instrument(work, handover.span.clone()),
        None => work,
    };
    reaper.adopt(runtime, work);
}

/// Runs `work` in the span its block was opened in.
#[cfg(feature = "tracing")]
fn instrument(mut work: Work, span: tracing::Span) -> Work {
    Box::pin(std::future::poll_fn(move |context| {
        let _entered = span.enter();
        work.as_mut().poll(context)
    }))
}

/// A teardown that nobody awaits: what failed is for the reaper's report.
struct Finishing(Teardown);

impl Future for Finishing {
    type Output = Option<Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Error>> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(Unwind::into_failures)
    }
}

/// A destructor of something that was never exited panicked: say so, and go on.
pub(crate) fn note_destructor_panic(cleared: Result<(), Payload>) {
    if let Err(payload) = cleared {
        let error = Error::new(Panicked::new(&*payload));
        emit_notice(&Notice::new(NoticeKind::TeardownFailed, None, Some(&error)));
    }
}
