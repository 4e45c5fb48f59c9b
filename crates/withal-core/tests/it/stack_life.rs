//! How a stack lives: registering while it is left, handing over, being dropped.

use withal_core::{
    ContextManager, Error, ExitCase, ExitStack, NoticeKind, StackHandle, closing, with,
};

use crate::support::{
    Act, Oops, Seen, caught, check, fail, log, noticing, oldest_first, oops, step, throw, told,
};

type Passes = Result<(), Oops>;

#[test]
fn what_an_exit_registers_runs_next() {
    let program = || {
        with(ExitStack::new(), |stack| {
            let handle = stack.handle();
            stack.callback(|| log("oldest"));
            stack.push(move |case| -> Passes {
                log(format!("registers: {}", told(&case)));
                let inner = handle.clone();
                handle.callback(move || {
                    log("registered first");
                    inner.callback(|| log("registered by what was registered"));
                });
                handle.push(|case| -> Passes {
                    Ok(log(format!("registered last: {}", told(&case))))
                });
                Err(oops("registering failed"))
            });
            Ok(())
        })
    };
    let want = [
        "registers: succeeded",
        "registered last: errored: registering failed",
        "registered first",
        "registered by what was registered",
        "oldest",
    ];
    check(program, &want).unwrap_err();
}

/// An exit that tries again until it succeeds, as an `ExitStack` in Python can.
#[test]
fn an_exit_may_register_itself_again() {
    fn retry(handle: StackHandle<'static>, left: u32) -> Passes {
        log(format!("{left} left"));
        if left > 0 {
            let again = handle.clone();
            handle.push(move |_| retry(again, left - 1));
        }
        Ok(())
    }
    let program = || {
        let mut stack = ExitStack::new();
        let handle = stack.handle();
        stack.push(move |_| retry(handle, 2));
        stack.close()
    };
    check(program, &["2 left", "1 left", "0 left"]).unwrap();
}

#[test]
fn a_manager_entered_by_an_exit_is_exited_before_the_older_ones() {
    let program = || {
        with(ExitStack::new(), |stack| {
            let handle = stack.handle();
            stack.callback(|| log("oldest"));
            stack.callback(move || handle.enter_context(step("late")).map(drop));
            Ok(())
        })
    };
    check(program, &["enter late", "exit late: succeeded", "oldest"]).unwrap();
}

#[test]
fn registering_on_a_stack_that_is_gone_runs_at_once() {
    let program = || {
        let stack = ExitStack::new();
        let handle = stack.handle();
        drop(stack);
        handle.callback(|| log("callback"));
        handle.push(|case| -> Passes { Ok(log(format!("exit: {}", told(&case)))) });
        let lent = handle.enter_context(step("a")).unwrap();
        log("held");
        drop(lent);
    };
    let want = [
        "callback",
        "exit: cancelled",
        "enter a",
        "held",
        "exit a: cancelled",
    ];
    let ((), notices) = check(|| noticing(program), &want);
    let said: Vec<_> = notices
        .iter()
        .map(|n| (n.kind, n.entry.as_deref()))
        .collect();
    let want = [
        (NoticeKind::StackGone, Some("callback")),
        (NoticeKind::StackGone, Some("exit function")),
        (NoticeKind::StackGone, Some("a")),
        (NoticeKind::StillLent, Some("a")),
    ];
    assert_eq!(said, want);
    assert!(notices.iter().all(|notice| notice.texts.is_empty()));
}

#[test]
fn what_fails_on_a_stack_that_is_gone_is_in_the_notice() {
    let ((), notices) = noticing(|| {
        let handle = ExitStack::new().handle();
        handle.callback(|| Err(oops("late")));
    });
    assert_eq!(notices[0].kind, NoticeKind::StackGone);
    assert_eq!(notices[0].texts, ["late"]);
}

#[test]
fn registering_while_a_dropped_stack_is_left_runs_at_once() {
    let program = || {
        let mut stack = ExitStack::new();
        let handle = stack.handle();
        stack.callback(|| log("oldest"));
        stack.callback(move || {
            log("newest");
            handle.callback(|| log("late"));
        });
    };
    check(|| noticing(program), &["newest", "late", "oldest"]);
}

#[test]
fn a_stack_dropped_unclosed_runs_its_exits_and_says_so() {
    let program = || {
        let mut stack = ExitStack::new();
        stack.push(|case| -> Passes { Ok(log(format!("outer: {}", told(&case)))) });
        stack.callback(|| Err(oops("inner")));
    };
    let ((), notices) = check(|| noticing(program), &["outer: cancelled"]);
    let [notice] = &notices[..] else {
        panic!("one notice, not {notices:?}")
    };
    assert_eq!(notice.kind, NoticeKind::NotClosed);
    assert_eq!(notice.entry.as_deref(), Some("callback"));
    assert_eq!(notice.texts, ["inner"]);
}

#[test]
fn an_empty_or_closed_stack_is_dropped_in_silence() {
    let program = || {
        drop(ExitStack::new());
        let mut stack = ExitStack::new();
        stack.callback(|| ());
        stack.close().unwrap();
    };
    assert_eq!(noticing(program).1, []);
}

#[test]
fn a_stack_dropped_by_a_panic_runs_its_exits_which_may_panic_themselves() {
    let program = || {
        caught(|| {
            let mut stack = ExitStack::new();
            stack.push(|case| -> Passes { Ok(log(format!("outer: {}", told(&case)))) });
            stack.push(|_| -> Passes { throw("in an exit") });
            throw("in the body");
        })
    };
    let want = ["outer: panicked: the thread is panicking"];
    let (panic, notices) = check(|| noticing(program), &want);
    assert_eq!(panic, "in the body");
    assert_eq!(notices[0].kind, NoticeKind::NotClosed);
    assert_eq!(notices[0].texts, ["panicked: in an exit"]);
}

/// The usual constructor: any failure unwinds all, success hands all over.
#[test]
fn pop_all_hands_over_what_a_constructor_acquired() {
    fn open(second: Act) -> Result<ExitStack<'static>, Error> {
        with(ExitStack::new(), |stack| {
            let _ = stack.enter_context(step("a"))?;
            let _ = stack.enter_context(step("b").enter(second))?;
            Ok(stack.pop_all())
        })
    }
    let ok = || open(Act::Pass).unwrap().close().unwrap();
    check(
        ok,
        &[
            "enter a",
            "enter b",
            "exit b: succeeded",
            "exit a: succeeded",
        ],
    );
    let failed = || open(Act::Fail("no")).unwrap_err();
    check(failed, &["enter a", "enter b", "exit a: errored: no"]);
}

#[test]
fn pop_all_leaves_a_stack_that_goes_on() {
    let program = || {
        let mut stack = ExitStack::new();
        stack.callback(|| log("moved"));
        let mut moved = stack.pop_all();
        stack.callback(|| log("stayed"));
        stack.close().unwrap();
        moved.close().unwrap();
    };
    check(program, &["stayed", "moved"]);
}

#[test]
fn a_handle_stays_with_its_stack_when_the_entries_move() {
    let program = || {
        let mut stack = ExitStack::new();
        let handle = stack.handle();
        stack.callback(|| log("moved"));
        let mut moved = stack.pop_all();
        handle.callback(|| log("by the handle"));
        assert_eq!((stack.len(), moved.len()), (1, 1));
        stack.close().unwrap();
        moved.close().unwrap();
    };
    check(program, &["by the handle", "moved"]);
}

#[test]
fn close_reports_once_and_the_second_call_finds_nothing() {
    let mut stack = ExitStack::new();
    stack.callback(|| Err(oops("a")));
    assert_eq!(oldest_first(&stack.close().unwrap_err()), ["a"]);
    stack.close().unwrap();
}

#[test]
fn close_with_gives_back_the_case_and_what_the_exits_added() {
    let program = || {
        let mut stack = ExitStack::new();
        stack.push(|case| -> Passes { Ok(log(told(&case))) });
        stack.callback(|| Err(oops("exit")));
        stack.close_with(ExitCase::Errored(Error::new(oops("body"))))
    };
    let error = check(program, &["errored: exit < body"]).unwrap_err();
    assert_eq!(oldest_first(&error), ["body", "exit"]);

    for case in [
        ExitCase::Cancelled,
        ExitCase::TimedOut,
        ExitCase::Signalled(15),
    ] {
        let told_before = told(&case);
        let program = || {
            let mut stack = ExitStack::suppressing();
            stack.push(|case| -> Passes { Ok(log(told(&case))) });
            let _ = stack.enter_context(crate::support::flow("cannot swallow it", Act::Suppress));
            stack.close_with(case)
        };
        let exit = format!("exit cannot swallow it: {told_before}");
        check(program, &["enter cannot swallow it", &exit, &told_before]).unwrap();
    }
}

#[test]
fn a_panic_told_by_close_with_does_not_hide_a_panic_of_an_exit() {
    let mut stack = ExitStack::new();
    stack.push(|_| -> Passes { throw("in an exit") });
    let case = ExitCase::Panicked(Error::new(oops("before")));
    assert_eq!(caught(|| stack.close_with(case)), "in an exit");
}

#[test]
fn a_stack_is_a_manager_and_may_stand_in_a_tuple() {
    let program = || {
        with((step("a"), ExitStack::new(), step("b")), |(_, stack, _)| {
            let _ = stack.enter_context(step("c"))?;
            fail::<()>("body")
        })
    };
    let want = [
        "enter a",
        "enter b",
        "enter c",
        "exit b: errored: body",
        "exit c: errored: body",
        "exit a: errored: body",
    ];
    check(program, &want).unwrap_err();
}

/// Stacks may borrow from around them, and from one another's neighbours.
#[test]
fn exits_may_borrow_what_outlives_the_stack() {
    let log = std::cell::RefCell::new(Vec::new());
    let name = String::from("borrowed");
    with(ExitStack::new(), |stack| {
        stack.callback(|| log.borrow_mut().push(name.as_str()));
        stack.enter_context(closing(&log, |log| {
            Ok::<(), Oops>(log.borrow_mut().push("closed"))
        }))?;
        Ok(())
    })
    .unwrap();
    assert_eq!(log.into_inner(), ["closed", "borrowed"]);
}

#[test]
fn a_stack_shows_its_entries() {
    let mut stack = ExitStack::new();
    let _ = stack.enter_context(step("a"));
    stack.callback(|| ());
    let shown = format!("{stack:?}");
    assert!(
        shown.starts_with("[\"`a` at ") && shown.contains("`callback` at "),
        "{shown}"
    );
    stack.close().unwrap();
    assert_eq!(format!("{stack:?}"), "[]");
    crate::support::trace();
}

#[test]
fn the_protocol_called_by_hand_answers_with_what_was_added() {
    let entered = ExitStack::new().enter().unwrap();
    let mut stack = entered;
    stack.callback(|| Err(oops("added")));
    let case = ExitCase::Errored(Error::new(oops("body")));
    let added = ExitStack::exit(stack, case).unwrap_err();
    assert_eq!(oldest_first(&added), ["added"]);
    let _: Vec<Seen> = noticing(|| ()).1;
}
