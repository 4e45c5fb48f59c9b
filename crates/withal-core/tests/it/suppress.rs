//! Rows 74–82, and what swallowing leaves behind.

use std::io;
use std::panic::Location;

use withal_core::{Error, ExitStack, NoticeKind, suppress, suppress_if, suppressed_counts, with};

use crate::support::{
    Act, Oops, Seen, caught, check, fail, flow, log, newest_first, noticing, oldest_first, oops,
    step, throw, trace,
};

fn not_found<T>() -> Result<T, withal_core::BoxError> {
    Err(io::Error::from(io::ErrorKind::NotFound).into())
}

#[test]
fn c074_no_result_from_enter() {
    // There is nothing to use in what the body is lent.
    assert_eq!(with(suppress::<Oops>(), |_| Ok(())).unwrap(), Some(()));
}

#[test]
fn c075_no_exception() {
    let (value, notices) = noticing(|| with(suppress::<Oops>(), |_| Ok(2 * 3)));
    assert_eq!((value.unwrap(), notices), (Some(6), vec![]));
}

#[test]
fn c076_exact_exception() {
    assert_eq!(
        with(suppress::<Oops>(), |_| fail::<()>("body")).unwrap(),
        None
    );
}

/// Python matches subclasses; Rust has kinds and conditions. A cause is no match.
#[test]
fn c077_exception_hierarchy() {
    let missing = || suppress_if(|error: &io::Error| error.kind() == io::ErrorKind::NotFound);
    assert_eq!(with(missing(), |_| not_found::<()>()).unwrap(), None);
    let denied = io::Error::from(io::ErrorKind::PermissionDenied);
    assert!(with(missing(), |_| Err::<(), _>(denied.into())).is_err());
    assert!(with(missing(), |_| fail::<()>("another type")).is_err());

    #[derive(Debug, thiserror::Error)]
    #[error("caused")]
    struct Caused(#[source] io::Error);
    let caused = Caused(io::ErrorKind::NotFound.into());
    assert!(with(suppress::<io::Error>(), |_| Err::<(), _>(caused.into())).is_err());
}

#[test]
fn c078_other_exception() {
    let error = with(suppress::<io::Error>(), |_| fail::<()>("body")).unwrap_err();
    assert_eq!(error.downcast::<Oops>().unwrap(), oops("body"));
}

#[test]
fn c079_no_args() {
    let nothing = || suppress_if(|_: &Oops| false);
    let (error, notices) = noticing(|| with(nothing(), |_| fail::<()>("body")).unwrap_err());
    assert_eq!(oldest_first(&error), ["body"]);
    assert_eq!(notices, []);
    let never = suppress::<std::convert::Infallible>();
    assert_eq!(
        oldest_first(&with(never, |_| fail::<()>("body")).unwrap_err()),
        ["body"]
    );
}

#[test]
fn c080_multiple_exception_args() {
    let either = (suppress::<Oops>(), suppress::<io::Error>());
    assert_eq!(with(either, |_| fail::<()>("body")).unwrap(), None);
    assert_eq!(with(either, |_| not_found::<()>()).unwrap(), None);
    assert!(with(either, |_| Ok("x".parse::<u32>()?)).is_err());
}

#[test]
fn c081_cm_is_reentrant() {
    let ignore = suppress::<Oops>();
    let program = || {
        with(ignore, |_| {
            fail::<()>("early")?;
            Ok(log("skipped"))
        })?;
        let outer = with(ignore, |_| {
            let inner = with(ignore, |_| fail::<()>("inner"))?;
            log(format!("the outer goes on with {inner:?}"));
            fail::<()>("outer")
        })?;
        Ok::<_, Error>(outer)
    };
    assert_eq!(
        check(program, &["the outer goes on with None"]).unwrap(),
        None
    );
}

/// Our list of failures is Python's exception group.
#[test]
fn c082_exception_groups() {
    let program = |bodys: &'static str| {
        with(suppress_if(move |error: &Oops| error.0 != "kept"), |_| {
            Ok(with(step("a").exit(Act::Fail("exit a")), |_| {
                Ok(with(step("b").exit(Act::Fail("exit b")), |_| {
                    fail::<()>(bodys)
                })?)
            })?)
        })
    };
    let (all, notices) = noticing(|| program("dropped"));
    assert_eq!(all.unwrap(), None);
    assert_eq!(notices[0].texts, ["dropped", "exit b", "exit a"]);

    let (some, notices) = noticing(|| program("kept"));
    let rest = some.unwrap_err();
    assert_eq!(oldest_first(&rest), ["kept"]);
    assert_eq!(notices[0].texts, ["exit b", "exit a"]);
    assert_eq!(rest.downcast::<Oops>().unwrap(), oops("kept"));
    trace();
}

#[test]
fn what_is_left_of_a_list_keeps_its_order_names_and_places() {
    let exits = [
        step("a").exit(Act::Fail("1")),
        step("b").exit(Act::Fail("2")),
        step("c").exit(Act::Fail("3")),
    ];
    let program = || {
        with(ExitStack::suppressing(), |stack| {
            let _ = stack.enter_context(flow("matches", Act::Match("2")))?;
            for exit in exits {
                let _ = stack.enter_context(exit)?;
            }
            Ok(())
        })
    };
    let error = program().unwrap_err();
    assert_eq!(newest_first(&error), ["1", "3"]);
    let names: Vec<_> = error
        .iter()
        .map(|failure| failure.entry().unwrap().name())
        .collect();
    assert_eq!(names, ["c", "a"]);
    trace();
}

/// Swallowing is noticed where the swallower was entered, and counted there, however often the
/// place is passed and whatever form the block has.
#[test]
fn every_swallowed_error_is_noticed_once_and_counted_by_place() {
    let check = |swallow: &dyn Fn() -> Option<()>| {
        let (_, first) = noticing(swallow);
        let (_, second) = noticing(swallow);
        let [first] = &first[..] else {
            panic!("one notice, not {first:?}")
        };
        let want = Seen {
            count: 2,
            ..first.clone()
        };
        assert_eq!(second, [want]);
        assert_eq!((first.count, first.kind), (1, NoticeKind::Suppressed));
        assert_eq!(first.entry.as_deref(), Some("Suppress"));
        assert_eq!(first.texts, ["body"]);
        let line = first.line.unwrap();
        let count = |place: &Location<'_>| place.line() == line && place.file() == file!();
        let counts = suppressed_counts();
        assert_eq!(counts.iter().find(|(place, _)| count(place)).unwrap().1, &2);
    };
    let ignore = suppress::<Oops>();
    check(&|| with(ignore, |_| fail("body")).unwrap());
    check(&|| with((step("a"), ignore), |_| fail("body")).unwrap());
    check(&|| with(((step("a"),), (ignore, step("b"))), |_| fail("body")).unwrap());
    check(&|| with([ignore, ignore], |_| fail("body")).unwrap());
    check(&|| {
        with(ExitStack::suppressing(), |stack| {
            stack.enter_context(ignore)?;
            fail("body")
        })
        .unwrap()
    });
    trace();
}

#[test]
fn a_panic_cannot_be_swallowed() {
    let program = || {
        with(
            (suppress::<Oops>(), flow("a", Act::Suppress)),
            |_| -> Result<(), _> { throw("body") },
        )
    };
    let (panic, notices) = noticing(|| caught(program));
    assert_eq!((panic.as_str(), notices), ("body", vec![]));
    trace();
}

/// The value went with the error: a nested block could not have kept it.
#[test]
fn a_swallowed_exit_error_takes_the_value_with_it_in_every_form() {
    let (outer, inner) = (suppress::<Oops>(), step("a").exit(Act::Fail("exit")));
    let nested = with(outer, |_| Ok(with(inner, |_| Ok(1))?));
    let tuple = with((outer, inner), |_| Ok(1));
    let stacked = with(ExitStack::suppressing(), |stack| {
        stack.enter_context(outer)?;
        let _ = stack.enter_context(inner)?;
        Ok(1)
    });
    assert_eq!(
        [nested, tuple, stacked].map(Result::unwrap),
        [None, None, None]
    );
    trace();
}

/// There is nothing to replace in a clean case, a panic or a cancellation; the error is kept.
#[test]
fn a_replacement_for_nothing_is_an_error_of_the_exit() {
    let program = || with(flow("a", Act::Replace("instead")), |_| Ok(1));
    assert_eq!(oldest_first(&program().unwrap_err()), ["instead"]);

    let program = || {
        with(flow("a", Act::Replace("instead")), |_| -> Result<(), _> {
            throw("body")
        })
    };
    let (panic, notices) = noticing(|| caught(program));
    assert_eq!(panic, "body");
    assert_eq!(
        (notices[0].kind, &notices[0].texts[..]),
        (NoticeKind::BesidePanic, &["instead".to_owned()][..])
    );
    trace();
}

#[test]
fn an_enter_that_fails_under_a_swallower_skips_the_body() {
    let bad = step("b").enter(Act::Fail("no"));
    let program = || with((suppress::<Oops>(), step("a"), bad), |_| Ok(log("body")));
    assert_eq!(
        check(program, &["enter a", "enter b", "exit a: errored: no"]).unwrap(),
        None
    );
}

/// Inside a stack's body there is no resource to go on with, so the body fails, and says why.
#[test]
fn a_swallowed_enter_inside_a_body_fails_the_body() {
    let bad = step("b").enter(Act::Fail("no"));
    let program = || {
        with(step("transaction"), |_| {
            let mut stack = ExitStack::suppressing();
            let _lent = stack.enter_context((suppress::<Oops>(), bad))?;
            Ok(())
        })
    };
    let (ran, notices) = noticing(program);
    let text = "a manager failed to enter and another swallowed its error";
    assert_eq!(oldest_first(&ran.unwrap_err()), [text]);
    assert_eq!(notices[0].texts, ["no"]);
    assert_eq!(trace()[2], format!("exit transaction: errored: {text}"));
}

#[test]
fn a_condition_that_panics_skips_no_exit_and_loses_no_error() {
    let picky = suppress_if(|_: &Oops| -> bool { throw("in the condition") });
    let program = || {
        with((step("a"), picky.clone(), step("b")), |_| {
            fail::<()>("body")
        })
    };
    let want = [
        "enter a",
        "enter b",
        "exit b: errored: body",
        "exit a: panicked: panicked: in the condition",
    ];
    let (panic, notices) = check(|| noticing(|| caught(program)), &want);
    assert_eq!(panic, "in the condition");
    let alone = || with(picky.clone(), |_| fail::<()>("body"));
    let (_, beside) = noticing(|| caught(alone));
    assert_eq!(beside[0].texts, ["body"]);
    assert_eq!(
        notices
            .iter()
            .flat_map(|n| n.texts.clone())
            .collect::<Vec<_>>(),
        ["body"]
    );
}
