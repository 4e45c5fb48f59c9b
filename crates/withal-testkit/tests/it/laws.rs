//! Each law has a manager that breaks it, and is the only one it breaks.

use std::fs::File;
use std::sync::atomic::{AtomicI32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use withal_core::{
    AsyncContextManager, BoxError, ContextManager, ExitCase, Nullcontext, closing, nullcontext,
    reentrant, suppress,
};
use withal_scope::{aclosing, cancellable};
use withal_testkit::laws::{self, Law, LawReport, Laws};
use withal_testkit::{Faulty, FaultyResource};

/// The laws that were broken are these.
#[track_caller]
fn check(report: &LawReport, broken: &[Law]) {
    let mut laws: Vec<Law> = report
        .breaches()
        .iter()
        .map(|breach| breach.law())
        .collect();
    laws.dedup();
    assert_eq!(laws, broken, "{report}");
    let failed = std::panic::catch_unwind(|| report.assert_held());
    assert_eq!(failed.is_err(), !broken.is_empty());
}

/// What a [`Lock`] does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    Nothing,
    MakeAcquires,
    ExitForgets,
    ExitForgetsAfterError,
    ExitReleasesTwice,
    ExitFails,
    ExitPanics,
    ExitHangs,
    EnterFails,
    EnterFailsAfterAcquiring,
    EnterGivenUpAfterAcquiring,
    SecondFails,
    SecondAtOnceFails,
}

#[derive(Clone, Debug, Default)]
struct Server {
    held: Arc<AtomicI32>,
    entered: Arc<AtomicI32>,
}

#[derive(Debug)]
struct Lock(Server, Wrong);

impl Server {
    fn lock(&self, wrong: Wrong) -> Lock {
        if wrong == Wrong::MakeAcquires {
            self.held.fetch_add(1, SeqCst);
        }
        Lock(self.clone(), wrong)
    }

    fn held(&self) -> i32 {
        self.held.load(SeqCst)
    }

    fn laws(&self) -> Laws<'_> {
        Laws::new().observe(|| self.held())
    }
}

impl Lock {
    fn acquire(&self) -> Result<(), BoxError> {
        let before = self.0.held.fetch_add(1, SeqCst);
        let fails = match self.1 {
            Wrong::SecondFails => self.0.entered.fetch_add(1, SeqCst) % 2 == 1,
            Wrong::SecondAtOnceFails => before > 0,
            Wrong::EnterFails | Wrong::EnterFailsAfterAcquiring => true,
            _ => false,
        };
        if fails {
            if self.1 != Wrong::EnterFailsAfterAcquiring {
                self.0.held.fetch_sub(1, SeqCst);
            }
            return Err("no lock".into());
        }
        Ok(())
    }

    fn release(self, case: &ExitCase) -> Result<(), BoxError> {
        let count = match self.1 {
            Wrong::ExitForgets => 0,
            Wrong::ExitForgetsAfterError if case.error().is_some() => 0,
            Wrong::ExitReleasesTwice => 2,
            Wrong::MakeAcquires => 2,
            _ => 1,
        };
        self.0.held.fetch_sub(count, SeqCst);
        match self.1 {
            Wrong::ExitFails => Err("cannot release".into()),
            Wrong::ExitPanics => std::panic::resume_unwind(Box::new("released")),
            _ => Ok(()),
        }
    }
}

impl ContextManager for Lock {
    type Resource = Lock;
    type Error = BoxError;

    fn enter(self) -> Result<Lock, BoxError> {
        self.acquire().map(|()| self)
    }

    fn exit(lock: Lock, case: ExitCase) -> Result<(), BoxError> {
        lock.release(&case)
    }
}

impl AsyncContextManager for Lock {
    type Resource = Lock;
    type Error = BoxError;

    async fn enter(self) -> Result<Lock, BoxError> {
        yield_now().await;
        self.acquire()?;
        if self.1 == Wrong::EnterGivenUpAfterAcquiring {
            cancellable(yield_now()).await.ok_or("given up")?;
        }
        yield_now().await;
        Ok(self)
    }

    async fn exit(lock: Lock, case: ExitCase) -> Result<(), BoxError> {
        yield_now().await;
        if lock.1 == Wrong::ExitHangs {
            std::future::pending::<()>().await;
        }
        lock.release(&case)
    }
}

#[test]
fn sync_managers_that_keep_the_laws_and_that_break_them() {
    let sync = |wrong, broken: &[Law]| {
        let server = Server::default();
        check(&server.laws().check_sync(|| server.lock(wrong)), broken);
    };
    sync(Wrong::Nothing, &[]);
    sync(Wrong::MakeAcquires, &[Law::AcquiresInEnter]);
    let leaks = [Law::ExitUndoesEnter, Law::Reusable, Law::Independent];
    sync(Wrong::ExitForgets, &leaks);
    sync(Wrong::ExitReleasesTwice, &leaks);
    sync(Wrong::ExitForgetsAfterError, &[Law::ExitUndoesEnter]);
    sync(
        Wrong::ExitFails,
        &[Law::EndsWell, Law::Reusable, Law::Independent],
    );
    sync(Wrong::SecondAtOnceFails, &[Law::Independent]);
}

#[test]
fn async_managers_that_keep_the_laws_and_that_break_them() {
    let async_ = |wrong, broken: &[Law]| {
        let server = Server::default();
        check(&server.laws().check(|| server.lock(wrong)), broken);
    };
    async_(Wrong::Nothing, &[]);
    async_(
        Wrong::EnterGivenUpAfterAcquiring,
        &[Law::CancelledLeavesNothing],
    );
    async_(Wrong::ExitForgetsAfterError, &[Law::ExitUndoesEnter]);
    let leaks = [
        Law::ExitUndoesEnter,
        Law::Reusable,
        Law::Independent,
        Law::CancelledLeavesNothing,
    ];
    async_(Wrong::ExitForgets, &leaks);
    async_(Wrong::ExitReleasesTwice, &leaks);
}

#[test]
fn exits_that_panic_or_never_end_are_told_apart() {
    let server = Server::default();
    let told = |wrong| {
        let report = server.laws().check(|| server.lock(wrong));
        assert!(report.breaks(Law::EndsWell), "{report}");
        report.to_string()
    };
    let text = told(Wrong::ExitPanics);
    assert!(
        text.contains("exit after success panicked: released"),
        "{text}"
    );
    let text = told(Wrong::ExitHangs);
    assert!(text.contains("exit after a signal never ends"), "{text}");
    let text = told(Wrong::ExitFails);
    assert!(
        text.contains("exit after an error fails: cannot release"),
        "{text}"
    );
    let text = told(Wrong::EnterFails);
    assert!(text.contains("enter fails: no lock"), "{text}");
}

#[test]
fn a_manager_that_works_once_is_not_reusable() {
    let server = Server::default();
    let report = server.laws().check_sync(|| server.lock(Wrong::SecondFails));
    assert!(report.breaks(Law::Reusable), "{report}");
}

#[test]
fn a_failed_enter_leaves_nothing() {
    let server = Server::default();
    let laws = server.laws();
    let failed = Law::FailedEnterLeavesNothing;
    check(&laws.check_failing(|| server.lock(Wrong::EnterFails)), &[]);
    check(
        &laws.check_failing_sync(|| server.lock(Wrong::EnterFails)),
        &[],
    );
    let leaking = || server.lock(Wrong::EnterFailsAfterAcquiring);
    check(&laws.check_failing(leaking), &[failed]);
    check(&laws.check_failing_sync(leaking), &[failed]);
    let report = laws.check_failing_sync(|| server.lock(Wrong::Nothing));
    assert_eq!(
        report.to_string(),
        "law broken: an enter that fails leaves nothing: the enter that has to fail succeeds"
    );
    check(
        &laws.check_failing(|| server.lock(Wrong::Nothing)),
        &[failed],
    );
}

#[test]
fn a_lock_is_exclusive() {
    struct Exclusive(Arc<Semaphore>);
    impl AsyncContextManager for Exclusive {
        type Resource = OwnedSemaphorePermit;
        type Error = BoxError;
        async fn enter(self) -> Result<OwnedSemaphorePermit, BoxError> {
            let permit = cancellable(self.0.acquire_owned()).await;
            Ok(permit.ok_or("cancelled")??)
        }
        async fn exit(_: OwnedSemaphorePermit, _: ExitCase) -> Result<(), BoxError> {
            Ok(())
        }
    }
    let lock = Arc::new(Semaphore::new(1));
    let make = || Exclusive(Arc::clone(&lock));
    let laws = || Laws::new().observe(|| lock.available_permits());
    check(&laws().check(make), &[Law::Independent]);
    check(&laws().exclusive().check(make), &[]);
}

#[test]
fn descriptors_and_tasks_are_seen_without_being_told() {
    let kept: Arc<Mutex<Vec<File>>> = Arc::default();
    let report = laws::check_sync(|| {
        closing(Arc::clone(&kept), |kept| {
            kept.lock().unwrap().push(File::open("/dev/null")?);
            Ok::<_, std::io::Error>(())
        })
    });
    assert!(report.breaks(Law::ExitUndoesEnter), "{report}");
    assert!(
        report.to_string().contains("(/dev/null) is still open"),
        "{report}"
    );
    let report = laws::check(|| {
        aclosing((), async |()| {
            drop(tokio::spawn(std::future::pending::<()>()));
            Ok::<_, std::io::Error>(())
        })
    });
    assert!(report.breaks(Law::ExitUndoesEnter), "{report}");
    assert!(
        report
            .to_string()
            .contains("after a timeout: 1 task is still alive"),
        "{report}"
    );
}

#[test]
fn the_makers_of_withal_keep_the_laws() {
    laws::check(|| (nullcontext(1), nullcontext(2))).assert_held();
    laws::check(|| aclosing(1, async |_| Ok::<_, BoxError>(yield_now().await))).assert_held();
    laws::check_sync(suppress::<std::io::Error>).assert_held();
    Laws::new().check_around(|inner| (inner,)).assert_held();
    Laws::new()
        .check_around_sync(|inner| (inner, suppress::<std::fmt::Error>()))
        .assert_held();
    let shared = reentrant(|| nullcontext(1));
    laws::check_sync(|| &shared).assert_held();
}

/// A manager around another that forgets to exit it after an error.
struct Forgetful(Faulty);

impl AsyncContextManager for Forgetful {
    type Resource = FaultyResource<()>;
    type Error = BoxError;

    async fn enter(self) -> Result<FaultyResource<()>, BoxError> {
        AsyncContextManager::enter(self.0).await
    }

    async fn exit(inner: FaultyResource<()>, case: ExitCase) -> Result<(), BoxError> {
        match case {
            ExitCase::Succeeded => {
                <Faulty<Nullcontext<()>> as AsyncContextManager>::exit(inner, case).await
            }
            _ => Ok(()),
        }
    }
}

impl ContextManager for Forgetful {
    type Resource = FaultyResource<()>;
    type Error = BoxError;

    fn enter(self) -> Result<FaultyResource<()>, BoxError> {
        ContextManager::enter(self.0)
    }

    fn exit(inner: FaultyResource<()>, case: ExitCase) -> Result<(), BoxError> {
        match case {
            ExitCase::Succeeded => <Faulty<Nullcontext<()>> as ContextManager>::exit(inner, case),
            _ => Ok(()),
        }
    }
}

#[test]
fn a_manager_that_does_not_exit_what_it_entered_is_reported() {
    let report = Laws::new().check_around(Forgetful);
    check(&report, &[Law::ExitsWhatItEnters]);
    assert_eq!(
        report.breaches()[0].to_string(),
        "law broken: each successful enter is exited once, a failed one never: \
         with error in the body: manager 0 was entered and never exited"
    );
    let report = Laws::new().check_around_sync(Forgetful);
    check(&report, &[Law::ExitsWhatItEnters]);
}
