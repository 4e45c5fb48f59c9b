//! Rows W3–W19: the statement itself.

use withal_core::{ContextManager, Error, ExitCase, ExitStack, Stage, nullcontext, with};

use crate::support::{
    Act, Oops, check, fail, flow, log, newest_first, noticing, oldest_first, oops, step, trace,
};

#[test]
fn w03_enter_raises() {
    let program = || with(step("a").enter(Act::Fail("no")), |_| Ok(log("body")));
    let error = check(program, &["enter a"]).unwrap_err();
    assert_eq!(error.first().stage(), Stage::Enter);
    assert_eq!(error.first().entry().unwrap().name(), "a");
    assert_eq!(error.body().map(ToString::to_string), None);
}

#[test]
fn w04_exit_raises_after_a_clean_body() {
    let error = with(step("a").exit(Act::Fail("exit")), |_| Ok(1)).unwrap_err();
    assert_eq!((error.first().stage(), error.len()), (Stage::Exit, 1));
    trace();
}

#[test]
fn w05_once_each_and_inner_before_outer() {
    let program = || with(step("a"), |_| Ok(with(step("b"), |_| Ok(log("body")))?));
    let want = [
        "enter a",
        "enter b",
        "body",
        "exit b: succeeded",
        "exit a: succeeded",
    ];
    check(program, &want).unwrap();
}

#[test]
fn w06_several_managers() {
    let names = |lent: &mut [crate::support::Plain; 3]| lent.map(|step| step.0.name);
    let all = [step("a"), step("b"), step("c")];
    let entered = ["enter a", "enter b", "enter c"];
    let exited = [
        "exit c: succeeded",
        "exit b: succeeded",
        "exit a: succeeded",
    ];
    let want = [entered, exited].concat();
    assert_eq!(
        check(|| with(all, |lent| Ok(names(lent))), &want).unwrap(),
        ["a", "b", "c"]
    );

    let [a, b, c] = all;
    let tuple = || with((a, b, c), |(a, b, c)| Ok(names(&mut [*a, *b, *c])));
    assert_eq!(check(tuple, &want).unwrap(), ["a", "b", "c"]);

    let none: [crate::support::Plain; 0] = [];
    assert_eq!(with(none, |_| Ok(7)).unwrap(), 7);
    let eight = || {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(step);
        with((a, b, c, d, a, b, c, d), |_| Ok(()))
    };
    eight().unwrap();
    assert_eq!(trace().len(), 16);
}

#[test]
fn w07_exit_gets_the_error_itself() {
    struct Looks;
    impl ContextManager for Looks {
        type Resource = ();
        type Error = Oops;
        fn enter(self) -> Result<(), Oops> {
            Ok(())
        }
        fn exit((): (), case: ExitCase) -> Result<(), Oops> {
            let ExitCase::Errored(error) = &case else {
                panic!("the body failed, but the exit was told {case:?}")
            };
            assert_eq!(error.first().stage(), Stage::Body);
            log(format!("saw {:?}", error.downcast_ref::<Oops>().unwrap()));
            Ok(())
        }
    }
    check(
        || with(Looks, |()| fail::<()>("body")),
        &["saw Oops(\"body\")"],
    )
    .unwrap_err();
}

#[test]
fn w08_both_exits_see_it() {
    let want = [
        "enter a",
        "enter b",
        "exit b: errored: body",
        "exit a: errored: body",
    ];
    let nested = || with(step("a"), |_| Ok(with(step("b"), |_| fail::<()>("body"))?));
    check(nested, &want).unwrap_err();
    check(
        || with((step("a"), step("b")), |_| fail::<()>("body")),
        &want,
    )
    .unwrap_err();
}

#[test]
fn w09_error_before_the_inner_block() {
    let program = || {
        with(step("a"), |_| {
            fail::<()>("between")?;
            Ok(with(step("b"), |_| Ok(()))?)
        })
    };
    check(program, &["enter a", "exit a: errored: between"]).unwrap_err();
}

#[test]
fn w10_error_after_the_inner_block() {
    let program = || {
        with(step("a"), |_| {
            with(step("b"), |_| Ok(()))?;
            fail::<()>("after")
        })
    };
    let want = [
        "enter a",
        "enter b",
        "exit b: succeeded",
        "exit a: errored: after",
    ];
    check(program, &want).unwrap_err();
}

/// `return`, `?`, and a `break` or `continue` of a loop inside the body. A `break` out of a loop
/// around the block is a value: the body returns it.
#[test]
fn w13_early_leave() {
    fn leaves_early() -> Result<u32, Error> {
        with(step("a"), |_| {
            if trace().len() == 1 {
                return Ok(5);
            }
            log("skipped");
            Ok(6)
        })
    }
    assert_eq!(check(leaves_early, &["exit a: succeeded"]).unwrap(), 5);

    let looped = || {
        use std::ops::ControlFlow::{self, Break, Continue};
        for n in 0.. {
            let flow = with(step("a"), |_| -> Result<ControlFlow<u32>, _> {
                if n < 1 {
                    return Ok(Continue(()));
                }
                Ok(Break(n))
            });
            if let Break(n) = flow? {
                return Ok::<_, Error>(n);
            }
        }
        unreachable!("the loop ends by `Break`")
    };
    let one = ["enter a", "exit a: succeeded"];
    assert_eq!(check(looped, &[one, one].concat()).unwrap(), 1);

    let question = || with(step("a"), |_| Ok("x".parse::<u32>()?));
    check(
        question,
        &["enter a", "exit a: errored: invalid digit found in string"],
    )
    .unwrap_err();
}

#[test]
fn w14_patterns() {
    use withal_core::nullcontext as lend;
    struct Point {
        x: u32,
        y: u32,
    }
    let sum = with(
        (lend((1, [2, 3])), lend(Point { x: 4, y: 5 })),
        |((a, [b, c]), Point { x, y })| Ok(*a + *b + *c + *x + *y),
    );
    assert_eq!(sum.unwrap(), 15);
    assert_eq!(with(lend(1), |&mut one| Ok(one)).unwrap(), 1);
}

#[test]
fn w15_swallows_or_not() {
    let program = |act| move || with(flow("a", act), |_| fail::<u32>("body"));
    let want = ["enter a", "exit a: errored: body"];
    assert_eq!(check(program(Act::Suppress), &want).unwrap(), None);
    assert_eq!(
        newest_first(&check(program(Act::Pass), &want).unwrap_err()),
        ["body"]
    );
    let clean = || with(flow("a", Act::Suppress), |_| Ok(1));
    assert_eq!(
        check(clean, &["enter a", "exit a: succeeded"]).unwrap(),
        Some(1)
    );
}

#[test]
fn w16_second_enter_fails() {
    let bad = step("b").enter(Act::Fail("no"));
    let want = ["enter a", "enter b", "exit a: errored: no"];
    let tuple = || with((step("a"), bad, step("c")), |_| Ok(log("body")));
    let error = check(tuple, &want).unwrap_err();
    assert_eq!(
        (error.len(), error.first().entry().unwrap().name()),
        (1, "b")
    );
    check(|| with([step("a"), bad], |_| Ok(log("body"))), &want).unwrap_err();
}

#[test]
fn w17_outer_swallows_what_the_inner_exit_raised() {
    let program = || {
        with(flow("a", Act::Suppress), |_| {
            Ok(with(step("b").exit(Act::Fail("exit b")), |_| Ok(1))?)
        })
    };
    let want = [
        "enter a",
        "enter b",
        "exit b: succeeded",
        "exit a: errored: exit b",
    ];
    assert_eq!(check(program, &want).unwrap(), None);
}

#[test]
fn w19_the_error_names_the_manager_that_failed_and_its_place() {
    let here = line!();
    let enter = || with(step("a").enter(Act::Fail("x")), |_| Ok(()));
    let exit = || with(step("b").exit(Act::Fail("x")), |_| Ok(()));
    let tuple = || with((step("c"), step("d").enter(Act::Fail("x"))), |_| Ok(()));
    let array = || with([step("e").enter(Act::Fail("x"))], |_| Ok(()));
    let stacked = || {
        let mut stack = withal_core::ExitStack::new();
        let _ = stack.enter_context(step("f").exit(Act::Fail("x")));
        stack.close()
    };
    let check = |error: Error, stage: &str, name: &str, line: u32| {
        let want = format!("{stage} of `{name}` at {}:{line}:", file!());
        assert!(
            error.to_string().starts_with(&want),
            "{error} is not {want}"
        );
        assert!(error.to_string().ends_with(" failed: x"), "{error}");
    };
    check(enter().unwrap_err(), "enter", "a", here + 1);
    check(exit().unwrap_err(), "exit", "b", here + 2);
    check(tuple().unwrap_err(), "enter", "d", here + 3);
    check(array().unwrap_err(), "enter", "e", here + 4);
    check(stacked().unwrap_err(), "exit", "f", here + 7);
    trace();
}

/// Enter consumes the manager, and its name with it; the block has taken that down before.
#[test]
fn an_exit_inside_a_tuple_or_array_is_named_as_its_manager_was() {
    let bad = |name| step(name).exit(Act::Fail("x"));
    let line = line!() + 1;
    let error = with((step("a"), bad("b")), |_| Ok(())).unwrap_err();
    assert_eq!(names_and_lines(&error), [("b".to_owned(), line)]);
    assert_eq!(oldest_first(&error), ["x"]);
    assert_eq!(error.downcast::<Oops>().unwrap(), oops("x"));

    let nested = ((bad("a"), [bad("b"), bad("c")]), nullcontext(()), bad("d"));
    let error = with(nested, |_| Ok(())).unwrap_err();
    let names: Vec<_> = error.exits().map(|f| f.entry().unwrap().name()).collect();
    assert_eq!(names, ["d", "c", "b", "a"]);

    let line = line!() + 1;
    let error = with([step("a"), bad("b"), step("c")], |_| Ok(())).unwrap_err();
    assert_eq!(names_and_lines(&error), [("b".to_owned(), line)]);
    trace();
}

#[test]
fn a_member_without_a_name_of_its_own_is_named_after_its_type_beside_one_that_has() {
    struct Unnamed;
    impl ContextManager for Unnamed {
        type Resource = ();
        type Error = Oops;
        fn enter(self) -> Result<(), Oops> {
            Ok(())
        }
        fn exit((): (), _: ExitCase) -> Result<(), Oops> {
            Err(oops("x"))
        }
    }
    let error = with((step("a"), Unnamed, step("c")), |_| Ok(())).unwrap_err();
    assert_eq!(error.first().entry().unwrap().name(), "Unnamed");
    trace();
}

#[test]
fn members_exited_because_a_later_one_failed_to_enter_keep_their_names() {
    let bad = || step("a").exit(Act::Fail("exit"));
    let late = || step("b").enter(Act::Fail("enter"));
    let blocks: [fn(_, _) -> _; 2] = [
        |bad, late| with((bad, late), |_| Ok(())),
        |bad, late| with([bad, late], |_| Ok(())),
    ];
    for block in blocks {
        let error: Error = block(bad(), late()).unwrap_err();
        let names: Vec<_> = error.iter().map(|f| f.entry().unwrap().name()).collect();
        assert_eq!(names, ["b", "a"]);
    }
    trace();
}

#[test]
fn a_tuple_on_a_stack_keeps_the_names_of_its_members_and_the_place_it_was_entered_at() {
    let bad = |name| step(name).exit(Act::Fail("x"));
    let mut stack = ExitStack::new();
    let line = line!() + 1;
    let early = stack.enter_context((bad("a"), step("b"))).unwrap();
    let late = stack.enter_context([bad("c"), bad("d")]).unwrap();
    assert_eq!(
        names_and_lines(&early.close().unwrap_err()),
        [("a".to_owned(), line)]
    );
    drop(late);
    let want = [("d".to_owned(), line + 1), ("c".to_owned(), line + 1)];
    assert_eq!(names_and_lines(&stack.close().unwrap_err()), want);
    trace();
}

#[test]
fn what_a_member_swallows_is_noticed_under_its_name() {
    let program = || {
        with((flow("quiet", Act::Suppress), step("b")), |_| {
            fail::<()>("x")
        })
    };
    let (ran, notices) = noticing(program);
    assert_eq!(ran.unwrap(), None);
    assert_eq!(notices[0].entry.as_deref(), Some("quiet"));
    trace();
}

/// The names and lines of the exits that failed, in that order.
fn names_and_lines(error: &Error) -> Vec<(String, u32)> {
    let entries = error.exits().map(|failure| failure.entry().unwrap());
    entries
        .map(|entry| (entry.name().to_owned(), entry.location().line()))
        .collect()
}
