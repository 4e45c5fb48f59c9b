//! Mode, owner and extended attributes.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::fs::{XattrFlags, getxattr, removexattr, setxattr};
use withal_core::with;
use withal_core::{NoticeKind, set_notice_hook};
use withal_os::{AtomicWriter, Durability, Preserve, WriteErrorKind, write_atomic};

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

#[test]
fn what_a_file_goes_without_is_told_once_and_only_if_it_is_written() {
    if !is_root() {
        return eprintln!("skipped: only root can make a file of another group");
    }
    let place = Place::for_all();
    let path = place.file("a", "old");
    chown(&path, Some(65534), Some(2345)).unwrap();
    let status = child::command("attributes-not-written", &path)
        .uid(65534)
        .gid(65534)
        .status();
    assert!(status.unwrap().success());
    assert_eq!(read(&path), "new");
}

/// Run by the owner of the file, who is not in its group.
pub(crate) fn as_owner(path: &Path) -> i32 {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&heard);
    set_notice_hook(move |notice| hook.lock().unwrap().push(notice.to_string()));
    // What was prepared is not always put in place.
    let file = AtomicWriter::create(path).if_unchanged(None).open();
    let error = file.unwrap().commit().unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::Changed);
    assert_eq!(*heard.lock().unwrap(), [""; 0]);
    let writer = AtomicWriter::create(path).durability(Durability::Atomic);
    with(writer, |file| Ok(file.write_all(b"new")?)).unwrap();
    let heard = heard.lock().unwrap();
    let [text] = heard.as_slice() else {
        panic!("{heard:?}");
    };
    let want = format!(
        ": `{}` was written, but not with all attributes: cannot keep the group of the old file",
        path.display()
    );
    assert!(text.ends_with(&want), "{text}");
    0
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
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&heard);
    set_notice_hook(move |notice| hook.lock().unwrap().push((notice.kind, notice.to_string())));
    with(writer, |file| Ok(file.write_all(b"tried")?)).unwrap();
    let heard = heard.lock().unwrap();
    let [(NoticeKind::WorkedAround, text)] = heard.as_slice() else {
        panic!("{heard:?}");
    };
    assert!(
        text.contains("cannot keep the owner of the old file"),
        "{text}"
    );
    let want = format!(
        ": `{}` was written, but not with all attributes: cannot keep the owner of the old file",
        path.display()
    );
    assert!(text.ends_with(&want), "{text}");
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

/// An access list of entries: tag, rights, and the user or group that it is for.
fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut list = vec![2, 0, 0, 0];
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

const ACL: &str = "system.posix_acl_access";
const NOBODY: u32 = u32::MAX;

/// A directory whose new files may be read and written by user 1234, and not by others.
fn with_default_list() -> Option<Place> {
    let place = Place::new();
    let default = list(&[
        (1, 7, NOBODY),
        (2, 6, 1234),
        (4, 5, NOBODY),
        (0x10, 7, NOBODY),
        (0x20, 0, NOBODY),
    ]);
    match setxattr(
        &*place,
        "system.posix_acl_default",
        &default,
        XattrFlags::empty(),
    ) {
        Ok(()) => Some(place),
        Err(error) => {
            eprintln!("skipped: no access lists here: {error}");
            None
        }
    }
}

#[test]
fn a_new_file_gets_the_list_and_mode_of_any_new_file() {
    let Some(place) = with_default_list() else {
        return;
    };
    let any = place.file("any", "");
    for durability in [Durability::Durable, Durability::Atomic] {
        let path = place.join("ours");
        let writer = AtomicWriter::create_new(&path).durability(durability);
        with(writer, |_| Ok(())).unwrap();
        assert_eq!(mode(&path), mode(&any));
        assert!(attribute(&path, ACL).is_some());
        assert_eq!(attribute(&path, ACL), attribute(&any, ACL));
        fs::remove_file(path).unwrap();
    }
}

#[test]
fn a_directorys_default_list_gives_nobody_rights_to_a_file_that_had_none() {
    let Some(place) = with_default_list() else {
        return;
    };
    let path = place.file("a", "old");
    removexattr(&path, ACL).unwrap();
    set_mode(&path, 0o660);
    let writer = AtomicWriter::create(&path);
    for preserve in [Preserve::Require, Preserve::Try] {
        with(writer.clone().acl(preserve), |_| Ok(())).unwrap();
        assert_eq!((attribute(&path, ACL), mode(&path)), (None, 0o660));
    }
    with(writer.clone().acl(Preserve::Ignore), |_| Ok(())).unwrap();
    assert!(attribute(&path, ACL).is_some());
    // A given mode is all there is.
    with(writer.mode(0o640), |_| Ok(())).unwrap();
    assert_eq!((attribute(&path, ACL), mode(&path)), (None, 0o640));
    let new = AtomicWriter::create(place.join("new")).mode(0o640);
    with(new, |_| Ok(())).unwrap();
    assert_eq!(attribute(&place.join("new"), ACL), None);
    assert_eq!(mode(place.join("new")), 0o640);
}

#[test]
fn a_group_that_is_lost_keeps_no_rights_in_the_list() {
    if !is_root() {
        return eprintln!("skipped: only root can make a file of another group");
    }
    let place = Place::new();
    let path = place.file("a", "old");
    let of_group = |rights| {
        list(&[
            (1, 6, NOBODY),
            (2, 6, 1234),
            (4, rights, NOBODY),
            (0x10, 6, NOBODY),
            (0x20, 0, NOBODY),
        ])
    };
    chown(&path, None, Some(2345)).unwrap();
    if let Err(error) = setxattr(&path, ACL, &of_group(6), XattrFlags::empty()) {
        return eprintln!("skipped: no access lists here: {error}");
    }
    let writer = AtomicWriter::create(&path);
    with(writer.clone(), |_| Ok(())).unwrap();
    assert_eq!(attribute(&path, ACL), Some(of_group(6)));
    with(writer.owner(Preserve::Ignore), |_| Ok(())).unwrap();
    assert_eq!(attribute(&path, ACL), Some(of_group(0)));
}

#[test]
fn the_mode_the_label_and_the_rest_are_kept_or_not_each_by_itself() {
    let place = Place::new();
    let path = place.file("a", "old");
    let any = place.file("any", "");
    let (label, other) = ("security.selinux", "user.other");
    let set = |name, value| setxattr(&path, name, value, XattrFlags::empty()).is_ok();
    let label_before = attribute(&path, label);
    let (has_label, has_other) = (
        set(label, b"system_u:object_r:etc_t:s0\0"),
        set(other, b"x"),
    );
    set_mode(&path, 0o751);

    let writer = AtomicWriter::create(&path);
    with(writer.clone(), |_| Ok(())).unwrap();
    assert_eq!(mode(&path), 0o751);
    assert_eq!(attribute(&path, other).is_some(), has_other);
    with(writer.clone().xattrs(Preserve::Ignore), |_| Ok(())).unwrap();
    assert_eq!(attribute(&path, other), None);
    assert_eq!(mode(&path), 0o751);
    if has_label && label_before.is_none() {
        assert!(attribute(&path, label).is_some());
        with(writer.clone().selinux(Preserve::Ignore), |_| Ok(())).unwrap();
        assert_eq!(attribute(&path, label), None);
    }
    with(writer.permissions(Preserve::Ignore), |_| Ok(())).unwrap();
    assert_eq!(mode(&path), mode(any));
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
