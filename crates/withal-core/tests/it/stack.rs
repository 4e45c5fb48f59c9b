//! Rows 46–66: the exit stack.

use std::convert::Infallible;

use withal_core::{BoxError, Error, ExitCase, ExitStack, Flow, with};

use crate::support::{
    Act, Oops, check, fail, flow, log, newest_first, oldest_first, oops, step, told, trace,
};

/// An exit function that logs what it is told and answers with what `answer` makes.
fn exit<V>(
    name: &'static str,
    answer: impl FnOnce(ExitCase) -> Result<V, Oops>,
) -> impl FnOnce(ExitCase) -> Result<V, Oops> {
    move |case| {
        log(format!("{name}: {}", told(&case)));
        answer(case)
    }
}

/// An exit function that fails with `text`.
fn raise(text: &'static str) -> impl FnOnce(ExitCase) -> Result<(), Oops> {
    exit(text, move |_| Err(oops(text)))
}

fn pass(name: &'static str) -> impl FnOnce(ExitCase) -> Result<(), Oops> {
    exit(name, |_| Ok(()))
}

fn swallow(name: &'static str) -> impl FnOnce(ExitCase) -> Result<Flow, Oops> {
    exit(name, |_| Ok(Flow::Suppress))
}

#[test]
fn c046_no_resources() {
    assert_eq!(with(ExitStack::new(), |stack| Ok(stack.len())).unwrap(), 0);
}

#[test]
fn c047_callback() {
    fn logged(args: &[u32], kwds: &[(&str, u32)]) {
        log(format!("{args:?} {kwds:?}"));
    }
    let program = || {
        with(ExitStack::new(), |stack| {
            stack.callback(|| logged(&[], &[]));
            stack.callback(|| logged(&[1], &[]));
            stack.callback(|| logged(&[1, 2], &[]));
            stack.callback(|| logged(&[], &[("example", 1)]));
            stack.callback(|| logged(&[1], &[("example", 1)]));
            stack.callback(|| logged(&[1, 2], &[("example", 1)]));
            let by_name = || logged(&[1, 2], &[("self", 3), ("callback", 4)]);
            stack.callback(by_name);
            by_name(); // registering a function does not take it away
            Ok(assert_eq!(stack.len(), 7))
        })
    };
    let want = [
        r#"[1, 2] [("self", 3), ("callback", 4)]"#,
        r#"[1, 2] [("self", 3), ("callback", 4)]"#,
        r#"[1, 2] [("example", 1)]"#,
        r#"[1] [("example", 1)]"#,
        r#"[] [("example", 1)]"#,
        "[1, 2] []",
        "[1] []",
        "[] []",
    ];
    check(program, &want).unwrap();
}

/// The three newest see the body's error, one of them swallows it, the two outer see none.
#[test]
fn c048_push() {
    let program = || {
        with(ExitStack::suppressing(), |stack| {
            stack.push(pass("outermost"));
            stack.push(pass("outer"));
            stack.push(swallow("swallows"));
            stack.push(pass("inner"));
            stack.push(pass("innermost"));
            fail::<()>("body")
        })
    };
    let want = [
        "innermost: errored: body",
        "inner: errored: body",
        "swallows: errored: body",
        "outer: succeeded",
        "outermost: succeeded",
    ];
    assert_eq!(check(program, &want).unwrap(), None);
}

#[test]
fn c049_enter_context() {
    let program = || {
        with(ExitStack::new(), |stack| {
            stack.callback(|| log("4"));
            let lent = stack.enter_context(step("1"))?;
            log("2");
            Ok(assert_eq!(lent.0.name, "1"))
        })
    };
    check(program, &["enter 1", "2", "exit 1: succeeded", "4"]).unwrap();
}

#[test]
fn c050_enter_context_errors() {
    let program = || {
        let mut stack = ExitStack::new();
        let error = stack
            .enter_context(step("a").enter(Act::Fail("no")))
            .unwrap_err();
        assert_eq!(error.to_string(), "no");
        assert!(stack.is_empty());
        let panicked = crate::support::caught(|| {
            stack
                .enter_context(step("a").enter(Act::Panic("no")))
                .map(drop)
        });
        assert_eq!(panicked, "no");
        assert!(stack.is_empty());
    };
    check(program, &["enter a", "enter a"]);
}

#[test]
fn c051_close() {
    let program = || {
        with(ExitStack::new(), |stack| {
            stack.callback(|| log("callback"));
            log("before");
            stack.close()?;
            log("after");
            stack.close()?;
            stack.callback(|| log("the stack can be used again"));
            Ok(())
        })
    };
    check(
        program,
        &["before", "callback", "after", "the stack can be used again"],
    )
    .unwrap();
}

#[test]
fn c052_pop_all() {
    let program = || {
        let mut moved = with(ExitStack::new(), |stack| {
            stack.callback(|| log("first"));
            stack.callback(|| log("second"));
            let moved = stack.pop_all();
            assert_eq!((stack.len(), moved.len()), (0, 2));
            Ok(moved)
        })
        .unwrap();
        log("out of the block");
        moved.close().unwrap();
    };
    check(program, &["out of the block", "second", "first"]);
}

#[test]
fn c053_exit_raise() {
    let program = || {
        with(ExitStack::new(), |stack| {
            stack.push(pass("exit"));
            fail::<()>("body")
        })
    };
    let error = check(program, &["exit: errored: body"]).unwrap_err();
    assert_eq!(error.downcast::<Oops>().unwrap(), oops("body"));
}

#[test]
fn c054_exit_suppress() {
    let ran = with(ExitStack::suppressing(), |stack| {
        stack.push(|_| Ok::<_, Infallible>(Flow::Suppress));
        fail::<()>("body")
    });
    assert_eq!(ran.unwrap(), None);
}

#[test]
fn c055_exit_exception_traceback() {
    let here = line!() + 2;
    let ran = with(ExitStack::new(), |stack| {
        stack.callback(|| Err(oops("callback")));
        fail::<()>("body")
    });
    let error = ran.unwrap_err();
    assert_eq!(newest_first(&error), ["callback", "body"]);
    let entry = error.exits().next().unwrap().entry().unwrap();
    assert_eq!((entry.name(), entry.location().line()), ("callback", here));
    assert!(entry.location().file().ends_with("stack.rs"));
}

/// What `c056` and `c057` must both leave.
const CHAIN: [&str; 10] = [
    "enter raises last",
    "enter swallows",
    "enter raises more",
    "enter raises",
    "enter raises first",
    "exit raises first: errored: 1/0",
    "exit raises: errored: index < 1/0",
    "exit raises more: errored: key < index < 1/0",
    "exit swallows: errored: attribute < key < index < 1/0",
    "exit raises last: succeeded",
];

#[test]
fn c056_chaining_reference() {
    let program = || {
        with(step("raises last").exit(Act::Fail("last")), |_| {
            Ok(with(flow("swallows", Act::Suppress), |_| {
                Ok(with(
                    step("raises more").exit(Act::Fail("attribute")),
                    |_| {
                        Ok(with(step("raises").exit(Act::Fail("key")), |_| {
                            Ok(with(step("raises first").exit(Act::Fail("index")), |_| {
                                fail::<()>("1/0")
                            })?)
                        })?)
                    },
                )?)
            })?)
        })
    };
    let error = check(program, &CHAIN).unwrap_err();
    assert_eq!(newest_first(&error), ["last"]);
}

#[test]
fn c057_chaining() {
    let program = || {
        with(ExitStack::suppressing(), |stack| {
            drop(stack.enter_context(step("raises last").exit(Act::Fail("last")))?);
            drop(stack.enter_context(flow("swallows", Act::Suppress))?);
            drop(stack.enter_context(step("raises more").exit(Act::Fail("attribute")))?);
            drop(stack.enter_context(step("raises").exit(Act::Fail("key")))?);
            drop(stack.enter_context(step("raises first").exit(Act::Fail("index")))?);
            fail::<()>("1/0")
        })
    };
    let error = check(program, &CHAIN).unwrap_err();
    assert_eq!(newest_first(&error), ["last"]);
}

/// Python clears a context on purpose with `raise … from None`; here an exit answers `Replace`.
#[test]
fn c058_explicit_none_context() {
    let nested = || with(flow("a", Act::Replace("instead")), |_| fail::<()>("body"));
    let stacked = || {
        with(ExitStack::suppressing(), |stack| {
            drop(stack.enter_context(flow("a", Act::Replace("instead")))?);
            fail::<()>("body")
        })
    };
    let want = ["enter a", "exit a: errored: body"];
    assert_eq!(
        newest_first(&check(nested, &want).unwrap_err()),
        ["instead"]
    );
    assert_eq!(
        newest_first(&check(stacked, &want).unwrap_err()),
        ["instead"]
    );
}

#[test]
fn c059_non_suppressing() {
    let program = || {
        with(ExitStack::new(), |stack| {
            stack.push(pass("outer"));
            stack.push(raise("inner"));
            Ok(())
        })
    };
    let error = check(program, &["inner: succeeded", "outer: errored: inner"]).unwrap_err();
    assert_eq!(oldest_first(&error), ["inner"]);

    let program = || {
        with(ExitStack::suppressing(), |stack| {
            stack.push(raise("outer"));
            stack.push(swallow("swallows"));
            stack.push(raise("inner"));
            Ok(())
        })
    };
    let want = [
        "inner: succeeded",
        "swallows: errored: inner",
        "outer: succeeded",
    ];
    assert_eq!(oldest_first(&check(program, &want).unwrap_err()), ["outer"]);
}

#[test]
fn c060_with_correct_context() {
    use withal_core::{Yielder, contextmanager};
    let raising = |text: &'static str| {
        contextmanager(async move |y: Yielder<'_, ()>| {
            let ((), case, _done) = y.give(()).await;
            log(format!("{text}: {}", told(&case)));
            Err::<_, Oops>(oops(text))
        })
    };
    let program = || {
        with(ExitStack::new(), |stack| {
            for text in ["4", "3", "2"] {
                drop(stack.enter_context(raising(text))?);
            }
            fail::<()>("1")
        })
    };
    let want = [
        "2: errored: 1",
        "3: errored: 2 < 1",
        "4: errored: 3 < 2 < 1",
    ];
    assert_eq!(
        newest_first(&check(program, &want).unwrap_err()),
        ["4", "3", "2", "1"]
    );
}

/// Callbacks raise errors that have a cause of their own: causes stay below their error, and are
/// no failures of the block.
#[test]
fn c061_with_existing_context() {
    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Caused(&'static str, #[source] Oops);

    let program = || {
        with(ExitStack::new(), |stack| {
            stack.callback(|| Err(Caused("5", oops("4"))));
            stack.callback(|| Err(Caused("3", oops("2"))));
            fail::<()>("1")
        })
    };
    let error = program().unwrap_err();
    assert_eq!(newest_first(&error), ["5", "3", "1"]);
    let causes: Vec<_> = error
        .newest_first()
        .filter_map(|f| f.error().source())
        .collect();
    assert_eq!(
        causes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["4", "2"]
    );
    let lines = error.report().to_string();
    let lines: Vec<_> = lines
        .lines()
        .map(|line| line.split(" at ").next().unwrap())
        .collect();
    let (callback, two, four) = ("exit of `callback`", "    caused by: 2", "    caused by: 4");
    assert_eq!(lines, ["1", callback, two, callback, four]);
}

#[test]
fn c062_body_exception_suppress() {
    let program = || {
        with(ExitStack::suppressing(), |stack| {
            stack.push(swallow("exit"));
            fail::<()>("body")
        })
    };
    assert_eq!(check(program, &["exit: errored: body"]).unwrap(), None);
}

#[test]
fn c063_chaining_suppress() {
    let program = || {
        with(ExitStack::suppressing(), |stack| {
            stack.push(swallow("swallows"));
            stack.push(raise("second"));
            stack.push(raise("first"));
            fail::<()>("body")
        })
    };
    let want = [
        "first: errored: body",
        "second: errored: first < body",
        "swallows: errored: second < first < body",
    ];
    assert_eq!(check(program, &want).unwrap(), None);
}

#[test]
fn c064_excessive_nesting() {
    let count = std::cell::Cell::new(0);
    with(ExitStack::new(), |stack| {
        for _ in 0..10_000 {
            stack.callback(|| count.set(count.get() + 1));
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(count.get(), 10_000);
}

#[test]
fn c066_dont_reraise_runtime_error() {
    #[derive(Debug, thiserror::Error)]
    #[error("wrapped")]
    struct Wrapped(#[source] BoxError);

    let program = || {
        with(ExitStack::new(), |stack| {
            stack.push(|case: ExitCase| -> Result<(), _> {
                Err(Wrapped(case.error().unwrap().clone().into()))
            });
            stack
                .push(|case: ExitCase| -> Result<(), Error> { Err(case.error().unwrap().clone()) });
            fail::<()>("body")
        })
    };
    let error = program().unwrap_err();
    assert_eq!(newest_first(&error), ["wrapped", "body"]);
    assert_eq!(error.report().to_string().matches("body").count(), 2); // once on its own, once as the cause
}

/// The stack's answer is the nested answer even where CPython's stack loses errors (gh-102201).
#[test]
fn failures_of_exits_after_a_clean_body_are_all_kept() {
    let program = || {
        with(ExitStack::new(), |stack| {
            for text in ["a", "b", "c"] {
                stack.push(raise(text));
            }
            Ok(())
        })
    };
    let want = ["c: succeeded", "b: errored: c", "a: errored: b < c"];
    assert_eq!(
        newest_first(&check(program, &want).unwrap_err()),
        ["a", "b", "c"]
    );
}

#[test]
fn an_early_question_mark_leaves_the_stack_with_what_was_entered_so_far() {
    let program = || {
        with(ExitStack::new(), |stack| {
            let _a = stack.enter_context(step("a"))?;
            let _b = stack.enter_context(step("b").enter(Act::Fail("no")))?;
            let _c = stack.enter_context(step("c"))?;
            Ok(())
        })
    };
    let error = check(program, &["enter a", "enter b", "exit a: errored: no"]).unwrap_err();
    assert_eq!(oldest_first(&error), ["no"]);
    trace();
}
