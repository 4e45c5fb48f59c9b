//! Resources a stack has lent out.

use withal_core::{ContextManager, ExitCase, ExitStack, Lent, NoticeKind, closing, with};

use crate::support::{
    Act, Oops, Plain, caught, check, fail, flow, log, noticing, oldest_first, oops, step, throw,
    trace,
};

#[test]
fn lent_resources_are_held_side_by_side_moved_and_changed() {
    let program = || {
        with(ExitStack::new(), |stack| {
            let close = |text: String| {
                log(format!("close {text}"));
                Ok::<(), Oops>(())
            };
            let mut first = stack.enter_context(closing(String::from("first"), close))?;
            let second = stack.enter_context(closing(String::from("second"), close))?;
            first.push_str(" and ");
            first.push_str(&second);
            let kept = [first, second];
            Ok(kept.iter().map(|lent| lent.len()).sum::<usize>())
        })
    };
    assert_eq!(
        check(program, &["close second", "close first and second"]).unwrap(),
        22
    );
}

#[test]
fn giving_back_early_does_not_exit_early() {
    let program = || {
        with(ExitStack::new(), |stack| {
            drop(stack.enter_context(step("a"))?);
            Ok(log("given back"))
        })
    };
    check(program, &["enter a", "given back", "exit a: succeeded"]).unwrap();
}

#[test]
fn close_exits_ahead_of_the_stack_and_only_once() {
    let program = || {
        with(ExitStack::new(), |stack| {
            let a = stack.enter_context(step("a"))?;
            let _b = stack.enter_context(step("b"))?;
            a.close()?;
            fail::<()>("body")
        })
    };
    let want = [
        "enter a",
        "enter b",
        "exit a: succeeded",
        "exit b: errored: body",
    ];
    check(program, &want).unwrap_err();
}

#[test]
fn what_is_left_after_many_were_closed_early_is_exited_in_reverse_order() {
    let program = || {
        let mut stack = ExitStack::new();
        for n in 0..100 {
            let kept = ["0", "40", "80"].into_iter().find(|k| k.parse() == Ok(n));
            let lent = stack.enter_context(step(kept.unwrap_or("closed"))).unwrap();
            if kept.is_none() {
                lent.close().unwrap();
            }
        }
        trace();
        assert_eq!(stack.len(), 3);
        stack.close()
    };
    let want = [
        "exit 80: succeeded",
        "exit 40: succeeded",
        "exit 0: succeeded",
    ];
    check(program, &want).unwrap();
}

#[test]
fn a_stack_with_nothing_due_is_empty_and_dropped_in_silence() {
    let ((), notices) = noticing(|| {
        let mut stack = ExitStack::new();
        let lent = stack.enter_context(step("a")).unwrap();
        lent.close().unwrap();
        assert!(stack.is_empty());
    });
    assert_eq!(notices, []);
    trace();
}

#[test]
fn close_gives_the_error_of_the_exit_and_lets_its_panic_through() {
    let mut stack = ExitStack::suppressing();
    let bad = stack
        .enter_context(step("a").exit(Act::Fail("exit")))
        .unwrap();
    assert_eq!(oldest_first(&bad.close().unwrap_err()), ["exit"]);
    let swallows = stack.enter_context(flow("b", Act::Suppress)).unwrap();
    swallows.close().unwrap();
    let panics = stack
        .enter_context(step("c").exit(Act::Panic("exit")))
        .unwrap();
    assert_eq!(caught(|| panics.close()), "exit");
    check(
        || stack.close(),
        &[
            "enter a",
            "exit a: succeeded",
            "enter b",
            "exit b: succeeded",
            "enter c",
            "exit c: succeeded",
        ][6..],
    )
    .unwrap();
}

/// The stack reports it and goes on with its other exits; the resource is still exited, once,
/// with the case its turn had.
#[test]
fn a_resource_that_outlives_its_stack_is_exited_when_it_is_given_back() {
    let program = || {
        let mut kept: Option<Lent<'_, Plain>> = None;
        let error = with(ExitStack::new(), |stack| {
            let _older = stack.enter_context(step("older"))?;
            kept = Some(stack.enter_context(step("kept").exit(Act::Fail("too late")))?);
            fail::<()>("body")
        })
        .unwrap_err();
        log(format!("left with {} failures", error.len()));
        assert_eq!(
            error.exits().next().unwrap().entry().unwrap().name(),
            "kept"
        );
        assert!(error.to_string().contains("still lent out"), "{error}");
        assert_eq!(kept.as_ref().unwrap().0.name, "kept");
        drop(kept);
    };
    let out = "its resource is still lent out; it is exited when that is dropped: drop it before \
               the stack is left";
    let older = format!("exit older: errored: {out} < body");
    let want = [
        "enter older",
        "enter kept",
        &older,
        "left with 2 failures",
        "exit kept: errored: body",
    ];
    let ((), notices) = check(|| noticing(program), &want);
    assert_eq!(notices.len(), 1);
    assert_eq!(notices[0].kind, NoticeKind::StillLent);
    assert_eq!(notices[0].entry.as_deref(), Some("kept"));
    assert_eq!(notices[0].texts, ["body", "too late"]);
}

/// A transaction must not commit because it is closed after its block has failed.
#[test]
fn closing_what_outlived_a_failed_stack_shows_it_that_failure() {
    let program = || {
        let mut kept = None;
        with(ExitStack::new(), |stack| {
            kept = Some(stack.enter_context(step("kept").exit(Act::Fail("added")))?);
            fail::<()>("body")
        })
        .unwrap_err();
        kept.unwrap().close().unwrap_err()
    };
    let added = check(program, &["enter kept", "exit kept: errored: body"]);
    assert_eq!(oldest_first(&added), ["added"]);
}

#[test]
fn a_resource_that_outlives_a_dropped_stack_is_exited_too() {
    let program = || {
        let mut stack = ExitStack::new();
        let lent = stack.enter_context(step("a")).unwrap();
        drop(stack);
        log("dropped");
        drop(lent);
    };
    let want = ["enter a", "dropped", "exit a: cancelled"];
    let ((), notices) = check(|| noticing(program), &want);
    let kinds: Vec<_> = notices.iter().map(|notice| notice.kind).collect();
    assert_eq!(kinds, [NoticeKind::NotClosed, NoticeKind::StillLent]);
}

#[test]
fn a_panic_in_an_overdue_exit_is_noticed_and_ends_there() {
    let program = || {
        let mut stack = ExitStack::new();
        let lent = stack
            .enter_context(step("a").exit(Act::Panic("overdue")))
            .unwrap();
        stack.close().unwrap_err();
        drop(lent);
    };
    let ((), notices) = noticing(program);
    assert_eq!(notices[0].texts, ["panicked: overdue"]);
    crate::support::trace();
}

#[test]
fn a_panic_in_the_body_gives_its_resources_back_before_they_are_exited() {
    let program = || {
        caught(|| {
            with(ExitStack::new(), |stack| {
                let _a = stack.enter_context(step("a"))?;
                let _b = stack.enter_context(step("b"))?;
                throw("body")
            })
            .map(|(): ()| ())
        })
    };
    let want = [
        "enter a",
        "enter b",
        "exit b: panicked: panicked: body",
        "exit a: panicked: panicked: body",
    ];
    assert_eq!(check(program, &want), "body");
}

/// A later entry may hold what an earlier one lent: it is exited first, and gives it back.
#[test]
fn an_entry_may_own_the_resource_of_an_older_entry() {
    struct Uses<'a>(Lent<'a, Plain>);
    impl<'a> ContextManager for Uses<'a> {
        type Resource = Lent<'a, Plain>;
        type Error = Oops;
        fn enter(self) -> Result<Lent<'a, Plain>, Oops> {
            Ok(self.0)
        }
        fn exit(lent: Lent<'a, Plain>, _: ExitCase) -> Result<(), Oops> {
            log(format!("done with {}", lent.0.name));
            Ok(())
        }
    }
    let program = || {
        with(ExitStack::new(), |stack| {
            let lent = stack.enter_context(step("a"))?;
            let mut user = stack.enter_context(Uses(lent))?;
            let _: &mut Plain = &mut user;
            Ok(())
        })
    };
    check(program, &["enter a", "done with a", "exit a: succeeded"]).unwrap();
}

#[test]
fn a_lent_resource_shows_itself() {
    let mut stack = ExitStack::new();
    let lent = stack.enter_context(withal_core::nullcontext(5)).unwrap();
    assert_eq!(format!("{lent:?}"), "Lent(Some(5))");
    assert_eq!(oops("x").to_string(), "x");
}
