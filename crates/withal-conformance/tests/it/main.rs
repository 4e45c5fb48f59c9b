//! The replay of the committed file, and that it can fail.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test"
)]

use std::path::Path;

use withal_conformance::difference;
use withal_conformance::format::{Case, Event, Outcome, read};
use withal_conformance::forms::Form;

fn cases() -> Vec<Case> {
    withal_core::set_notice_hook(|_| {});
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases.json")).unwrap()
}

fn differences(case: &Case) -> Vec<String> {
    Form::ALL
        .into_iter()
        .filter(|form| form.fits(case))
        .filter_map(|form| difference(case, form))
        .collect()
}

#[test]
fn every_recorded_program_does_what_cpython_did() {
    let cases = cases();
    assert_eq!(cases.len(), 1_500);
    for (number, case) in cases.iter().enumerate() {
        assert_eq!(differences(case), Vec::<String>::new(), "case {number}");
    }
}

#[test]
fn a_changed_record_is_a_difference_in_every_form() {
    for mut case in cases().into_iter().take(200) {
        let forms = Form::ALL.iter().filter(|form| form.fits(&case)).count();
        let outcome = case.outcome.clone();
        case.outcome = Outcome::Error(vec!["nothing fails like this".into()]);
        assert_eq!(differences(&case).len(), forms);
        case.outcome = outcome;
        let last = case.log.pop().unwrap();
        assert_eq!(differences(&case).len(), forms);
        case.log.push(match last {
            Event::Exit { entry, mut saw } => {
                saw.push("never raised".into());
                Event::Exit { entry, saw }
            }
            _ => Event::Body,
        });
        let same = case.log.last() == Some(&Event::Body) && differences(&case).is_empty();
        assert!(same || differences(&case).len() == forms);
    }
}

#[test]
fn a_bad_file_is_named() {
    let check = |text: &str, want: &str| {
        let path = std::env::temp_dir().join(format!("withal-conformance-{}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let error = format!("{:#}", read(&path).unwrap_err());
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains(want), "{error}");
        assert!(error.contains("withal-conformance-"), "{error}");
    };
    check("", "is not a file of cases");
    check(
        r#"{"format": 2, "python": "3", "cases": []}"#,
        "has format 2",
    );
    check(
        r#"{"format": 1, "python": "3", "cases": [{"entries": [], "body": "nap", "log": [], "final": {"returned": true}}]}"#,
        "unknown variant `nap`",
    );
    let missing = read(Path::new("/no/such/file")).unwrap_err();
    assert!(format!("{missing:#}").contains("/no/such/file"));
}
