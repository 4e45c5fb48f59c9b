//! The list keeps what it is given, in order, whoever else holds it.

use super::*;

fn failure(text: &str) -> Failure {
    Failure::new(Stage::Exit, None, text.into())
}

fn texts(error: &Error) -> Vec<String> {
    error.iter().map(|f| f.error().to_string()).collect()
}

#[test]
fn pushing_leaves_clones_as_they_were() {
    let mut error = Error::new("a");
    let seen = error.clone();
    error.push(failure("b"));
    assert_eq!(texts(&seen), ["a"]);
    assert_eq!(texts(&error), ["a", "b"]);
    assert!(seen.is_prefix_of(&error));
    assert!(!error.is_prefix_of(&seen));
    assert_eq!(texts(&error.since(&seen).unwrap()), ["b"]);
    assert!(error.since(&error).is_none());
}

#[test]
fn a_hundred_thousand_failures_are_kept_shown_and_dropped_without_recursion() {
    let mut error = Error::new("0");
    for n in 1..100_000 {
        error.push(failure(&n.to_string()));
    }
    let shared = error.clone();
    assert_eq!(error.len(), 100_000);
    assert_eq!(error.first().error().to_string(), "0");
    assert_eq!(
        error.newest_first().next().unwrap().error().to_string(),
        "99999"
    );
    assert!(error.to_string().ends_with("; then 99999"));
    drop(error);
    drop(shared);
}

#[test]
fn a_shared_or_longer_list_is_given_back_by_downcast() {
    let error = Error::new(std::fmt::Error);
    let clone = error.clone();
    let error = error.downcast::<std::fmt::Error>().unwrap_err();
    drop(clone);
    assert!(error.downcast::<std::fmt::Error>().is_ok());

    let mut error = Error::new(std::fmt::Error);
    error.push(failure("b"));
    let error = error.downcast::<std::fmt::Error>().unwrap_err();
    assert_eq!(error.len(), 2);
    assert!(error.is::<std::fmt::Error>());
}
