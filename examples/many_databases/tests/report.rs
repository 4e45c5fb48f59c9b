//! What the example prints is what its README shows.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::process::Command;

#[test]
fn what_was_opened_is_closed_in_reverse_whether_one_fails_or_not() {
    let ran = Command::new(env!("CARGO_BIN_EXE_many-databases"))
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let printed = String::from_utf8(ran.stdout).unwrap();
    let readme = include_str!("../README.md");
    assert!(readme.contains(&printed), "{printed}");
    assert!(!printed.contains("s3cret"));
}
