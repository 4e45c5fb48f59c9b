//! Rows 36–44: functions whose every call is a block.

use withal_core::{ContextManager, Verdict, with, wrap, wrap1};

use crate::support::{Act, Oops, Plain, check, fail, flow, log, oldest_first, oops, step};

#[test]
fn c036_contextdecorator() {
    let program = || {
        with(step("a"), |a: &mut Plain| {
            Ok(log(format!("body of {}", a.0.name)))
        })
    };
    check(program, &["enter a", "body of a", "exit a: succeeded"]).unwrap();
}

#[test]
fn c037_contextdecorator_with_exception() {
    let program = || with(step("a"), |_| fail::<()>("body"));
    let error = check(program, &["enter a", "exit a: errored: body"]).unwrap_err();
    assert_eq!(error.downcast::<Oops>().unwrap(), oops("body"));

    let program = || {
        let value = with(flow("a", Act::Suppress), |_| fail::<()>("body"));
        log("after");
        value
    };
    let want = ["enter a", "exit a: errored: body", "after"];
    assert_eq!(check(program, &want).unwrap(), None);
}

#[test]
fn c038_decorator() {
    let program = || {
        let mut decorated = wrap(|| step("a"), || Ok(log("body")));
        log("made");
        decorated()
    };
    check(program, &["made", "enter a", "body", "exit a: succeeded"]).unwrap();
}

#[test]
fn c039_decorator_with_exception() {
    let program = || wrap(|| step("a"), || fail::<()>("body"))();
    let error = check(program, &["enter a", "exit a: errored: body"]).unwrap_err();
    assert_eq!(oldest_first(&error), ["body"]);
    assert_eq!(
        wrap(|| flow("a", Act::Suppress), || fail::<()>("body"))().unwrap(),
        None
    );
    crate::support::trace();
}

#[test]
fn c040_decorating_method() {
    struct Adder(u32);
    impl Adder {
        fn add(&mut self, (a, b): (u32, u32)) -> u32 {
            self.0 += a + b;
            self.0
        }
    }
    let mut adder = Adder(1);
    let mut add = wrap1(|| step("a"), |numbers| Ok(adder.add(numbers)));
    assert_eq!(add((2, 3)).unwrap(), 6);
    assert_eq!(add((4, 5)).unwrap(), 15);
    crate::support::trace();
}

/// Any manager wraps functions: there is nothing to mix in.
#[test]
fn c043_as_mixin() {
    fn wraps_with_any<M, V>(make: impl Fn() -> M) -> u32
    where
        M: ContextManager<V>,
        V: Verdict<Output<u32> = u32>,
    {
        wrap(make, || Ok(1_u32))().unwrap()
    }
    assert_eq!(wraps_with_any(|| withal_core::nullcontext(())), 1);
    assert_eq!(wraps_with_any(|| (step("a"), [step("b")])), 1);
    crate::support::trace();
}

#[test]
fn c044_contextmanager_as_decorator() {
    use withal_core::{Yielder, contextmanager};
    let made = std::cell::Cell::new(0);
    let make = || {
        made.set(made.get() + 1);
        let number = made.get();
        contextmanager(async move |y: Yielder<'_, ()>| {
            log(format!("set up {number}"));
            let ((), _, done) = y.give(()).await;
            log(format!("clean up {number}"));
            Ok::<_, Oops>(done)
        })
    };
    let program = || {
        let mut decorated = wrap(make, || Ok(log("body")));
        decorated()?;
        decorated()
    };
    let want = [
        "set up 1",
        "body",
        "clean up 1",
        "set up 2",
        "body",
        "clean up 2",
    ];
    check(program, &want).unwrap();
}

#[test]
fn a_failing_exit_of_a_wrapped_function_names_the_place_of_the_wrap() {
    let bad = || step("a").exit(Act::Fail("exit"));
    let here = line!() + 1;
    let error = wrap(bad, || Ok(()))().unwrap_err();
    let location = error.first().entry().unwrap().location();
    assert_eq!(
        (location.file().ends_with("decorator.rs"), location.line()),
        (true, here)
    );

    let here = line!() + 1;
    let error = wrap1(bad, |()| Ok(()))(()).unwrap_err();
    assert_eq!(error.first().entry().unwrap().location().line(), here);
    crate::support::trace();
}
