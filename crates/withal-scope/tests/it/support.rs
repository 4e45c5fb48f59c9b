//! Managers that leave a trace, and ways to drop a future half way.

use std::fmt;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use tokio::time::sleep;
use withal_core::{AsyncContextManager, ContextManager, ExitCase, NoticeKind};
use withal_scope::{Options, Reaper};

pub(crate) fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

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

    pub(crate) fn text(&self) -> String {
        self.0.lock().unwrap().join(" ")
    }
}

/// The case in one word.
pub(crate) fn word(case: &ExitCase) -> String {
    match case {
        ExitCase::Succeeded => "ok".into(),
        ExitCase::Errored(error) => format!("err({})", newest_first(error)),
        ExitCase::Panicked(_) => "panicked".into(),
        ExitCase::Cancelled => "cancelled".into(),
        ExitCase::TimedOut => "timedout".into(),
        ExitCase::Signalled(n) => format!("signal{n}"),
        other => format!("{other:?}"),
    }
}

pub(crate) fn newest_first(error: &withal_core::Error) -> String {
    let texts: Vec<String> = error
        .newest_first()
        .map(|f| f.error().to_string())
        .collect();
    texts.join("<")
}

#[derive(Debug)]
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

/// What a step of a manager does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Does {
    Ok,
    Fail,
    Panic,
    Hang,
}

impl Does {
    pub(crate) const ALL: [Does; 4] = [Does::Ok, Does::Fail, Does::Panic, Does::Hang];

    pub(crate) async fn run(self, what: &str) -> Result<(), Oops> {
        match self {
            Does::Ok => Ok(()),
            Does::Fail => Err(oops(what)),
            Does::Panic => panic!("{what}"),
            Does::Hang => std::future::pending().await,
        }
    }
}

/// Enters with `+name` … `=name`, exits with `-name case`.
#[derive(Clone)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) trace: Trace,
    pub(crate) enter_ms: u64,
    pub(crate) exit_ms: u64,
    pub(crate) enter: Does,
    pub(crate) exit: Does,
}

/// A manager that takes 10 ms to enter and 10 ms to exit.
pub(crate) fn step(name: &'static str, trace: &Trace) -> Step {
    Step {
        name,
        trace: trace.clone(),
        enter_ms: 10,
        exit_ms: 10,
        enter: Does::Ok,
        exit: Does::Ok,
    }
}

pub(crate) struct Resource {
    pub(crate) step: Step,
    pub(crate) uses: u32,
}

impl AsyncContextManager for Step {
    type Resource = Resource;
    type Error = Oops;

    async fn enter(self) -> Result<Resource, Oops> {
        self.trace.note(format!("+{}", self.name));
        if self.enter_ms > 0 {
            sleep(ms(self.enter_ms)).await;
        }
        self.enter.run(&format!("enter {}", self.name)).await?;
        self.trace.note(format!("={}", self.name));
        Ok(Resource {
            step: self,
            uses: 0,
        })
    }

    async fn exit(resource: Resource, case: ExitCase) -> Result<(), Oops> {
        let Step {
            name,
            trace,
            exit_ms,
            exit,
            ..
        } = resource.step;
        if exit_ms > 0 {
            sleep(ms(exit_ms)).await;
        }
        trace.note(format!("-{name} {}", word(&case)));
        exit.run(&format!("exit {name}")).await
    }

    fn name(&self) -> std::borrow::Cow<'static, str> {
        self.name.into()
    }
}

/// A sync manager that leaves the same trace.
pub(crate) struct SyncStep(pub(crate) &'static str, pub(crate) Trace);

impl ContextManager for SyncStep {
    type Resource = SyncStep;
    type Error = Oops;

    fn enter(self) -> Result<SyncStep, Oops> {
        self.1.note(format!("+{}", self.0));
        Ok(self)
    }

    fn exit(resource: SyncStep, case: ExitCase) -> Result<(), Oops> {
        resource.1.note(format!("-{} {}", resource.0, word(&case)));
        Ok(())
    }
}

/// A transaction on a resource: a dependant.
pub(crate) struct Begin<'c>(pub(crate) &'c mut Resource);
pub(crate) struct Tx<'c>(pub(crate) &'c mut Resource);

impl<'c> AsyncContextManager for Begin<'c> {
    type Resource = Tx<'c>;
    type Error = Oops;

    async fn enter(self) -> Result<Tx<'c>, Oops> {
        sleep(ms(5)).await;
        self.0.uses += 1;
        Ok(Tx(self.0))
    }

    async fn exit(tx: Tx<'c>, case: ExitCase) -> Result<(), Oops> {
        sleep(ms(5)).await;
        tx.0.uses += 1;
        tx.0.step.trace.note(format!("-tx {}", word(&case)));
        Ok(())
    }
}

pub(crate) fn options(reaper: &Reaper) -> Options {
    Options::new().reaper(reaper)
}

/// Drops `future` after `n` ms of virtual time.
pub(crate) async fn dropped_after<F: Future>(n: u64, future: F) {
    assert!(
        tokio::time::timeout(ms(n), future).await.is_err(),
        "it ended before it could be dropped"
    );
}

pub(crate) async fn hang() {
    std::future::pending().await
}

pub(crate) async fn drain(reaper: &Reaper) -> withal_scope::Report {
    reaper.drain(Duration::from_secs(60)).await
}

/// The notices of the resources called `name` so far. One hook serves all tests of this process:
/// from the first call on, notices are kept here instead of being printed.
pub(crate) fn notices(kind: NoticeKind, name: &str) -> usize {
    type Kept = Arc<Mutex<Vec<(NoticeKind, String)>>>;
    static KEPT: LazyLock<Kept> = LazyLock::new(|| {
        let kept = Kept::default();
        let keep = Arc::clone(&kept);
        withal_core::set_notice_hook(move |notice| {
            let name = notice.entry.map(|entry| entry.name().to_owned());
            keep.lock()
                .unwrap()
                .push((notice.kind, name.unwrap_or_default()));
        });
        kept
    });
    let kept = KEPT.lock().unwrap();
    kept.iter()
        .filter(|notice| notice.0 == kind && notice.1 == name)
        .count()
}
