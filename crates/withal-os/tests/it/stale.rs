//! Temporaries of the dead are removed, those of the living never.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use rustix::fs::{FlockOperation, flock};
use withal_os::{AtomicDir, AtomicWriter, write_atomic};

use crate::child;
use crate::support::{Place, read, temporaries};

const DEAD: &str = ".a.0123456789abcdef0123456789abcdef.withal-tmp";

#[test]
fn a_writer_killed_before_its_commit_leaves_nothing() {
    let place = Place::new();
    let path = place.file("a", "old");
    let mut dying = child::command("open-and-wait", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child::wait_ready(&mut dying);
    assert_eq!(place.names(), ["a"]);
    dying.kill().unwrap();
    let _ = dying.wait().unwrap();
    assert_eq!(
        (place.names(), read(&path)),
        (vec!["a".into()], "old".into())
    );
}

#[test]
fn a_temporary_stays_as_long_as_its_writer_lives() {
    let place = Place::new();
    // As one has in the midst of a commit, or where files cannot be without a name.
    let living = fs::File::create(place.join(DEAD)).unwrap();
    flock(&living, FlockOperation::LockExclusive).unwrap();
    for _ in 0..3 {
        write_atomic(place.join("a"), "between").unwrap();
        assert_eq!(temporaries(&place), [DEAD]);
    }
    drop(living);
    write_atomic(place.join("another"), "new").unwrap();
    assert_eq!(place.names(), ["a", "another"]);
}

#[test]
fn writers_of_one_file_do_not_disturb_each_other() {
    let place = Place::new();
    let path = place.file("a", "old");
    let mut other = child::command("open-and-wait", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child::wait_ready(&mut other);
    let mut ours = AtomicWriter::create(&path).open().unwrap();
    ours.write_all(b"ours").unwrap();
    for _ in 0..3 {
        write_atomic(&path, "between").unwrap();
    }
    ours.commit().unwrap();
    assert_eq!(read(&path), "ours");
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    assert_eq!(read(&path), "alive");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn an_old_file_on_its_way_to_be_a_backup_is_nobodys_to_remove() {
    let place = Place::new();
    let old = DEAD.replace("tmp", "old");
    let _ = place.file(&old, "old");
    write_atomic(place.join("a"), "new").unwrap();
    assert_eq!(place.names(), [old, "a".to_owned()]);
}

#[test]
fn only_what_is_certainly_a_temporary_is_removed() {
    let place = Place::new();
    let keep = [
        ".a.withal-tmp",
        ".a.0123456789abcdef.withal-tmp",
        "a.0123456789abcdef0123456789abcdef.withal-tmp",
        ".a.0123456789ABCDEF0123456789ABCDEF.withal-tmp",
    ];
    for name in keep {
        let _ = place.file(name, "");
    }
    let link = ".link.0123456789abcdef0123456789abcdef.withal-tmp";
    let victim = place.file("victim", "precious");
    std::os::unix::fs::symlink(&victim, place.join(link)).unwrap();
    let directory = ".dir.0123456789abcdef0123456789abcdef.withal-tmp";
    fs::create_dir(place.join(directory)).unwrap();
    let _ = place.file(DEAD, "dead");

    write_atomic(place.join("b"), "").unwrap();
    let names = place.names();
    assert!(!names.iter().any(|name| name == DEAD));
    for name in keep.into_iter().chain([link, directory, "victim"]) {
        assert!(
            names.iter().any(|other| other == name),
            "{name} was removed"
        );
    }
    assert_eq!(read(victim), "precious");
}

#[test]
fn a_dead_directory_is_removed_by_the_next_writer_of_directories() {
    let place = Place::new();
    fs::create_dir_all(place.join(DEAD).join("in/deep")).unwrap();
    fs::write(place.join(DEAD).join("in/file"), "").unwrap();
    // That there are no dead files says nothing of directories.
    drop(AtomicWriter::create(place.join("file")).open().unwrap());
    drop(AtomicDir::create(place.join("site")).open().unwrap());
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn where_none_was_left_the_next_writers_do_not_look() {
    let place = Place::new();
    let write = || write_atomic(place.join("a"), "new").unwrap();
    write();
    let _ = place.file(DEAD, "");
    let swept = (1..).position(|_| {
        write();
        temporaries(&place).is_empty()
    });
    assert_eq!(swept, Some(15));
    // Where one was found, there may be more.
    let _ = place.file(DEAD, "");
    write();
    assert_eq!(temporaries(&place), [""; 0]);
    // A new process looks.
    let _ = place.file(DEAD, "");
    let looks = child::command("replace", &place.join("a")).status();
    assert!(looks.unwrap().success());
    assert_eq!(temporaries(&place), [""; 0]);
}

#[test]
fn many_writers_in_a_large_directory_do_not_read_it_each_time() {
    let place = Place::new();
    for number in 0..300 {
        let _ = place.file(&number.to_string(), "");
    }
    // The first writer reads it, and then the next two need not.
    let swept: Vec<bool> = (0..8)
        .map(|_| {
            let _ = place.file(DEAD, "");
            let _ = AtomicWriter::create(place.join("a"))
                .open()
                .unwrap()
                .abort();
            !place.join(DEAD).exists()
        })
        .collect();
    assert_eq!(swept, [true, false, false, true, false, false, true, false]);
}
