//! Temporary directories: private, removed, and nothing else removed.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use withal_core::{BoxError, with};
use withal_os::TempDir;

use crate::child;
use crate::support::{Mount, Place, chain, is_root, mode, names, read, set_mode};

#[test]
fn it_is_private_absolute_and_gone_after_the_block() {
    let place = Place::new();
    let path = with(TempDir::new_in(&*place).prefix("job-"), |directory| {
        let path = directory.path().to_owned();
        assert!(path.is_absolute() && path.starts_with(&*place));
        assert_eq!(mode(&path), 0o700);
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("job-") && name.len() == 4 + 32);
        fs::create_dir_all(path.join("a/b/c"))?;
        fs::write(path.join("a/b/file"), "")?;
        Ok(path)
    })
    .unwrap();
    assert!(!path.exists());
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn it_is_gone_after_an_error_a_panic_and_a_drop() {
    let place = Place::new();
    let manager = TempDir::new_in(&*place);
    with(manager.clone(), |_| Err::<(), BoxError>("failed".into())).unwrap_err();
    let panicking = manager.clone();
    thread::spawn(|| {
        with(panicking, |_| -> Result<(), BoxError> {
            panic!("on purpose")
        })
    })
    .join()
    .unwrap_err();
    drop(manager.clone().open().unwrap());
    manager.open().unwrap().close().unwrap();
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn it_stays_where_it_is_kept() {
    let place = Place::new();
    let manager = TempDir::new_in(&*place);
    let kept = with(manager.clone(), |directory| Ok(directory.keep().to_owned())).unwrap();
    let path = manager.open().unwrap().into_path();
    assert!(kept.is_dir() && path.is_dir());
    assert_eq!(place.names().len(), 2);
}

#[test]
fn links_are_removed_and_not_followed() {
    let place = Place::new();
    let precious = place.join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "precious").unwrap();
    with(TempDir::new_in(&*place), |directory| {
        symlink(&precious, directory.path().join("directory"))?;
        symlink(precious.join("file"), directory.path().join("file"))?;
        symlink("/", directory.path().join("root"))?;
        symlink("nowhere", directory.path().join("dangling"))?;
        Ok(())
    })
    .unwrap();
    assert_eq!(read(precious.join("file")), "precious");
    assert_eq!(place.names(), ["precious"]);
}

#[test]
fn a_directory_that_was_replaced_is_left_alone() {
    let place = Place::new();
    let directory = TempDir::new_in(&*place).open().unwrap();
    let path = directory.path().to_owned();
    fs::rename(&path, place.join("moved")).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("theirs"), "").unwrap();
    let error = directory.close().unwrap_err();
    assert_eq!(error.path(), path);
    let replaced = |path: &Path| {
        format!(
            "temporary directory `{0}` was not removed: `{0}` was moved or replaced by somebody \
             else: what has its name now is left alone; remove what you do not need by hand",
            path.display()
        )
    };
    assert_eq!(chain(&error), replaced(&path));
    assert_eq!(names(&path), ["theirs"]);
    assert!(place.join("moved").is_dir());

    let directory = TempDir::new_in(&*place).open().unwrap();
    fs::rename(directory.path(), place.join("again")).unwrap();
    symlink(place.join("moved"), directory.path()).unwrap();
    let path = directory.path().to_owned();
    let error = directory.close().unwrap_err();
    assert_eq!(chain(&error), replaced(&path));
    assert!(place.join("moved").is_dir());
}

#[test]
fn a_directory_that_is_gone_already_is_no_error() {
    let place = Place::new();
    let removed = with(TempDir::new_in(&*place), |directory| {
        Ok(fs::remove_dir(directory.path())?)
    });
    removed.unwrap();
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn it_is_found_again_when_its_parent_was_renamed() {
    let place = Place::new();
    fs::create_dir(place.join("before")).unwrap();
    let directory = TempDir::new_in(place.join("before")).open().unwrap();
    fs::rename(place.join("before"), place.join("after")).unwrap();
    directory.close().unwrap();
    assert_eq!(names(&place.join("after")), [""; 0]);
}

#[test]
fn a_mount_inside_is_reported_and_not_entered() {
    let place = Place::new();
    let precious = place.join("precious");
    fs::create_dir(&precious).unwrap();
    fs::write(precious.join("file"), "precious").unwrap();
    let check = |arguments: &[&str]| {
        let directory = TempDir::new_in(&*place).open().unwrap();
        let path = directory.path().to_owned();
        fs::create_dir_all(path.join("deep/mount")).unwrap();
        fs::write(path.join("deep/beside"), "").unwrap();
        let Some(_mount) = Mount::new(arguments, &path.join("deep/mount")) else {
            return;
        };
        fs::write(path.join("deep/mount/inside"), "").unwrap();
        let error = directory.close().unwrap_err();
        let error = chain(&error);
        let want = "/deep/mount` is a mount point, which is not entered: unmount it, then remove \
                    it by hand";
        assert!(error.ends_with(want), "{error}");
        assert_eq!(names(&path.join("deep")), ["mount"], "the rest is removed");
        assert!(path.join("deep/mount/inside").exists());
    };
    check(&["-t", "tmpfs", "-o", "size=64k", "withal-test"]);
    // The same filesystem: only the mount tells.
    check(&["--bind", precious.to_str().unwrap()]);
    assert_eq!(read(precious.join("file")), "precious");
}

#[test]
fn depth_needs_neither_stack_nor_descriptors() {
    let place = Place::new();
    let directory = TempDir::new_in(&*place).open().unwrap();
    let mut here = rustix::fs::open(
        directory.path(),
        rustix::fs::OFlags::PATH,
        rustix::fs::Mode::empty(),
    )
    .unwrap();
    for _ in 0..5000 {
        rustix::fs::mkdirat(&here, "d", rustix::fs::Mode::RWXU).unwrap();
        here = rustix::fs::openat(
            &here,
            "d",
            rustix::fs::OFlags::PATH,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
    }
    let closing = thread::Builder::new().stack_size(128 << 10);
    closing
        .spawn(|| directory.close())
        .unwrap()
        .join()
        .unwrap()
        .unwrap();
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn thousands_of_files_are_removed_while_others_are_made() {
    let place = Place::new();
    let directory = TempDir::new_in(&*place).open().unwrap();
    let path = directory.path().to_owned();
    for number in 0..3000 {
        fs::write(path.join(number.to_string()), "").unwrap();
    }
    fs::create_dir(path.join("d")).unwrap();
    let busy = thread::spawn(move || {
        // Until the directory is gone.
        (0..50_000)
            .take_while(|n| fs::write(path.join(format!("d/{n}")), "").is_ok())
            .count()
    });
    let closed = directory.close();
    let made = busy.join().unwrap();
    // Either it was faster, or it says what it could not do.
    match closed {
        Ok(()) => assert_eq!(place.names(), [""; 0], "{made}"),
        Err(error) => assert!(chain(&error).contains("Directory not empty"), "{error}"),
    }
}

#[test]
fn its_owner_gets_rid_of_read_only_directories() {
    let place = Place::for_all();
    let mut command = child::command("tempdir", &place);
    if is_root() {
        command.uid(65534).gid(65534);
    }
    assert!(command.status().unwrap().success());
}

/// Run by a user who is not root: modes bind it.
pub(crate) fn as_nobody(path: &Path) -> i32 {
    with(TempDir::new_in(path), |directory| {
        for (name, mode) in [
            ("read-only", 0o555),
            ("closed", 0o000),
            ("write-only", 0o300),
        ] {
            let inner = directory.path().join(name);
            fs::create_dir_all(inner.join("in"))?;
            fs::write(inner.join("in/file"), "")?;
            set_mode(inner.join("in"), mode);
            set_mode(inner, mode);
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(names(path), [""; 0]);

    let error = TempDir::new_in("/proc").open().unwrap_err();
    assert!(error.to_string().contains("`/proc`"));
    0
}

#[test]
fn the_umask_cannot_make_it_useless() {
    let place = Place::for_all();
    let mut shell = Command::new("sh");
    shell.args(["-c", "umask 0777; exec \"$@\"", "sh"]);
    let mut command = child::command_under(shell, "tempdir-strict", &place);
    if is_root() {
        command.uid(65534).gid(65534);
    }
    assert!(command.status().unwrap().success());
    assert_eq!(place.names(), [""; 0]);
}

/// Run under a umask that takes every right.
pub(crate) fn under_strict_umask(path: &Path) -> i32 {
    with(TempDir::new_in(path), |directory| {
        Ok(assert_eq!(mode(directory.path()), 0o700))
    })
    .unwrap();
    0
}

#[test]
fn what_is_wrong_with_a_parent_is_said() {
    let place = Place::new();
    let check = |manager: TempDir, want: &str| {
        assert_eq!(chain(&manager.open().unwrap_err()), want);
    };
    let missing = place.join("missing");
    check(
        TempDir::new_in(&missing),
        &format!(
            "cannot make a temporary directory in `{}`: No such file or directory (os error 2)",
            missing.display()
        ),
    );
    check(
        TempDir::new_in(&*place).prefix("a/b"),
        &format!(
            "cannot make a temporary directory in `{}`: its prefix contains a slash: give the \
             directory to `new_in`",
            place.display()
        ),
    );
}
