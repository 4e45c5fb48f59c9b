//! Rows 5–24: managers written as one function.

use std::rc::Rc;

use withal_core::{BoxError, ContextManager, Error, ExitCase, Flow, Yielder, contextmanager, with};

use crate::support::{Oops, caught, check, fail, log, oldest_first, oops, step, throw, told};

/// Logs its two halves, and gives 42.
fn traced() -> impl ContextManager<Error = Oops, Resource: std::ops::Deref<Target = u32>> {
    contextmanager(async |y| {
        log("set up");
        let (_, case, done) = y.give(42).await;
        log(format!("clean up: {}", told(&case)));
        Ok::<_, Oops>(done)
    })
}

#[test]
fn c005_plain() {
    let program = || {
        with(traced(), |given| {
            log(format!("body {}", **given));
            Ok(**given)
        })
    };
    let want = ["set up", "body 42", "clean up: succeeded"];
    assert_eq!(check(program, &want).unwrap(), 42);
}

#[test]
fn c006_finally() {
    let program = || with(traced(), |_| fail::<()>("body"));
    let error = check(program, &["set up", "clean up: errored: body"]).unwrap_err();
    assert_eq!(error.downcast::<Oops>().unwrap(), oops("body"));
}

/// Python: the traceback has one frame. Here: the error is the very value the body failed with,
/// and a panic keeps its payload.
#[test]
fn c007_traceback() {
    #[derive(Debug, thiserror::Error)]
    #[error("counted")]
    struct Counted(Rc2);
    type Rc2 = std::sync::Arc<()>;

    let token = Rc2::new(());
    let thrown = Counted(Rc2::clone(&token));
    let error = with(traced(), |_| Err::<(), _>(thrown.into())).unwrap_err();
    let back = error.downcast::<Counted>().unwrap();
    assert!(Rc2::ptr_eq(&back.0, &token));
    assert_eq!(
        caught(|| with(traced(), |_| -> Result<(), _> { throw("payload") })),
        "payload"
    );
    crate::support::trace();
}

#[test]
fn c008_no_reraise() {
    let given = traced().enter().unwrap();
    let case = ExitCase::Errored(Error::new(oops("body")));
    fn exit<M: ContextManager>(
        _like: &M,
        lent: M::Resource,
        case: ExitCase,
    ) -> Result<(), M::Error> {
        M::exit(lent, case)
    }
    assert_eq!(exit(&traced(), given, case), Ok(()));
    assert_eq!(
        crate::support::trace(),
        ["set up", "clean up: errored: body"]
    );
}

/// A generator gives on the path it chooses, as long as it gives once on it.
#[test]
fn c010_a_generator_may_give_on_either_branch_or_fail_before() {
    let manager = |choice: Option<bool>| {
        contextmanager(async move |y: Yielder<'_, u32>| {
            let done = match choice {
                None => return Err(oops("not today")),
                Some(true) => y.give(1).await.2,
                Some(false) => y.give(2).await.2,
            };
            Ok(done)
        })
    };
    assert_eq!(with(manager(Some(true)), |n| Ok(**n)).unwrap(), 1);
    assert_eq!(with(manager(Some(false)), |n| Ok(**n)).unwrap(), 2);
    let error = with(manager(None), |n| Ok(**n)).unwrap_err();
    assert_eq!(error.first().stage(), withal_core::Stage::Enter);
    assert_eq!(error.downcast::<Oops>().unwrap(), oops("not today"));
}

/// Swallowing needs a type that says so: a generator's does not, a `ContextManager<Flow>` does.
#[test]
fn c013_except() {
    struct Forgiving;
    impl ContextManager<Flow> for Forgiving {
        type Resource = ();
        type Error = Oops;

        fn enter(self) -> Result<(), Oops> {
            Ok(())
        }

        fn exit((): (), case: ExitCase) -> Result<Flow, Oops> {
            match case.error() {
                Some(error) if error.is::<Oops>() => Ok(Flow::Suppress),
                _ => Ok(Flow::Propagate),
            }
        }
    }
    assert_eq!(with(Forgiving, |()| fail::<()>("body")).unwrap(), None);
    assert_eq!(with(Forgiving, |()| Ok(1)).unwrap(), Some(1));
    let error = with(Forgiving, |()| Ok("x".parse::<u32>()?)).unwrap_err();
    assert!(error.is::<std::num::ParseIntError>());
}

/// Python has signals of its own among the errors (`StopIteration`). We have one that a body can
/// fail with, and it is an error like any other.
#[test]
fn c014_a_timeout_error_of_the_body_passes_unchanged() {
    let timed_out = withal_core::TimedOut::new(std::time::Duration::from_secs(3));
    let program = || with(traced(), |_| Err::<(), BoxError>(timed_out.into()));
    let want = ["set up", "clean up: errored: not done after 3s"];
    let error = check(program, &want).unwrap_err();
    assert_eq!(
        error.downcast::<withal_core::TimedOut>().unwrap(),
        timed_out
    );
}

#[derive(Debug, thiserror::Error)]
#[error("clean-up failed")]
struct Wrapped(#[source] Error);

fn wrapping() -> impl ContextManager<Error = Wrapped> {
    contextmanager(async |y: Yielder<'_, ()>| {
        let ((), case, done) = y.give(()).await;
        match case.error() {
            Some(error) => Err(Wrapped(error.clone())),
            None => Ok(done),
        }
    })
}

#[test]
fn c016_do_not_unchain_non_stopiteration() {
    let error = with(wrapping(), |_| fail::<()>("body")).unwrap_err();
    assert_eq!(oldest_first(&error), ["body", "clean-up failed"]);
    let wrapped: &Wrapped = error.downcast_ref().unwrap();
    assert_eq!(wrapped.0.to_string(), "body");
}

#[test]
fn c017_wrap_runtimeerror() {
    let error = with(step("outer"), |_| {
        Ok(with(wrapping(), |_| fail::<()>("body"))?)
    })
    .unwrap_err();
    assert!(error.is::<Oops>());
    assert!(error.is::<Wrapped>());
    assert_eq!(
        crate::support::trace()[1],
        "exit outer: errored: clean-up failed < body"
    );
}

#[test]
fn c021_keywords() {
    fn named(
        this: u32,
        func: u32,
        args: u32,
        r#yield: u32,
    ) -> impl ContextManager<Error = Oops, Resource: std::ops::Deref<Target = u32>> {
        contextmanager(async move |y| {
            let (_, _, done) = y.give(this + 10 * func + 100 * args + 1000 * r#yield).await;
            Ok(done)
        })
    }
    assert_eq!(with(named(1, 2, 3, 4), |n| Ok(**n)).unwrap(), 4321);
}

#[test]
fn c022_nokeepref() {
    let argument = Rc::new(());
    let watch = Rc::downgrade(&argument);
    let manager = contextmanager(async move |y: Yielder<'_, ()>| {
        drop(argument);
        let ((), _, done) = y.give(()).await;
        Ok::<_, Oops>(done)
    });
    assert!(watch.upgrade().is_some());
    with(manager, |_| Ok(assert!(watch.upgrade().is_none()))).unwrap();
}

#[test]
fn c024_recursive() {
    fn descend(left: u32, depth: &std::cell::Cell<u32>) -> Result<u32, Error> {
        let level = contextmanager(async |y| {
            depth.set(depth.get() + 1);
            log("enter");
            let (_, _, done) = y.give(()).await;
            depth.set(depth.get() - 1);
            log("exit");
            Ok::<_, Oops>(done)
        });
        with(level, |_| match left {
            1 => Ok(depth.get()),
            _ => Ok(descend(left - 1, depth)?),
        })
    }
    let depth = std::cell::Cell::new(0);
    let want = [["enter"; 10], ["exit"; 10]].concat();
    assert_eq!(check(|| descend(10, &depth), &want).unwrap(), 10);
    assert_eq!(depth.get(), 0);
}

#[test]
fn a_generator_that_awaits_something_else_is_a_bug_that_names_the_way_out() {
    let before = contextmanager(async |y: Yielder<'_, ()>| {
        std::future::pending::<()>().await;
        Ok::<_, Oops>(y.give(()).await.2)
    });
    let after = contextmanager(async |y: Yielder<'_, ()>| {
        let (_, _, done) = y.give(()).await;
        std::future::pending::<()>().await;
        Ok::<_, Oops>(done)
    });
    let quiet = std::panic::AssertUnwindSafe(|| caught(|| with(before, |_| Ok(()))));
    assert!(quiet().contains("use `asynccontextmanager`"));
    assert!(caught(|| with(after, |_| Ok(()))).contains("use `asynccontextmanager`"));
}

/// The resource is dropped with an offer that the generator takes back.
#[test]
fn a_generator_that_drops_its_offer_cannot_succeed() {
    let token = Rc::new(());
    let watch = Rc::downgrade(&token);
    let dropped = watch.clone();
    let manager = contextmanager(async move |y| {
        let mut offer = Box::pin(y.give(token));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(offer.as_mut().poll(&mut context).is_pending());
        drop(offer);
        assert_eq!(dropped.strong_count(), 0);
        Err(oops("changed my mind"))
    });
    let error = with(manager, |_| Ok(())).unwrap_err();
    assert_eq!(
        error.to_string().split(" at ").next(),
        Some("enter of `a_generator_that_drops_its_offer_cannot_succeed`")
    );
    assert!(watch.upgrade().is_none());
}

#[test]
fn a_generator_resource_may_borrow_and_be_changed_by_the_body() {
    let mut text = String::from("<");
    let tag = contextmanager(async |y| {
        let (html, _, done): (&mut String, _, _) = y.give(&mut text).await;
        html.push('>');
        Ok::<_, Oops>(done)
    });
    with(tag, |html| Ok(html.push_str("body"))).unwrap();
    assert_eq!(text, "<body>");
}
