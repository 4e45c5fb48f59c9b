//! Names, modes and texts that no test can reach from outside.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::attributes::Kept;
use super::target::split;
use super::temporary::{is_temporary, name};
use super::umask;

#[test]
fn temporaries_are_recognised_and_nothing_else_is() {
    let given = name(OsStr::new("config.toml")).unwrap();
    assert!(is_temporary(given.as_bytes()));
    let check = |name: &str, want| assert_eq!(is_temporary(name.as_bytes()), want, "{name}");
    let random = "0123456789abcdef0123456789abcdef";
    check(&format!(".a.{random}.withal-tmp"), true);
    check(&format!("..{random}.withal-tmp"), true);
    check(&format!(".{random}.withal-tmp"), false);
    check(&format!("a.{random}.withal-tmp"), false);
    check(&format!(".a.{random}.withal-tmp~"), false);
    check(&format!(".a.{}.withal-tmp", random.to_uppercase()), false);
    check(&format!(".a{random}.withal-tmp"), false);
    check(".a.withal-tmp", false);
    check(".withal-tmp", false);
}

#[test]
fn names_are_cut_between_characters_and_stay_short() {
    let check = |target: &str, want: &str| {
        let name = name(OsStr::new(target)).unwrap();
        let stem = &name.to_str().unwrap()[1..name.len() - 44];
        assert_eq!(stem, want);
        assert!(is_temporary(name.as_bytes()) && name.len() < 143);
    };
    check("short", "short");
    check(&"x".repeat(255), &"x".repeat(64));
    check(&"ä".repeat(100), &"ä".repeat(32));
    check(
        &format!("x{}", "ä".repeat(100)),
        &format!("x{}", "ä".repeat(31)),
    );
}

#[test]
fn two_names_are_never_the_same() {
    let names: std::collections::HashSet<_> =
        (0..1000).map(|_| name(OsStr::new("a")).unwrap()).collect();
    assert_eq!(names.len(), 1000);
}

#[test]
fn paths_are_split_as_the_kernel_reads_them() {
    let check = |path: &str, want: Option<(&str, &str)>| {
        let split = split(Path::new(path)).ok();
        assert_eq!(
            split,
            want.map(|(a, b)| (Path::new(a), OsStr::new(b))),
            "{path}"
        );
    };
    check("a", Some(("", "a")));
    check("/a", Some(("/", "a")));
    check("x/y/a", Some(("x/y/", "a")));
    check("x//a", Some(("x//", "a")));
    check("...", Some(("", "...")));
    for bad in ["", "/", "a/", "a/.", "a/..", ".", "..", "a\0b"] {
        check(bad, None);
    }
}

#[test]
fn rights_that_depend_on_a_lost_owner_are_not_passed_on() {
    let check = |user, group, mode, want: u32| {
        assert_eq!(Kept { user, group }.limit(mode), want, "{mode:o}");
    };
    check(true, true, 0o6775, 0o6775);
    check(false, true, 0o6775, 0o2775);
    check(true, false, 0o6770, 0o4700);
    check(true, false, 0o664, 0o644);
    check(true, false, 0o604, 0o644);
    check(false, false, 0o7777, 0o1777);
}

#[test]
fn the_umask_is_read_from_the_kernels_text() {
    assert_eq!(
        umask::parse("Name:\tx\nUmask:\t0027\nState:\tR\n"),
        Some(0o027)
    );
    assert_eq!(umask::parse("Name:\tUmask:\n"), None);
    assert_eq!(umask::parse(""), None);
}
