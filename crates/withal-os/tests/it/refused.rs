//! What cannot be replaced, and what is said about it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use withal_os::{AtomicWriter, FileLock, Symlinks, WriteErrorKind, write_atomic};

use crate::child;
use crate::support::{Mount, Place, chain, is_root, read, set_mode};

fn check(path: &Path, kind: WriteErrorKind, reason: &str) {
    let error = write_atomic(path, "new").unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert_eq!(error.path(), path);
    assert!(!error.is_committed());
    let shown = path.display().to_string().replace('\0', "\\u{0}");
    let want = format!("`{shown}` was not written: {reason}");
    assert_eq!(chain(&error), want);
}

#[test]
fn directories_and_special_files_are_refused_before_anything_is_written() {
    let place = Place::new();
    fs::create_dir(place.join("directory")).unwrap();
    let _socket = UnixListener::bind(place.join("socket")).unwrap();
    let made = Command::new("mkfifo")
        .arg(place.join("fifo"))
        .status()
        .unwrap();
    assert!(made.success());
    let before = place.names();
    check(
        &place.join("directory"),
        WriteErrorKind::WrongType,
        "it is a directory; name a file in it",
    );
    check(
        &place.join("fifo"),
        WriteErrorKind::WrongType,
        "it is a FIFO, which cannot be replaced; write to it directly",
    );
    check(
        &place.join("socket"),
        WriteErrorKind::WrongType,
        "it is a socket, which cannot be replaced; write to it directly",
    );
    check(
        Path::new("/dev/null"),
        WriteErrorKind::WrongType,
        "it is a character device, which cannot be replaced; write to it directly",
    );
    assert_eq!(place.names(), before);
}

#[test]
fn a_target_that_becomes_something_else_is_refused_at_the_commit() {
    let place = Place::new();
    let path = place.join("a");
    let file = AtomicWriter::create(&path).open().unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(file.commit().unwrap_err().kind(), WriteErrorKind::WrongType);
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn paths_that_name_no_file_are_refused() {
    let place = Place::new();
    let directory = "its path ends in `/` and so names a directory; leave the slash out";
    let dots = "its path ends in `.` or `..` and so names a directory";
    check(
        Path::new(""),
        WriteErrorKind::InvalidPath,
        "its path is empty",
    );
    check(Path::new("/"), WriteErrorKind::InvalidPath, directory);
    check(&place.join("a/"), WriteErrorKind::InvalidPath, directory);
    check(&place.join(".."), WriteErrorKind::InvalidPath, dots);
    check(&place.join("a/."), WriteErrorKind::InvalidPath, dots);
    let nul = "its path contains a NUL byte";
    check(&place.join("a\0b"), WriteErrorKind::InvalidPath, nul);
}

#[test]
fn a_directory_that_is_missing_or_none_is_named() {
    let place = Place::new();
    let _ = place.file("file", "");
    check(
        &place.join("missing/a"),
        WriteErrorKind::NotCommitted,
        &format!(
            "cannot open the directory `{}/`; make it first: No such file or directory (os error 2)",
            place.join("missing").display()
        ),
    );
    check(
        &place.join("file/a"),
        WriteErrorKind::NotCommitted,
        &format!(
            "cannot open the directory `{}/`; name a file in a directory: Not a directory (os error 20)",
            place.join("file").display()
        ),
    );
    check(
        &place.join("x".repeat(256)),
        WriteErrorKind::NotCommitted,
        "choose a shorter name: File name too long (os error 36)",
    );
}

#[test]
fn links_are_refused_where_that_is_asked_for_and_endless_ones_always() {
    let place = Place::new();
    let _ = place.file("file", "old");
    symlink("file", place.join("link")).unwrap();
    symlink("loop", place.join("loop")).unwrap();
    let opened = AtomicWriter::create(place.join("link"))
        .symlinks(Symlinks::Refuse)
        .open();
    let error = opened.unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::Symlink);
    assert_eq!(
        chain(&error),
        format!(
            "`{}` was not written: it is a symbolic link, and the writer was told to refuse links",
            place.join("link").display()
        )
    );
    check(
        &place.join("loop"),
        WriteErrorKind::NotCommitted,
        "cannot follow its symbolic links: Too many levels of symbolic links (os error 40)",
    );
}

#[test]
fn a_mount_point_is_refused_by_the_kernel_and_said_to_be_one() {
    let place = Place::new();
    let (path, other) = (place.file("a", "old"), place.file("b", "mounted"));
    let source = other.to_str().unwrap();
    let Some(_mount) = Mount::new(&["--bind", source], &path) else {
        return;
    };
    check(
        &path,
        WriteErrorKind::NotCommitted,
        "cannot put it in place: it is a mount point, whose name cannot be given to another file; \
         write to it directly: Device or resource busy (os error 16)",
    );
    assert_eq!(place.names(), ["a", "b"]);
}

#[test]
fn a_read_only_directory_is_named() {
    let place = Place::for_all();
    let path = place.file("a", "old");
    set_mode(&*place, 0o555);
    let mut command = child::command("read-only", &path);
    if is_root() {
        let _ = command.uid(65534).gid(65534);
    }
    let status = command.status();
    set_mode(&*place, 0o755);
    assert!(status.unwrap().success());
    assert_eq!(read(&path), "old");
}

/// Run by a user who may not write to the directory.
pub(crate) fn as_nobody(path: &Path) -> i32 {
    check(
        path,
        WriteErrorKind::NotCommitted,
        &format!(
            "cannot make a temporary file in `{}/`, where its replacement is written: Permission \
             denied (os error 13)",
            path.parent().unwrap().display()
        ),
    );
    // Not that there is no such file: it could not be made.
    let lock = path.with_file_name("lock");
    let error = FileLock::exclusive(&lock).lock().unwrap_err();
    assert_eq!(
        chain(&error),
        format!(
            "cannot open the lock file `{}`: Permission denied (os error 13)",
            lock.display()
        )
    );
    0
}

#[test]
fn a_path_that_is_no_line_of_text_is_told_as_one() {
    let place = Place::new();
    let path = place.join(OsStr::from_bytes(b"two\nlines\xff/a"));
    let error = chain(&write_atomic(path, "").unwrap_err());
    assert!(
        error.contains("two\\nlines\\xff/a` was not written"),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_file_that_must_not_change_is_left_and_named() {
    let place = Place::new();
    let path = place.file("a", "old");
    let chattr = |flag: &str| Command::new("chattr").arg(flag).arg(&path).output();
    match chattr("+i") {
        Ok(output) if output.status.success() => {}
        refused => return eprintln!("skipped: no immutable files here: {refused:?}"),
    }
    let errors: Vec<_> = [
        AtomicWriter::create(&path),
        AtomicWriter::create(&path).backup_suffix("~"),
    ]
    .map(|writer| writer.open().unwrap().commit().unwrap_err())
    .into();
    assert!(chattr("-i").unwrap().status.success());
    let want = format!(
        "`{}` was not written: cannot put it in place: Operation not permitted (os error 1)",
        path.display()
    );
    for error in errors {
        assert_eq!(chain(&error), want);
        assert!(!error.is_committed());
    }
    assert_eq!(read(&path), "old");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn errors_turn_into_io_errors_that_keep_kind_and_text() {
    let place = Place::new();
    let path = place.join("missing/a");
    let error = std::io::Error::from(write_atomic(&path, "").unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains(path.to_str().unwrap()));
    let error = std::io::Error::from(write_atomic("", "").unwrap_err());
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
