//! S12: acquired once, released with the last user.

use std::sync::Barrier;

use withal_core::{closing, reentrant, with};

use crate::support::{Act, Oops, caught, check, fail, log, oldest_first, oops, step, throw};

#[test]
fn nested_uses_share_one_acquisition() {
    let session = reentrant(|| step("a"));
    let program = || {
        with(&session, |outer| {
            assert_eq!(session.uses(), 1);
            with(&session, |inner| {
                assert_eq!(session.uses(), 2);
                Ok(assert!(std::ptr::eq(&**inner, &**outer)))
            })?;
            Ok(log("inner left"))
        })
    };
    check(program, &["enter a", "inner left", "exit a: succeeded"]).unwrap();
    assert_eq!(session.uses(), 0);
}

#[test]
fn it_is_acquired_anew_after_the_last_user() {
    let session = reentrant(|| step("a"));
    let program = || {
        with(&session, |_| Ok(()))?;
        with((&session, &session), |_| Ok(()))
    };
    let once = ["enter a", "exit a: succeeded"];
    check(program, &[once, once].concat()).unwrap();
}

#[test]
fn the_last_users_case_decides() {
    let session = reentrant(|| step("a"));
    let program = || {
        with(&session, |_| {
            with(&session, |_| fail::<()>("inner")).unwrap_err();
            Ok(())
        })
    };
    check(program, &["enter a", "exit a: succeeded"]).unwrap();
    let program = || {
        with(&session, |_| {
            with(&session, |_| Ok(()))?;
            fail::<()>("outer")
        })
    };
    check(program, &["enter a", "exit a: errored: outer"]).unwrap_err();
}

#[test]
fn a_failed_enter_or_exit_leaves_it_usable() {
    let next = std::cell::Cell::new(step("a").enter(Act::Fail("enter")));
    let session = reentrant(|| next.get());
    let fails = || oldest_first(&with(&session, |_| Ok(())).unwrap_err());
    assert_eq!(fails(), ["enter"]);
    next.set(step("b").exit(Act::Fail("exit")));
    assert_eq!(fails(), ["exit"]);
    next.set(step("c").enter(Act::Panic("enter")));
    assert_eq!(caught(|| with(&session, |_| Ok(()))), "enter");
    next.set(step("d").exit(Act::Panic("exit")));
    assert_eq!(caught(|| with(&session, |_| Ok(()))), "exit");
    next.set(step("e"));
    crate::support::trace();
    check(
        || with(&session, |_| Ok(())),
        &["enter e", "exit e: succeeded"],
    )
    .unwrap();
    assert_eq!(session.uses(), 0);
}

#[test]
fn a_panic_in_an_inner_use_releases_once() {
    let session = reentrant(|| step("a"));
    let program = || {
        caught(|| {
            with(&session, |_| {
                Ok(with(&session, |_| -> Result<(), _> { throw("inner") })?)
            })
        })
    };
    check(program, &["enter a", "exit a: panicked: panicked: inner"]);
    assert_eq!(session.uses(), 0);
}

#[test]
fn threads_share_it() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (opened, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let session = reentrant(|| {
        opened.fetch_add(1, Ordering::SeqCst);
        closing((), |()| {
            closed.fetch_add(1, Ordering::SeqCst);
            Ok::<(), Oops>(())
        })
    });
    let inside = Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| with(&session, |_| Ok(inside.wait().is_leader())).unwrap());
        }
    });
    assert_eq!((opened.into_inner(), closed.into_inner()), (1, 1));
    assert_eq!(oops("x"), Oops("x".to_owned()));
}
