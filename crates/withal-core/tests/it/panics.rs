//! Panics: caught first, exits run outside unwinding, the first one goes on.

use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use withal_core::{
    BoxError, ContextManager, Error, ExitCase, ExitStack, NoticeKind, Panicked, Stage, with,
};

use crate::support::{Act, Oops, caught, check, fail, log, noticing, oops, step, throw, told};

/// An exit that logs whether it runs inside unwinding.
struct Asks;

impl ContextManager for Asks {
    type Resource = ();
    type Error = Oops;

    fn enter(self) -> Result<(), Oops> {
        Ok(())
    }

    fn exit((): (), case: ExitCase) -> Result<(), Oops> {
        log(format!(
            "{}, panicking: {}",
            told(&case),
            std::thread::panicking()
        ));
        Ok(())
    }
}

#[test]
fn exits_run_outside_unwinding() {
    let body = || -> Result<(), BoxError> { throw("body") };
    let want = ["panicked: panicked: body, panicking: false"];
    check(|| caught(|| with(Asks, |()| body())), &want);
    check(|| caught(|| with((Asks,), |_| body())), &want);
    check(|| caught(|| with([Asks], |_| body())), &want);
    let stacked = || {
        with(ExitStack::new(), |stack| {
            drop(stack.enter_context(Asks)?);
            body()
        })
    };
    check(|| caught(stacked), &want);
}

#[test]
fn the_payload_goes_on_as_it_was() {
    #[derive(Debug, PartialEq)]
    struct Payload(Vec<u32>);
    let quiet = || std::panic::resume_unwind(Box::new(Payload(vec![1, 2])));
    let program = || with((step("a"), [step("b")]), |_| -> Result<(), _> { quiet() });
    let payload = catch_unwind(program).unwrap_err();
    assert_eq!(*payload.downcast::<Payload>().unwrap(), Payload(vec![1, 2]));
    let told = crate::support::trace().pop().unwrap();
    assert_eq!(told, "exit a: panicked: panicked: a value that is no text");
}

#[test]
fn the_first_panic_goes_on_and_the_others_reach_the_notices() {
    let program = || {
        with(step("a").exit(Act::Panic("third")), |_| {
            Ok(with(step("b").exit(Act::Fail("second")), |_| {
                Ok(with(step("c").exit(Act::Panic("first")), |_| {
                    fail::<()>("body")
                })?)
            })?)
        })
    };
    let want = [
        "enter a",
        "enter b",
        "enter c",
        "exit c: errored: body",
        "exit b: panicked: panicked: first",
        "exit a: panicked: panicked: first",
    ];
    let (panic, notices) = check(|| noticing(|| caught(program)), &want);
    assert_eq!(panic, "first");
    assert!(
        notices
            .iter()
            .all(|notice| notice.kind == NoticeKind::BesidePanic)
    );
    let texts: Vec<_> = notices
        .into_iter()
        .flat_map(|notice| notice.texts)
        .collect();
    assert_eq!(texts, ["body", "second", "panicked: third"]);
}

#[test]
fn a_panic_in_enter_exits_what_was_entered() {
    let bad = step("b").enter(Act::Panic("enter"));
    let want = ["enter a", "enter b", "exit a: panicked: panicked: enter"];
    let tuple = || with((step("a"), bad, step("c")), |_| Ok(()));
    assert_eq!(check(|| caught(tuple), &want), "enter");
    let array = || with([step("a"), bad], |_| Ok(()));
    assert_eq!(check(|| caught(array), &want), "enter");
    let nested = || with(step("a"), |_| Ok(with(bad, |_| Ok(()))?));
    assert_eq!(check(|| caught(nested), &want), "enter");
}

/// Everything of the user's may panic; none of it may skip an exit that is due.
#[test]
fn a_panic_in_a_name_or_in_an_errors_conversion_skips_no_exit() {
    struct Nameless;
    impl ContextManager for Nameless {
        type Resource = ();
        type Error = Oops;
        fn enter(self) -> Result<(), Oops> {
            Ok(())
        }
        fn exit((): (), _: ExitCase) -> Result<(), Oops> {
            Ok(())
        }
        fn name(&self) -> std::borrow::Cow<'static, str> {
            throw("in the name")
        }
    }

    struct Stubborn;
    impl From<Stubborn> for BoxError {
        fn from(_: Stubborn) -> BoxError {
            throw("in the conversion")
        }
    }
    struct Converts(bool);
    impl ContextManager for Converts {
        type Resource = ();
        type Error = Stubborn;
        fn enter(self) -> Result<(), Stubborn> {
            self.0.then_some(()).ok_or(Stubborn)
        }
        fn exit((): (), _: ExitCase) -> Result<(), Stubborn> {
            Err(Stubborn)
        }
    }

    // Names are asked for before anything is entered.
    check(|| caught(|| with((step("a"), Nameless), |_| Ok(()))), &[]);
    let name = ["enter a", "exit a: panicked: panicked: in the name"];
    let nested = || with(step("a"), |_| Ok(with(Nameless, |()| Ok(()))?));
    check(|| caught(nested), &name);
    let conversion = ["enter a", "exit a: panicked: panicked: in the conversion"];
    for enters in [true, false] {
        let tuple = || with((step("a"), Converts(enters)), |_| Ok(()));
        check(|| caught(tuple), &conversion);
    }
    let stacked = || {
        with(ExitStack::new(), |stack| {
            drop(stack.enter_context(step("a"))?);
            stack.push(|_| -> Result<(), Stubborn> { Err(Stubborn) });
            Ok(())
        })
    };
    check(|| caught(stacked), &conversion);
}

#[test]
fn an_exit_can_tell_a_panic_from_an_error() {
    let program = || {
        let mut stack = ExitStack::new();
        stack.push(|case| -> Result<(), Oops> {
            let ExitCase::Panicked(error) = case else {
                panic!("{case:?}")
            };
            assert_eq!(error.first().stage(), Stage::Exit);
            assert_eq!(error.downcast_ref::<Panicked>().unwrap().message(), "inner");
            Ok(log("told"))
        });
        stack.push(|_| -> Result<(), Oops> { throw("inner") });
        stack.close()
    };
    assert_eq!(check(|| caught(program), &["told"]), "inner");
}

/// `#[track_caller]` reaches through, and a panic of the body keeps its own place.
#[test]
fn a_panic_of_the_body_is_reported_at_its_own_place() {
    #[track_caller]
    fn panics_with_its_place() -> Result<(), BoxError> {
        std::panic::resume_unwind(Box::new(Location::caller().line()))
    }
    let here = std::cell::Cell::new(0);
    let body = || {
        here.set(line!() + 1);
        panics_with_its_place()
    };
    let payload = catch_unwind(AssertUnwindSafe(|| with(Asks, |()| body()))).unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&here.get()));
    crate::support::trace();
}

/// A body that catches its own panic has ended well.
#[test]
fn a_panic_caught_inside_the_body_is_no_panic_of_the_block() {
    let program = || {
        with(step("outer"), |_| {
            let inner = AssertUnwindSafe(|| {
                with(
                    step("inner").exit(Act::Fail("beside")),
                    |_| -> Result<(), _> { throw("caught") },
                )
            });
            Ok(catch_unwind(inner).is_err())
        })
    };
    let want = [
        "enter outer",
        "enter inner",
        "exit inner: panicked: panicked: caught",
        "exit outer: succeeded",
    ];
    let (caught, notices) = check(|| noticing(program), &want);
    assert!(caught.unwrap());
    assert_eq!(notices[0].texts, ["beside"]);
}

#[test]
fn a_block_may_be_left_while_the_thread_is_panicking() {
    struct InDrop;
    impl Drop for InDrop {
        fn drop(&mut self) {
            let ran: Result<(), Error> = with(step("a"), |_| Err(oops("body").into()));
            log(format!("{}", ran.unwrap_err()));
        }
    }
    let program = || {
        caught(|| {
            let _guard = InDrop;
            throw("outside")
        })
    };
    check(program, &["enter a", "exit a: errored: body", "body"]);
}
