//! Scenarios that stand being cancelled, and those that do not.

use std::cell::RefCell;
use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::yield_now;
use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::{AsyncExitStack, Scope, async_with, scope, stop_requested};
use withal_testkit::{Cancel, CancelReport, Way, assert_no_open, cancel_everywhere};

fn nothing() -> Result<(), String> {
    Ok(())
}

/// How many are held, of what a scenario acquires by hand.
#[derive(Clone, Default)]
struct Held(Arc<AtomicUsize>);

impl Held {
    fn none(&self) -> Result<(), String> {
        match self.0.swap(0, SeqCst) {
            0 => Ok(()),
            held => Err(format!("{held} held")),
        }
    }
}

/// The ways in which the scenario leaks, by the report.
fn leaking(report: &CancelReport) -> Vec<Way> {
    let ways = Way::ALL.into_iter();
    ways.filter(|way| report.leaks().iter().any(|leak| leak.way() == Some(*way)))
        .collect()
}

struct Turns;

impl AsyncContextManager for Turns {
    type Resource = ();
    type Error = std::io::Error;

    async fn enter(self) -> std::io::Result<()> {
        yield_now().await;
        Ok(())
    }

    async fn exit((): (), _: ExitCase) -> std::io::Result<()> {
        tokio::time::sleep(Duration::from_secs(6)).await;
        Ok(())
    }
}

async fn every_form(s: Scope<'_>) -> Result<(), withal_core::BoxError> {
    s.enter(Turns).await?;
    let _task = s.spawn(async { Ok(stop_requested().await) });
    async_with((Turns, Turns), async |_| Ok(yield_now().await)).await?;
    let mut stack = AsyncExitStack::new();
    drop(stack.enter_async_context(Turns).await?);
    stack.close().await?;
    Ok(())
}

#[test]
fn blocks_of_every_form_leave_nothing_in_any_way() {
    let report = Cancel::every_way().everywhere(|| scope(every_form), nothing);
    report.assert_clean();
    assert!(report.points() >= 9, "{report}");
    assert_eq!(report.runs(), 6 * report.points());
}

#[test]
fn a_scenario_that_borrows_is_dropped_everywhere() {
    let held = AtomicUsize::new(0);
    let borrowing = || async {
        held.fetch_add(1, SeqCst);
        let _guard = scopeguard(|| _ = held.fetch_sub(1, SeqCst));
        yield_now().await;
    };
    let check = || match held.load(SeqCst) {
        0 => Ok(()),
        held => Err(format!("{held} held")),
    };
    cancel_everywhere(borrowing, check).assert_clean();
    assert_no_open();
}

/// Calls `then` when it is dropped.
fn scopeguard<F: FnMut()>(then: F) -> impl Drop {
    struct Guard<F: FnMut()>(F);
    impl<F: FnMut()> Drop for Guard<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Guard(then)
}

#[test]
fn a_guard_written_by_hand_leaks_in_every_way_that_asks() {
    let held = Held::default();
    let scenario = || {
        let held = held.clone();
        async move {
            held.0.fetch_add(1, SeqCst);
            yield_now().await;
            held.0.fetch_sub(1, SeqCst);
        }
    };
    let report = Cancel::every_way().everywhere(scenario, || held.none());
    assert_eq!(leaking(&report), Way::ALL[..5]);
    assert_eq!(
        report.to_string(),
        "1 of 1 await points leak\n\
         at await point 1, dropped: 1 held\n\
         at await point 1, dropped on another thread: 1 held\n\
         at await point 1, its task aborted: 1 held\n\
         at await point 1, timed out: 1 held\n\
         at await point 1, lost a `select!`: 1 held"
    );
    let one = Cancel::by([Way::Abort]).everywhere(scenario, || held.none());
    assert_eq!((leaking(&one), one.runs()), (vec![Way::Abort], 1));
}

#[test]
fn an_answer_that_nobody_takes_is_lost_by_a_timeout_and_a_select_only() {
    let held = Held::default();
    let scenario = || {
        let held = held.clone();
        async move {
            let (answer, wait) = oneshot::channel();
            let server = held.clone();
            tokio::spawn(async move {
                server.0.fetch_add(1, SeqCst);
                // Whoever asked is gone: the server takes it back.
                if answer.send(()).is_err() {
                    server.0.fetch_sub(1, SeqCst);
                }
            });
            wait.await.unwrap();
            held.0.fetch_sub(1, SeqCst);
        }
    };
    let report = Cancel::every_way().everywhere(scenario, || held.none());
    let ways = leaking(&report);
    assert!(!ways.contains(&Way::Drop), "{report}");
    assert!(ways.contains(&Way::Timeout), "{report}");
    assert!(ways.contains(&Way::Select), "{report}");
}

#[test]
fn a_destructor_that_needs_its_runtime_leaks_on_another_thread() {
    let held = Held::default();
    let scenario = || {
        let held = held.clone();
        async move {
            held.0.fetch_add(1, SeqCst);
            let _guard = scopeguard(move || {
                let held = held.clone();
                let release = async move { _ = held.0.fetch_sub(1, SeqCst) };
                if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                    runtime.spawn(release);
                }
            });
            yield_now().await;
        }
    };
    let report = Cancel::every_way().everywhere(scenario, || held.none());
    assert_eq!(leaking(&report), [Way::DropElsewhere], "{report}");
}

#[test]
fn what_outlives_a_runtime_that_shuts_down_is_reported() {
    let kept: Arc<Mutex<Vec<(AsyncExitStack, File)>>> = Arc::default();
    let scenario = || {
        let kept = Arc::clone(&kept);
        async move {
            let mut stack = AsyncExitStack::new();
            stack.callback(|| ());
            let file = File::open("/dev/null").unwrap();
            kept.lock().unwrap().push((stack, file));
            yield_now().await;
            let (mut stack, _file) = kept.lock().unwrap().pop().unwrap();
            stack.close().await.unwrap();
        }
    };
    let report = Cancel::by([Way::Shutdown]).everywhere(scenario, nothing);
    let text = report.to_string();
    assert!(
        text.contains("at await point 1, its runtime shut down while callback"),
        "{text}"
    );
    assert!(text.contains("callback `callback` at "), "{text}");
    assert!(text.contains("(/dev/null) is still open"), "{text}");
}

#[test]
fn a_teardown_that_never_ends_is_named_with_its_place() {
    struct Stuck;
    impl AsyncContextManager for Stuck {
        type Resource = ();
        type Error = std::io::Error;
        async fn enter(self) -> std::io::Result<()> {
            Ok(())
        }
        async fn exit((): (), _: ExitCase) -> std::io::Result<()> {
            std::future::pending().await
        }
    }
    let report = cancel_everywhere(
        || async_with(Stuck, async |()| Ok(yield_now().await)),
        nothing,
    );
    let text = report.to_string();
    let line = text
        .lines()
        .find(|line| line.starts_with("at await point 1"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("dropped while resource `Stuck` at "),
        "{line}"
    );
    assert!(line.contains("cancel.rs:"), "{line}");
    assert!(line.contains(" abandoned, since "), "{line}");
}

#[test]
fn a_stack_that_is_leaked_is_named_with_its_place() {
    let leaked = RefCell::new(Vec::new());
    let report = cancel_everywhere(
        || async {
            let mut stack = AsyncExitStack::new();
            stack.callback(|| ());
            leaked.borrow_mut().push(stack);
            yield_now().await;
        },
        nothing,
    );
    let text = report.to_string();
    assert!(
        text.starts_with("1 of 1 await points leak\nrun to its end: stack `exit stack` at "),
        "{text}"
    );
    assert!(text.contains("callback `callback` at "), "{text}");
    assert!(text.contains("cancel.rs:"), "{text}");
    let missed = std::panic::catch_unwind(assert_no_open);
    assert!(
        missed.is_err(),
        "what is open is seen by the thread's own check as well"
    );
}

#[test]
fn a_leaked_descriptor_and_a_leaked_task_are_named() {
    let leaked = RefCell::new(Vec::new());
    let report = cancel_everywhere(
        || async {
            leaked.borrow_mut().push(File::open("/dev/null").unwrap());
            drop(tokio::spawn(std::future::pending::<()>()));
            yield_now().await;
        },
        nothing,
    );
    let text = report.to_string();
    assert!(text.contains(" (/dev/null) is still open"), "{text}");
    assert!(text.contains("1 task is still alive"), "{text}");
}

#[test]
fn a_scenario_that_waits_for_ever_is_cancelled_where_it_waits() {
    let report = Cancel::every_way().everywhere(
        || async_with(Turns, async |()| Ok(std::future::pending::<()>().await)),
        nothing,
    );
    report.assert_clean();
    assert_eq!(report.points(), 2);
}

#[test]
fn with_the_real_clock_an_answer_from_outside_arrives_in_time() {
    let scenario = || async {
        let answer = tokio::task::spawn_blocking(|| 42);
        assert_eq!(answer.await.unwrap(), 42);
    };
    let report = Cancel::by([Way::Drop, Way::Timeout])
        .real_time()
        .everywhere(scenario, nothing);
    assert!(report.leaks().is_empty(), "{report}");
}

#[test]
#[should_panic(expected = "the scenario never waits")]
fn a_scenario_without_await_points_proves_nothing() {
    cancel_everywhere(|| async {}, nothing).assert_clean();
}

#[test]
#[should_panic(expected = "there is no way to cancel")]
fn no_way_proves_nothing() {
    Cancel::by([]).everywhere(yield_now, nothing).assert_clean();
}

#[test]
#[should_panic(expected = "oh")]
fn a_panic_of_the_scenario_goes_on() {
    let turn = AtomicUsize::new(0);
    let scenario = || {
        let turn = turn.fetch_add(1, SeqCst);
        async move {
            assert_eq!(turn, 0, "oh");
            yield_now().await;
        }
    };
    Cancel::by([Way::Abort])
        .everywhere(scenario, nothing)
        .assert_clean();
}
