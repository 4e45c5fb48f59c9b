//! Mode, owner and extended attributes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use withal_core::with;
use withal_os::{AtomicWriter, Preserve, WriteErrorKind, write_atomic};

use crate::child;
use crate::support::{Place, is_root, mode, read, set_mode};

#[test]
fn the_mode_of_the_old_file_is_kept_and_a_given_one_wins() {
    let check = |old: u32, given: Option<u32>, want: u32| {
        let place = Place::new();
        let path = place.file("a", "old");
        set_mode(&path, old);
        let mut writer = AtomicWriter::create(&path);
        if let Some(given) = given {
            writer = writer.mode(given);
        }
        with(writer, |file| Ok(file.write_all(b"new")?)).unwrap();
        assert_eq!(mode(&path), want, "{old:o} {given:?}");
    };
    check(0o640, None, 0o640);
    check(0o777, None, 0o777);
    check(0o400, None, 0o400);
    check(0o6755, None, 0o6755);
    check(0o640, Some(0o604), 0o604);
    check(0o640, Some(0o1_777_777), 0o7777);
}

#[test]
fn a_new_file_gets_what_any_new_file_would() {
    let place = Place::new();
    let _ = fs::File::create(place.join("any")).unwrap();
    write_atomic(place.join("ours"), "").unwrap();
    assert_eq!(mode(place.join("ours")), mode(place.join("any")));
    let writer = AtomicWriter::create(place.join("private")).mode(0o600);
    with(writer, |_| Ok(())).unwrap();
    assert_eq!(mode(place.join("private")), 0o600);
}

#[test]
fn root_keeps_owner_and_group_unless_told_not_to() {
    if !is_root() {
        return eprintln!("skipped: only root gives files away");
    }
    let check = |preserve: Preserve, want: (u32, u32), want_mode: u32| {
        let place = Place::new();
        let path = place.file("a", "old");
        chown(&path, Some(1234), Some(2345)).unwrap();
        set_mode(&path, 0o4664);
        let writer = AtomicWriter::create(&path).owner(preserve);
        with(writer, |file| Ok(file.write_all(b"new")?)).unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), want);
        assert_eq!(mode(&path), want_mode);
    };
    check(Preserve::Require, (1234, 2345), 0o4664);
    check(Preserve::Try, (1234, 2345), 0o4664);
    check(Preserve::Ignore, (0, 0), 0o644);
}

#[test]
fn a_user_who_cannot_keep_the_owner_passes_on_no_rights() {
    if !is_root() {
        return eprintln!("skipped: only root can make a file of somebody else's");
    }
    let place = Place::for_all();
    let path = place.file("a", "old");
    set_mode(&path, 0o4664);
    let status = child::command("attributes", &path)
        .uid(65534)
        .gid(65534)
        .status();
    assert!(status.unwrap().success());
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (65534, 65534));
    assert_eq!((mode(&path), read(&path).as_str()), (0o644, "tried"));
}

/// Run by a user whom the file does not belong to.
pub(crate) fn as_nobody(path: &Path) -> i32 {
    let writer = AtomicWriter::create(path);
    let required = with(writer.clone().owner(Preserve::Require), |_| Ok(())).unwrap_err();
    let required = required.downcast_ref::<withal_os::WriteError>().unwrap();
    assert_eq!(required.kind(), WriteErrorKind::NotCommitted);
    assert_eq!(
        required.operation(),
        "cannot keep the owner of the old file"
    );
    assert_eq!(read(path), "old");
    with(writer, |file| Ok(file.write_all(b"tried")?)).unwrap();
    0
}

/// The value of an attribute, `None` if there is none.
fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 4096];
    let length = getxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn extended_attributes_are_kept_but_for_those_of_the_content() {
    let place = Place::new();
    let path = place.file("a", "old");
    let long = vec![b'v'; 1000];
    if let Err(error) = setxattr(&path, "user.long", &long, XattrFlags::empty()) {
        return eprintln!("skipped: no extended attributes here: {error}");
    }
    setxattr(&path, "user.short", b"", XattrFlags::empty()).unwrap();
    // Version 2, no rights: enough to be a capability.
    let capability = [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let has_capability = setxattr(
        &path,
        "security.capability",
        &capability,
        XattrFlags::empty(),
    )
    .is_ok();
    assert_eq!(
        attribute(&path, "security.capability").is_some(),
        has_capability
    );

    let writer = AtomicWriter::create(&path);
    for preserve in [Preserve::Require, Preserve::Try] {
        with(writer.clone().xattrs(preserve), |file| {
            Ok(file.write_all(b"new")?)
        })
        .unwrap();
        assert_eq!(attribute(&path, "user.long"), Some(long.clone()));
        assert_eq!(attribute(&path, "user.short"), Some(Vec::new()));
        assert_eq!(attribute(&path, "security.capability"), None);
    }
    with(writer.xattrs(Preserve::Ignore), |_| Ok(())).unwrap();
    assert_eq!(attribute(&path, "user.long"), None);
}

#[test]
fn access_lists_are_kept() {
    let place = Place::new();
    let path = place.file("a", "old");
    // user::rw-, user:1234:rw-, group::r--, mask::rw-, other::---
    let list: Vec<u8> = [
        &[2, 0, 0, 0][..],
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[2, 0, 6, 0, 210, 4, 0, 0],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[16, 0, 6, 0, 255, 255, 255, 255],
        &[32, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    let name = "system.posix_acl_access";
    if let Err(error) = setxattr(&path, name, &list, XattrFlags::empty()) {
        return eprintln!("skipped: no access lists here: {error}");
    }
    write_atomic(&path, "new").unwrap();
    assert_eq!(attribute(&path, name), Some(list));
    assert_eq!(mode(&path), 0o660);

    let writer = AtomicWriter::create(&path).mode(0o600);
    with(writer, |_| Ok(())).unwrap();
    assert_eq!((attribute(&path, name), mode(&path)), (None, 0o600));
}

#[test]
fn a_strict_umask_keeps_a_new_file_private() {
    let place = Place::new();
    let path = place.join("a");
    // The umask is the process's: changed in one of its own.
    let mut shell = Command::new("sh");
    let _ = shell.args(["-c", "umask 077; exec \"$@\"", "sh"]);
    let status = child::command_under(shell, "make", &path).status().unwrap();
    assert_eq!(status.code(), Some(child::COMMITTED));
    assert_eq!(mode(&path), 0o600);
}
