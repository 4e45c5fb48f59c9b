//! What is left over is seen and named; what is closed is not.
//!
//! A process of its own: these tests have runtimes, and so descriptors, beside those of the kit.
#![allow(
    missing_docs,
    unused_results,
    clippy::disallowed_methods,
    clippy::unit_arg,
    clippy::unwrap_used,
    reason = "tests say what they check in their names"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use withal_core::nullcontext;
use withal_scope::AsyncExitStack;
use withal_testkit::{Descriptor, LeakCheck, alive_tasks, assert_no_open, open_descriptors};

#[tokio::test]
async fn what_is_open_is_named_until_it_is_closed() {
    let check = LeakCheck::of_this_thread();
    let mut stack = AsyncExitStack::new();
    drop(stack.enter_async_context(nullcontext(())).await.unwrap());
    let leaks = check.leaks();
    assert_eq!(leaks.open().len(), 2);
    assert!(!leaks.is_empty());
    let text = leaks.to_string();
    assert!(text.contains("resource `Nullcontext` at "), "{text}");
    assert!(text.contains("main.rs:"), "{text}");
    let failed = catch_unwind(AssertUnwindSafe(|| leaks.assert_none()));
    assert!(failed.is_err());
    stack.close().await.unwrap();
    drop(stack);
    assert!(check.leaks().open().is_empty());
    assert_no_open();
}

#[tokio::test]
async fn tasks_are_counted_from_the_start_of_the_check() {
    let older = tokio::spawn(std::future::pending::<()>());
    let check = LeakCheck::of_this_thread();
    assert_eq!(check.leaks().tasks(), 0);
    let task = tokio::spawn(std::future::pending::<()>());
    let leaks = check.settled().await;
    assert_eq!(leaks.tasks(), 1);
    assert!(
        leaks.to_string().contains("1 task is still alive"),
        "{leaks}"
    );
    assert_eq!(alive_tasks(), Some(2));
    task.abort();
    older.abort();
    assert_eq!(check.settled().await.tasks(), 0);
}

#[test]
fn outside_of_a_runtime_there_are_no_tasks_to_count() {
    assert_eq!(alive_tasks(), None);
}

#[tokio::test(start_paused = true)]
async fn a_teardown_in_the_background_is_waited_for() {
    let check = LeakCheck::of_this_thread();
    let deferred = withal_scope::scope(async |s| {
        s.defer(async |_| Ok(tokio::time::sleep(std::time::Duration::from_secs(6)).await));
        Ok(std::future::pending::<()>().await)
    });
    let timeout = std::time::Duration::from_secs(1);
    tokio::time::timeout(timeout, deferred).await.unwrap_err();
    assert!(!check.leaks().open().is_empty());
    let leaks = check.settled().await;
    assert!(leaks.open().is_empty(), "{leaks}");
    assert_eq!((leaks.tasks(), leaks.teardowns()), (0, 0), "{leaks}");
}

#[tokio::test]
async fn what_other_threads_open_counts_only_for_the_process() {
    let (thread, process) = (LeakCheck::of_this_thread(), LeakCheck::of_process());
    let opened = std::thread::spawn(|| {
        let mut stack = AsyncExitStack::new();
        stack.callback(|| ());
        stack
    });
    let mut stack = opened.join().unwrap();
    assert!(thread.leaks().open().is_empty());
    let line = line!() - 5;
    let leaks = process.leaks();
    let mut open = leaks.open().iter();
    let is_it = |open: &withal_scope::Open| open.location().line() == line;
    assert!(open.any(is_it), "line {line}: {leaks}");
    stack.close().await.unwrap();
}

#[test]
fn a_descriptor_is_named_with_its_target_until_it_is_closed() {
    let names_null = |check: &LeakCheck| {
        let leaks = check.leaks();
        let mut targets = leaks.descriptors().iter().map(Descriptor::target);
        targets.any(|target| target == "/dev/null")
    };
    let check = LeakCheck::of_this_thread();
    assert!(!names_null(&check));
    let file = std::fs::File::open("/dev/null").unwrap();
    assert!(names_null(&check));
    assert!(
        check
            .leaks()
            .to_string()
            .contains(" (/dev/null) is still open")
    );
    drop(file);
    assert!(!names_null(&check));
}

#[test]
fn descriptors_are_counted() {
    assert!(open_descriptors().is_none_or(|count| count >= 3));
}
