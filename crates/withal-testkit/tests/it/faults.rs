//! Planned faults, and scenarios that do not stand them.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use withal_core::{
    AsyncContextManager, BoxError, ContextManager, ExitCase, ExitStack, closing, suppress, with,
};
use withal_scope::{AsyncExitStack, async_with, scope};
use withal_testkit::{Fault, FaultReport, Faulty, Injected, Plan, Step, faults};

/// The report has `breaches` breaches, the first of which reads `first`.
#[track_caller]
fn check(report: &FaultReport, first: &str) {
    let text = report.to_string();
    let line = text.lines().nth(1).unwrap_or_default();
    assert!(line.starts_with(first), "{text}");
    let failed = catch_unwind(AssertUnwindSafe(|| report.assert_clean()));
    assert!(failed.is_err(), "{text}");
}

#[test]
fn blocks_of_every_form_stand_every_plan() {
    let two = faults().managers(2);
    let nested = two.check(|plan: Plan| async move {
        async_with(plan.manager(0), async |_| {
            async_with(plan.manager(1), async |_| Ok(plan.body().await?)).await?;
            Ok(())
        })
        .await
    });
    nested.assert_clean();
    assert_eq!(nested.plans(), 1_024);
    // A tuple is one manager to its block, and is given up as one.
    let tuple = two.clone().without(Fault::Hang).check(|plan| async move {
        let managers = (plan.manager(0), plan.manager(1));
        async_with(managers, async |_| Ok(plan.body().await?)).await
    });
    tuple.assert_clean();
    let stack = two.check(|plan: Plan| async move {
        async_with(AsyncExitStack::new(), async |stack| {
            let _outer = stack.enter_async_context(plan.manager(0)).await?;
            let _inner = stack.enter_async_context(plan.manager(1)).await?;
            Ok(plan.body().await?)
        })
        .await
    });
    stack.assert_clean();
}

#[test]
fn sync_blocks_and_stacks_stand_every_plan() {
    let two = faults().managers(2);
    let nested = two.check_sync(|plan| {
        with(plan.manager(0), |_| {
            with(plan.manager(1), |_| Ok(plan.body_sync()?))?;
            Ok(())
        })
    });
    nested.assert_clean();
    assert_eq!(nested.plans(), 3_usize.pow(5));
    let stack = two.check_sync(|plan| {
        with(ExitStack::new(), |stack| {
            let _outer = stack.enter_context(plan.manager(0))?;
            let _inner = stack.enter_context(plan.manager(1))?;
            Ok(plan.body_sync()?)
        })
    });
    stack.assert_clean();
}

#[test]
fn an_exit_that_is_forgotten_is_reported() {
    // Written by hand: the body's `?` skips the exit.
    let report = faults().check_sync(|plan| {
        let resource = ContextManager::enter(plan.manager(0))?;
        plan.body_sync()?;
        <Faulty as ContextManager>::exit(resource, ExitCase::Succeeded)
    });
    check(
        &report,
        "with error in the body: manager 0 was entered and never exited",
    );
}

#[test]
fn an_async_exit_that_is_forgotten_is_reported() {
    let report = faults().check(|plan| async move {
        let resource = AsyncContextManager::enter(plan.manager(0)).await?;
        plan.body().await?;
        <Faulty as AsyncContextManager>::exit(resource, ExitCase::Succeeded).await
    });
    check(
        &report,
        "with error in the body: manager 0 was entered and never exited",
    );
    let text = report.to_string();
    assert!(text.contains("with hang in the body: manager 0"), "{text}");
}

#[test]
fn exits_in_the_order_of_enters_are_reported() {
    let report = faults().managers(2).check_sync(|plan| {
        let first = ContextManager::enter(plan.manager(0))?;
        let second = ContextManager::enter(plan.manager(1))?;
        <Faulty as ContextManager>::exit(first, ExitCase::Succeeded)?;
        <Faulty as ContextManager>::exit(second, ExitCase::Succeeded)
    });
    let text = report.to_string();
    let swapped =
        "with no fault: manager 0 was exited before manager 1, which was entered after it";
    assert!(text.contains(swapped), "{text}");
    assert!(text.ends_with("more"), "{text}");
}

#[test]
fn an_error_that_is_swallowed_is_reported_unless_it_may_be() {
    let swallowing = |plan: Plan| {
        let ended = with(plan.manager(0), |_| Ok(plan.body_sync()?));
        Ok::<_, Infallible>(drop(ended))
    };
    let report = faults().check_sync(swallowing);
    check(
        &report,
        "with error in the enter of manager 0: the error injected into the enter of manager 0",
    );
    faults()
        .may_suppress()
        .check_sync(swallowing)
        .assert_clean();
}

#[test]
fn an_error_that_an_exit_takes_the_place_of_is_reported() {
    let report = faults().check_sync(|plan| {
        let resource = ContextManager::enter(plan.manager(0))?;
        let body = plan.body_sync();
        <Faulty as ContextManager>::exit(resource, ExitCase::Succeeded)?;
        Ok::<_, BoxError>(body?)
    });
    let text = report.to_string();
    let lost = "with error in the body, error in the exit of manager 0: the error injected into \
                the body";
    assert!(text.contains(lost), "{text}");
}

#[test]
fn a_panic_that_is_swallowed_is_reported() {
    let report = faults().check_sync(|plan| {
        let block = || with(plan.manager(0), |_| Ok(plan.body_sync()?));
        catch_unwind(AssertUnwindSafe(block)).unwrap_or(Ok(()))
    });
    check(
        &report,
        "with panic in the enter of manager 0: the panic injected into the enter of manager 0",
    );
}

#[test]
fn a_scenario_that_panics_by_itself_is_reported() {
    let report = faults().check_sync(|plan| {
        let ended = with(plan.manager(0), |_| Ok(plan.body_sync()?));
        if ended.is_err() {
            std::panic::resume_unwind(Box::new("oh"));
        }
        ended
    });
    let text = report.to_string();
    assert!(
        text.contains("with error in the body: it panicked by itself: oh"),
        "{text}"
    );
}

#[test]
fn a_scenario_that_leaves_something_open_is_reported() {
    let report = faults().without(Fault::Hang).check(|plan| async move {
        let mut stack = AsyncExitStack::new();
        drop(stack.enter_async_context(plan.manager(0)).await?);
        plan.body().await?;
        stack.close().await?;
        drop(tokio::spawn(std::future::pending::<()>()));
        Ok::<_, BoxError>(())
    });
    check(&report, "with no fault: 1 task is still alive");
}

#[test]
fn a_scenario_that_hangs_by_itself_is_reported() {
    let report = faults().without(Fault::Hang).check(|plan| async move {
        let block = async_with(plan.manager(0), async |_| Ok(plan.body().await?));
        if block.await.is_err() {
            std::future::pending::<()>().await;
        }
        Ok::<_, BoxError>(())
    });
    let text = report.to_string();
    assert!(
        text.contains("with error in the body: it hangs by itself"),
        "{text}"
    );
}

#[test]
fn a_plan_that_is_not_used_proves_nothing() {
    let report = faults().check_sync(|_| Ok::<_, Infallible>(()));
    check(
        &report,
        "with no fault: manager 0 of the plan was never entered",
    );
    let report = faults().check_sync(|plan| with(plan.manager(0), |_| Ok(())));
    check(&report, "with no fault: the body of the plan never ran");
}

#[test]
fn a_manager_under_test_gets_faults_of_its_own() {
    let closed = std::cell::Cell::new(0_u32);
    let report = faults().check_sync(|plan| {
        let before = closed.get();
        let manager = closing("resource", |_| {
            closed.set(closed.get() + 1);
            Ok::<_, Infallible>(())
        });
        let ended = with(plan.wrap(0, manager), |resource| {
            assert_eq!(resource.len(), 8);
            Ok(plan.body_sync()?)
        });
        let entered = plan.fault(Step::Enter(0)) == Fault::None;
        assert_eq!(closed.get() - before, u32::from(entered));
        ended
    });
    report.assert_clean();
    assert!(closed.get() >= 6, "it is closed whenever it was entered");
}

#[test]
fn managers_that_may_swallow_are_wrapped_as_what_they_are() {
    let report = faults().may_suppress().check_sync(|plan| {
        let swallow = suppress::<Injected>();
        with(plan.wrap(0, swallow), |_| Ok(plan.body_sync()?)).map(drop)
    });
    report.assert_clean();
}

#[test]
fn plans_can_be_driven_by_hand() {
    let plans = faults().without(Fault::Hang).plans();
    assert_eq!(plans.len(), 27);
    let texts: Vec<String> = plans.map(|plan| plan.to_string()).collect();
    assert_eq!(texts[0], "no fault");
    assert_eq!(
        texts[26],
        "panic in the enter of manager 0, panic in the body, panic in the exit of manager 0"
    );
}

#[test]
fn an_injected_failure_names_its_step() {
    let plan = faults()
        .plans()
        .find(|plan| plan.fault(Step::Body) == Fault::Error);
    let error = plan.unwrap().body_sync().unwrap_err();
    assert_eq!(error.step(), Step::Body);
    assert!(
        error
            .to_string()
            .starts_with("injected into the body (run #")
    );
}

#[test]
#[should_panic(expected = "manager 1 of a plan for 1")]
fn a_manager_too_many_is_refused() {
    faults()
        .check_sync(|plan| with(plan.manager(1), |_| Ok(())))
        .assert_clean();
}

#[test]
fn a_scope_stands_every_plan_beside_a_deadline() {
    let report = faults().managers(2).check(|plan: Plan| async move {
        scope(async |s| {
            let _outer = s.enter(plan.manager(0)).await?;
            let _inner = s.enter(plan.manager(1)).await?;
            Ok(plan.body().await?)
        })
        .await
    });
    report.assert_clean();
}
