//! Errors on their way out: `?`, downcast, restore, display.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use withal_core::{BoxError, Error, ExitCase, Failure, Stage, nullcontext, suppress, with};

use crate::support::{Act, Oops, fail, newest_first, oldest_first, oops, step, trace};

/// A block that fails in its body and in both of its exits.
fn thrice() -> Result<u32, Error> {
    let bad = [
        step("a").exit(Act::Fail("exit a")),
        step("b").exit(Act::Fail("exit b")),
    ];
    let ran = with(bad, |_| fail("body"));
    trace();
    ran
}

#[test]
fn a_block_leaves_through_anyhow() {
    fn leaves() -> anyhow::Result<u32> {
        Ok(thrice()?)
    }
    let error = leaves().unwrap_err();
    let list: &Error = error.downcast_ref().unwrap();
    assert_eq!(oldest_first(list), ["body", "exit b", "exit a"]);
    assert_eq!(error.downcast::<Error>().unwrap().len(), 3);
}

#[test]
fn a_block_leaves_through_a_boxed_error() {
    fn leaves() -> Result<u32, Box<dyn StdError + Send + Sync>> {
        Ok(thrice()?)
    }
    let error = leaves().unwrap_err();
    assert_eq!(error.downcast_ref::<Error>().unwrap().len(), 3);

    fn leaves_for_one_thread() -> Result<u32, Box<dyn StdError>> {
        Ok(thrice()?)
    }
    assert!(leaves_for_one_thread().unwrap_err().is::<Error>());
}

#[derive(Debug, thiserror::Error)]
enum AppError {
    #[error("no such user: {0}")]
    NoUser(u32),
    #[error(transparent)]
    Block(#[from] Error),
}

#[test]
fn a_block_leaves_through_an_enum_with_one_from() {
    fn leaves() -> Result<u32, AppError> {
        Ok(with(nullcontext(1), |one| {
            if *one == 1 {
                Err(AppError::NoUser(7).into())
            } else {
                Ok(1)
            }
        })?)
    }
    let AppError::Block(error) = leaves().unwrap_err() else {
        panic!("`?` wraps it")
    };
    assert!(matches!(error.downcast(), Ok(AppError::NoUser(7))));

    fn restores() -> Result<u32, AppError> {
        with(nullcontext(1), |_| Err(AppError::NoUser(7))?).map_err(Error::restore)
    }
    assert!(matches!(restores(), Err(AppError::NoUser(7))));

    // With more than one failure nothing may be lost, so it stays a list.
    let restored: AppError = thrice().unwrap_err().restore();
    let AppError::Block(list) = &restored else {
        panic!("{restored:?}")
    };
    assert_eq!(list.len(), 3);
    assert_eq!(restored.to_string(), list.to_string());
}

#[test]
fn nested_blocks_share_one_list_through_question_marks() {
    let bad = |name, text| step(name).exit(Act::Fail(text));
    let ran = with(bad("a", "3"), |_| {
        with(bad("b", "2"), |_| {
            with(bad("c", "1"), |_| fail::<()>("0"))?;
            Ok(())
        })?;
        Ok(())
    });
    assert_eq!(oldest_first(&ran.unwrap_err()), ["0", "1", "2", "3"]);
    trace();
}

/// An error of the user's own that carries a block's error is one failure, with the list below it.
#[test]
fn a_list_wrapped_in_between_stays_below_its_wrapper() {
    let ran = with(step("a").exit(Act::Fail("exit a")), |_| {
        let inner: Result<(), AppError> = with(step("b"), |_| fail("body")).map_err(AppError::from);
        Ok(inner?)
    });
    let error = ran.unwrap_err();
    assert_eq!(oldest_first(&error), ["body", "exit a"]);
    assert!(error.is::<AppError>());
    trace();
}

#[test]
fn downcast_gives_the_error_or_the_list_back() {
    let error = Error::new(oops("body"));
    let error = error.downcast::<io::Error>().unwrap_err();
    let seen = error.clone();
    let error = error.downcast::<Oops>().unwrap_err();
    drop(seen);
    assert_eq!(error.downcast::<Oops>().unwrap(), oops("body"));
    assert_eq!(
        thrice().unwrap_err().downcast::<Oops>().unwrap_err().len(),
        3
    );
}

#[test]
fn an_exit_that_keeps_its_case_keeps_it_unchanged() {
    use std::cell::RefCell;
    let kept: RefCell<Vec<ExitCase>> = RefCell::default();
    let ran = with(withal_core::ExitStack::new(), |stack| {
        for text in ["1", "2"] {
            let kept = &kept;
            stack.push(move |case| -> Result<(), Oops> {
                kept.borrow_mut().push(case);
                Err(oops(text))
            });
        }
        fail::<()>("0")
    });
    let kept = kept.into_inner();
    let texts: Vec<_> = kept
        .iter()
        .map(|case| newest_first(case.error().unwrap()))
        .collect();
    assert_eq!(texts, [vec!["0"], vec!["2", "0"]]);
    assert_eq!(newest_first(&ran.unwrap_err()), ["1", "2", "0"]);
}

/// What is in the list already is not added to it again, however late it comes.
#[test]
fn an_exit_that_gives_back_what_an_inner_one_saw_adds_nothing() {
    use std::cell::RefCell;
    let kept: RefCell<Option<Error>> = RefCell::default();
    let ran = with(withal_core::ExitStack::new(), |stack| {
        stack.push(|_| -> Result<(), Error> { Err(kept.take().unwrap()) });
        stack.callback(|| Err(oops("1")));
        stack.push(|case| -> Result<(), Oops> {
            kept.replace(case.error().cloned());
            Ok(())
        });
        fail::<()>("0")
    });
    assert_eq!(oldest_first(&ran.unwrap_err()), ["0", "1"]);
}

#[test]
fn the_first_failure_is_the_primary_one() {
    #[derive(Debug, thiserror::Error)]
    #[error("outside")]
    struct Outside(#[source] io::Error);

    let error = with(step("a").exit(Act::Fail("exit a")), |_| {
        Err::<(), _>(Outside(io::ErrorKind::TimedOut.into()).into())
    });
    let error = error.unwrap_err();
    assert_eq!(
        error
            .source()
            .unwrap()
            .downcast_ref::<io::Error>()
            .unwrap()
            .kind(),
        io::ErrorKind::TimedOut
    );
    assert_eq!(
        error.downcast_ref::<io::Error>().unwrap().kind(),
        io::ErrorKind::TimedOut
    );
    let text = error.to_string();
    assert!(
        text.starts_with("outside; then exit of `a` at ") && text.ends_with(" failed: exit a"),
        "{text}"
    );
    let report = format!("{error:?}");
    let lines: Vec<_> = report.lines().collect();
    assert_eq!(lines[..2], ["outside", "    caused by: timed out"]);
    assert!(lines[2].starts_with("exit of `a` at "));
    trace();
}

#[test]
fn a_list_can_be_walked_in_both_orders_and_by_stage() {
    let error = thrice().unwrap_err();
    assert_eq!(newest_first(&error), ["exit a", "exit b", "body"]);
    assert_eq!(
        error.iter().rev().map(ToString::to_string).count(),
        error.iter().len()
    );
    assert_eq!(error.body().unwrap().to_string(), "body");
    assert_eq!(
        error.exits().map(Failure::stage).collect::<Vec<_>>(),
        [Stage::Exit, Stage::Exit]
    );
    assert!(format!("{error:#?}").starts_with("[\n"));
}

/// A boxed `anyhow::Error` hides the type of what it holds: its text and causes pass, its type
/// does not.
#[test]
fn a_bodys_anyhow_error_keeps_its_text_but_not_its_type() {
    let hidden = || -> Result<(), BoxError> { Err(anyhow::Error::new(oops("body")).into()) };
    let error = with(nullcontext(()), |()| hidden()).unwrap_err();
    assert_eq!(oldest_first(&error), ["body"]);
    assert!(!error.is::<Oops>());
    let ran = with(suppress::<Oops>(), |_| hidden());
    assert!(ran.is_err());
    let caused = anyhow::Error::new(oops("cause")).context("context");
    let ran = with(nullcontext(()), |()| Err::<(), _>(caused.into()));
    assert!(ran.unwrap_err().is::<Oops>());
    // A block's own error that passed through anyhow on its way can be taken out again first.
    let passed = anyhow::Error::new(thrice().unwrap_err());
    let ran = with(nullcontext(()), |()| {
        Err::<(), _>(passed.downcast::<Error>().unwrap().into())
    });
    assert_eq!(ran.unwrap_err().len(), 3);
}

#[test]
fn a_text_is_an_error() {
    let error = with(nullcontext(()), |()| Err::<(), _>("only text".into())).unwrap_err();
    assert_eq!(error.to_string(), "only text");
    assert_eq!(Error::new(fmt::Error).len(), 1);
}
