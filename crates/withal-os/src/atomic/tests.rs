//! Names, modes and texts that no test can reach from outside.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::attributes::Kept;
use super::options::Options;
use super::target::split;
use super::temporary::{create_named, is_temporary, kept_name, name};
use super::{AtomicFile, WriteErrorKind, acl, umask};
use crate::TempDir;

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
    let kept = kept_name(OsStr::new("config.toml")).unwrap();
    assert!(!is_temporary(kept.as_bytes()));
}

/// A writer on a filesystem that knows no files without a name.
fn open_named(path: &Path, no_clobber: bool) -> AtomicFile {
    let options = Options {
        no_clobber,
        ..Options::default()
    };
    let mut file = AtomicFile::open(path, options).unwrap();
    let (name, named) = create_named(&file.target.parent, &file.target.name).unwrap();
    (file.file, file.temporary) = (named, Some(name));
    file
}

#[test]
fn a_named_temporary_is_committed_or_removed_as_one_without_a_name() {
    let directory = TempDir::new().open().unwrap();
    let path = directory.path().join("a");
    let names = || fs::read_dir(directory.path()).unwrap().count();
    for no_clobber in [true, false] {
        let mut file = open_named(&path, no_clobber);
        file.write_all(b"new").unwrap();
        let before = names();
        file.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!((before, names()), (if no_clobber { 1 } else { 2 }, 1));
    }
    open_named(&path, false).abort().unwrap();
    drop(open_named(&path, false));
    assert_eq!(names(), 1);
}

#[test]
fn a_temporary_that_is_taken_away_or_exchanged_is_not_committed() {
    type Meddle = fn(&Path);
    let meddlers: [Meddle; 2] = [
        |temporary| fs::remove_file(temporary).unwrap(),
        |temporary| {
            fs::remove_file(temporary).unwrap();
            fs::write(temporary, "mine").unwrap();
        },
    ];
    for meddle in meddlers {
        for no_clobber in [false, true] {
            let directory = TempDir::new().open().unwrap();
            let path = directory.path().join("a");
            let mut file = open_named(&path, no_clobber);
            file.write_all(b"new").unwrap();
            let temporary = directory.path().join(file.temporary.as_ref().unwrap());
            meddle(&temporary);
            let error = file.commit().unwrap_err();
            assert_eq!(error.kind(), WriteErrorKind::Lost);
            assert!(!error.is_committed() && !path.exists());
            assert_eq!(
                error.to_string(),
                format!(
                    "`{}` was not written: its temporary file `{}` was removed or replaced by \
                     somebody else; see that it is left alone, and write it again",
                    path.display(),
                    temporary.display()
                )
            );
        }
    }
}

/// A list of entries: tag, rights, and the user or group that it is for.
fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut list = vec![2, 0, 0, 0];
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

#[test]
fn access_lists_are_read_as_the_kernel_writes_them() {
    let nobody = u32::MAX;
    let small = list(&[(1, 7, nobody), (4, 5, nobody), (0x20, 0, nobody)]);
    assert_eq!(acl::mode(&small), Some(0o640));
    let mut large = list(&[
        (1, 6, nobody),
        (2, 7, 1234),
        (4, 7, nobody),
        (0x10, 5, nobody),
        (0x20, 4, nobody),
    ]);
    assert_eq!(acl::mode(&large), Some(0o644));
    acl::limit_group(&mut large);
    let limited = [
        (1, 6, nobody),
        (2, 7, 1234),
        (4, 4, nobody),
        (0x10, 5, nobody),
        (0x20, 4, nobody),
    ];
    assert_eq!(large, list(&limited));
    for torn in [&[][..], &small[..4], &small[..11], &small[..20]] {
        assert_eq!(acl::mode(torn), None);
        acl::limit_group(&mut torn.to_vec());
    }
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
