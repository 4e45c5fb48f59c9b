//! Each tool catches a planted leak, and passes what has none.
#![allow(
    missing_docs,
    unused_results,
    clippy::disallowed_methods,
    clippy::unit_arg,
    clippy::unwrap_used,
    reason = "a test"
)]

use std::cell::RefCell;
use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

use withal_core::{AsyncContextManager, ExitCase};
use withal_scope::{AsyncExitStack, async_with, scope};
use withal_testkit::{assert_no_open, cancel_everywhere};

/// Descriptors are counted for the whole process: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn nothing() -> Result<(), String> {
    Ok(())
}

struct Turns;

impl AsyncContextManager for Turns {
    type Resource = ();
    type Error = std::io::Error;

    async fn enter(self) -> std::io::Result<()> {
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn exit((): (), _: ExitCase) -> std::io::Result<()> {
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        Ok(())
    }
}

#[test]
fn blocks_of_every_form_leave_nothing_at_any_await_point() {
    let _alone = alone();
    let report = cancel_everywhere(
        || async {
            scope(async |s| {
                s.enter(Turns).await?;
                async_with((Turns, Turns), async |_| Ok(tokio::task::yield_now().await)).await?;
                let mut stack = AsyncExitStack::new();
                drop(stack.enter_async_context(Turns).await?);
                stack.close().await?;
                Ok(())
            })
            .await
        },
        nothing,
    );
    report.assert_clean();
    assert!(report.points() >= 9, "{report}");
    assert_no_open();
}

#[test]
fn a_stack_that_is_leaked_is_named_with_its_place() {
    let _alone = alone();
    let leaked = RefCell::new(Vec::new());
    let report = cancel_everywhere(
        || async {
            let mut stack = AsyncExitStack::new();
            stack.callback(|| ());
            leaked.borrow_mut().push(stack);
            tokio::task::yield_now().await;
        },
        nothing,
    );
    let text = report.to_string();
    assert!(
        text.starts_with("1 of 1 await points leak\nat await point 0: "),
        "{text}"
    );
    assert!(text.contains("callback `callback` at "), "{text}");
    assert!(text.contains("main.rs:"), "{text}");
    let missed = std::panic::catch_unwind(assert_no_open);
    assert!(
        missed.is_err(),
        "what is open is seen by the thread's own check as well"
    );
}

#[test]
fn a_leaked_descriptor_and_a_leaked_task_are_counted() {
    let _alone = alone();
    let leaked = RefCell::new(Vec::new());
    let report = cancel_everywhere(
        || async {
            leaked.borrow_mut().push(File::open("/dev/null").unwrap());
            drop(tokio::spawn(std::future::pending::<()>()));
            tokio::task::yield_now().await;
        },
        nothing,
    );
    let text = report.to_string();
    assert!(text.contains("1 descriptors are still open"), "{text}");
    assert!(text.contains("1 tasks are still alive"), "{text}");
}

#[test]
#[should_panic(expected = "the scenario never waits")]
fn a_scenario_without_await_points_proves_nothing() {
    let _alone = alone();
    cancel_everywhere(|| async {}, nothing).assert_clean();
}
