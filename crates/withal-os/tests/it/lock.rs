//! Locks between processes.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use withal_core::{BoxError, ExitStack, with};
use withal_os::{FileLock, LockError};

use crate::child;
use crate::support::{Place, chain, mode, read, set_mode};

fn holder(name: &str, path: &Path) -> Child {
    let mut holder = child::command(name, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child::wait_ready(&mut holder);
    holder
}

/// Waits until the kernel says that somebody waits for the file with this inode.
fn wait_for_waiter(inode: u64) {
    let end = format!(":{inode} 0 EOF");
    while !read("/proc/locks")
        .lines()
        .any(|line| line.contains("-> FLOCK") && line.ends_with(&end))
    {
        thread::yield_now();
    }
}

#[test]
fn it_is_held_in_the_block_and_released_after_it() {
    let place = Place::new();
    let path = place.join("lock");
    let lock = FileLock::exclusive(&path);
    with(lock.clone(), |held| {
        assert_eq!(held.path(), path);
        assert_eq!(read(&path), format!("{}\n", std::process::id()));
        assert!(lock.try_lock().unwrap_err().is_busy());
        Ok(())
    })
    .unwrap();
    with(lock.clone(), |_| Err::<(), BoxError>("failed".into())).unwrap_err();
    drop(lock.try_lock().unwrap());
    lock.try_lock().unwrap().release().unwrap();
    assert_eq!(read(&path), "");
}

#[test]
fn shared_locks_share_and_exclusive_ones_exclude() {
    let place = Place::new();
    let path = place.join("lock");
    let (shared, exclusive) = (FileLock::shared(&path), FileLock::exclusive(&path));
    let held = (shared.try_lock().unwrap(), shared.try_lock().unwrap());
    assert!(exclusive.try_lock().unwrap_err().is_busy());
    drop(held.0);
    assert!(exclusive.try_lock().unwrap_err().is_busy());
    drop(held.1);
    let held = exclusive.try_lock().unwrap();
    assert!(shared.try_lock().unwrap_err().is_busy());
    drop(held);
    assert!(shared.try_lock().is_ok());
}

#[test]
fn the_holder_is_named_and_its_death_releases_the_lock() {
    let place = Place::new();
    let path = place.join("lock");
    for name in ["hold-exclusive", "hold-shared"] {
        let mut other = holder(name, &path);
        let lock = FileLock::exclusive(&path).within(Duration::ZERO);
        let error = lock.clone().lock().unwrap_err();
        let found = error.holder().unwrap();
        assert_eq!(found.pid(), other.id());
        let command = found.command().unwrap();
        assert_eq!(
            chain(&error),
            format!(
                "`{}` is locked by process {} ({command})",
                path.display(),
                other.id()
            )
        );
        other.kill().unwrap();
        other.wait().unwrap();
        drop(lock.lock().unwrap());
    }
}

#[test]
fn a_bounded_wait_ends_and_says_how_long_it_was() {
    let place = Place::new();
    let path = place.join("lock");
    let _held = FileLock::exclusive(&path).try_lock().unwrap();
    let limit = Duration::from_millis(20);
    let error = FileLock::shared(&path).within(limit).lock().unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with(", still after 20ms"), "{text}");
    assert!(matches!(error, LockError::Busy { limit: said, .. } if said == limit));
}

#[test]
fn a_bounded_wait_gets_a_lock_that_becomes_free() {
    let place = Place::new();
    let path = place.join("lock");
    let mut other = holder("hold-exclusive", &path);
    let lock = FileLock::exclusive(&path).within(Duration::from_secs(600));
    let waiting = thread::spawn(move || lock.lock());
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    waiting.join().unwrap().unwrap().release().unwrap();
}

#[test]
fn an_endless_wait_gets_a_lock_that_becomes_free() {
    let place = Place::new();
    let path = place.join("lock");
    let held = FileLock::exclusive(&path).try_lock().unwrap();
    let lock = FileLock::shared(&path);
    let waiting = thread::spawn(move || lock.lock());
    wait_for_waiter(fs::metadata(&path).unwrap().ino());
    held.release().unwrap();
    waiting.join().unwrap().unwrap().release().unwrap();
}

#[test]
fn who_waits_for_a_deleted_file_gets_the_lock_of_the_new_one() {
    let place = Place::new();
    let path = place.join("lock");
    for replaced in [false, true] {
        let held = FileLock::exclusive(&path).try_lock().unwrap();
        let lock = FileLock::exclusive(&path);
        let waiting = thread::spawn(move || lock.lock());
        wait_for_waiter(fs::metadata(&path).unwrap().ino());
        fs::remove_file(&path).unwrap();
        if replaced {
            fs::write(&path, "").unwrap();
        }
        held.release().unwrap();
        let held = waiting.join().unwrap().unwrap();
        assert_eq!(
            held.file().metadata().unwrap().ino(),
            fs::metadata(&path).unwrap().ino()
        );
        assert!(FileLock::shared(&path).try_lock().unwrap_err().is_busy());
    }
}

#[test]
fn no_count_is_lost_between_processes() {
    let place = Place::new();
    let path = place.file("number", "0");
    let children: Vec<Child> = (0..6)
        .map(|_| {
            child::command("count", &path)
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(read(&path), "150");
}

#[test]
fn no_two_threads_hold_a_lock_whose_file_is_deleted_all_the_time() {
    let place = Place::new();
    let path = place.join("lock");
    let inside = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let held = FileLock::exclusive(&path).lock().unwrap();
                    assert!(!inside.swap(true, Ordering::SeqCst), "two hold it");
                    inside.store(false, Ordering::SeqCst);
                    // Its holder may delete the file: who waits for it moves on to the next, which
                    // may be locked from now on.
                    fs::remove_file(&path).unwrap();
                    held.release().unwrap();
                }
            });
        }
    });
}

#[test]
fn the_content_of_a_file_that_has_one_is_not_touched() {
    let place = Place::new();
    for content in ["data", "12345678901234567890\n", "12\n13\n", "12 ", "\n"] {
        let path = place.file("data", content);
        let held = FileLock::exclusive(&path).try_lock().unwrap();
        assert_eq!(read(&path), content);
        held.release().unwrap();
        assert_eq!(read(&path), content);
    }
    // A dead holder's record is nobody's.
    let path = place.file("lock", "4194304\n");
    let held = FileLock::exclusive(&path).try_lock().unwrap();
    assert_eq!(read(&path), format!("{}\n", std::process::id()));
    // What its holder writes into it stays.
    fs::write(&path, "result").unwrap();
    held.release().unwrap();
    assert_eq!(read(&path), "result");
}

#[test]
fn no_pid_is_written_where_none_is_wanted_and_the_holder_is_known_all_the_same() {
    let place = Place::new();
    let path = place.join("lock");
    let held = FileLock::exclusive(&path)
        .record_pid(false)
        .try_lock()
        .unwrap();
    assert_eq!(read(&path), "");
    let error = FileLock::shared(&path).try_lock().unwrap_err();
    assert_eq!(error.holder().unwrap().pid(), std::process::id());
    held.release().unwrap();
}

#[test]
fn the_lock_file_gets_the_mode_it_is_given_less_the_umask() {
    let place = Place::new();
    let _ = fs::File::create(place.join("any")).unwrap();
    drop(FileLock::exclusive(place.join("lock")).lock().unwrap());
    drop(
        FileLock::exclusive(place.join("private"))
            .mode(0o600)
            .lock()
            .unwrap(),
    );
    assert_eq!(mode(place.join("lock")), mode(place.join("any")));
    assert_eq!(mode(place.join("private")), 0o600);
}

#[test]
fn directories_and_read_only_files_can_be_locked() {
    let place = Place::new();
    let (path, directory) = (place.file("read-only", ""), place.join("directory"));
    set_mode(&path, 0o444);
    fs::create_dir(&directory).unwrap();
    for path in [&path, &directory] {
        let held = FileLock::exclusive(path).try_lock().unwrap();
        assert!(FileLock::shared(path).try_lock().unwrap_err().is_busy());
        held.release().unwrap();
    }
}

#[test]
fn what_cannot_be_locked_is_named() {
    let place = Place::new();
    let check = |name: &str, want: &str| {
        let path = place.join(name);
        let error = FileLock::exclusive(&path).lock().unwrap_err();
        assert!(!error.is_busy() && error.path() == path);
        let want = format!("cannot open the lock file `{}`: {want}", path.display());
        assert_eq!(chain(&error), want);
    };
    symlink("nowhere", place.join("link")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(place.join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    let _socket = std::os::unix::net::UnixListener::bind(place.join("socket")).unwrap();
    check("link", "it is a symbolic link; name the file it points at");
    check("fifo", "it is a FIFO; name a regular file or a directory");
    check(
        "socket",
        "it is a socket or a device; name a regular file or a directory",
    );
    check(
        "missing/lock",
        "its directory does not exist; make it first",
    );
    assert!(!place.join("nowhere").exists());
    let error = FileLock::exclusive("/dev/null").lock().unwrap_err();
    assert!(
        chain(&error).contains("it is a character device"),
        "{error}"
    );
}

#[test]
fn a_held_lock_enters_a_stack_and_a_child_does_not_inherit_it() {
    let place = Place::new();
    let path = place.join("lock");
    let lock = FileLock::exclusive(&path);
    let mut stack = ExitStack::new();
    stack.enter_context(lock.try_lock().unwrap()).unwrap();
    let mut sleeper = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    assert!(lock.try_lock().unwrap_err().is_busy());
    stack.close().unwrap();
    drop(lock.try_lock().unwrap());
    drop(sleeper.stdin.take());
    sleeper.wait().unwrap();
}

#[test]
fn flock_1_speaks_the_same_language() {
    let place = Place::new();
    let path = place.join("lock");
    let try_it = || {
        Command::new("flock")
            .arg("-n")
            .arg(&path)
            .arg("true")
            .status()
    };
    let held = FileLock::exclusive(&path).try_lock().unwrap();
    match try_it() {
        Ok(status) => assert_eq!(status.code(), Some(1)),
        Err(error) => return eprintln!("skipped: flock(1) cannot be run: {error}"),
    }
    held.release().unwrap();
    assert!(try_it().unwrap().success());
}
