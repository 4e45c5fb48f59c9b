//! Many files at once, and files that nobody else may have changed.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use withal_core::with;
use withal_os::{AtomicBatch, AtomicWriter, Durability, Stamp, Symlinks, TempDir, WriteErrorKind};

use crate::support::*;

#[test]
fn all_files_of_a_batch_are_replaced() {
    for durability in [Durability::Durable, Durability::Content, Durability::Atomic] {
        let directory = TempDir::new().open().unwrap();
        fs::create_dir(directory.path().join("sub")).unwrap();
        let path = |number| match number % 2 {
            0 => directory.path().join(format!("file {number}")),
            _ => directory.path().join(format!("sub/file {number}")),
        };
        for number in 0..10 {
            fs::write(path(number), "old").unwrap();
        }
        let mut batch = AtomicBatch::new();
        for number in 0..20 {
            let writer = AtomicWriter::create(path(number)).durability(durability);
            write!(batch.open(writer).unwrap(), "new {number}").unwrap();
        }
        assert_eq!((batch.len(), batch.is_empty()), (20, false));
        batch.commit().unwrap();
        for number in 0..20 {
            assert_eq!(read(path(number)), format!("new {number}"));
        }
        assert_eq!(names(directory.path()).len(), 11);
    }
}

#[test]
fn a_batch_that_is_dropped_changes_nothing() {
    let directory = TempDir::new().open().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, "old").unwrap();
    let mut batch = AtomicBatch::new();
    let file = batch.open(AtomicWriter::create(&path)).unwrap();
    file.write_all(b"new").unwrap();
    drop(batch);
    assert_eq!(read(&path), "old");
    assert_eq!(names(directory.path()), ["file"]);
}

#[test]
fn as_a_manager_a_batch_is_committed_if_the_block_succeeds() {
    for succeeds in [true, false] {
        let directory = TempDir::new().open().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "old").unwrap();
        let done = with(AtomicBatch::new(), |batch| {
            let file = batch.open(AtomicWriter::create(&path))?;
            file.write_all(b"new")?;
            match succeeds {
                true => Ok(()),
                false => Err("the body failed".into()),
            }
        });
        assert_eq!(done.is_ok(), succeeds);
        assert_eq!(read(&path), if succeeds { "new" } else { "old" });
        assert_eq!(names(directory.path()), ["file"]);
    }
}

#[test]
fn a_file_that_fails_does_not_keep_the_others() {
    let directory = TempDir::new().open().unwrap();
    let path = |name: &str| directory.path().join(name);
    let mut batch = AtomicBatch::new();
    for name in ["a", "b", "c"] {
        let file = batch.open(AtomicWriter::create_new(path(name))).unwrap();
        file.write_all(name.as_bytes()).unwrap();
    }
    fs::write(path("b"), "somebody's").unwrap();
    let error = batch.commit().unwrap_err();
    let failed = error.of(path("b")).unwrap();
    assert_eq!(failed.kind(), WriteErrorKind::AlreadyExists);
    assert_eq!(error.failures().len(), 1);
    assert!(
        error.to_string().starts_with("1 of 3 files failed: `"),
        "{error}"
    );
    assert_eq!(
        (read(path("a")), read(path("b"))),
        ("a".into(), "somebody's".into())
    );
    assert_eq!(names(directory.path()), ["a", "b", "c"]);
}

/// What was read is what the link leads to, and so is what the stamp is of.
#[test]
fn a_link_is_replaced_only_if_what_it_leads_to_is_what_was_read() {
    for durability in [Durability::Durable, Durability::Atomic] {
        let check = |end: &str, meanwhile: &dyn Fn(&Path), committed: bool| {
            let directory = TempDir::new().open().unwrap();
            let path = |name: &str| directory.path().join(name);
            fs::write(path("file"), "old").unwrap();
            fs::write(path("other"), "old").unwrap();
            symlink(end, path("link")).unwrap();
            let stamp = Stamp::of(path("link")).unwrap();
            assert_eq!(stamp.is_some(), end == "file");
            let writer = AtomicWriter::create(path("link"))
                .symlinks(Symlinks::Replace)
                .durability(durability)
                .if_unchanged(stamp);
            let mut file = writer.open().unwrap();
            file.write_all(b"mine").unwrap();
            meanwhile(directory.path());
            let kind = file.commit().map_err(|error| error.kind());
            assert_eq!(kind.is_ok(), committed, "{kind:?}");
            match kind {
                Ok(()) => assert!(!path("link").is_symlink() && read(path("link")) == "mine"),
                Err(kind) => assert_eq!(kind, WriteErrorKind::Changed),
            }
            assert_eq!(temporaries(directory.path()), [""; 0]);
        };
        let relink = |end: &'static str| {
            move |place: &Path| {
                fs::remove_file(place.join("link")).unwrap();
                symlink(end, place.join("link")).unwrap();
            }
        };
        let write = |name: &'static str| {
            move |place: &Path| {
                let path = place.join(name);
                let _ = fs::remove_file(&path);
                fs::write(path, "theirs").unwrap();
            }
        };
        for end in ["file", "missing"] {
            check(end, &|_| (), true);
            check(end, &write("unrelated"), true);
            check(end, &write(end), false);
            check(end, &write("link"), false);
            check(end, &relink("other"), false);
            check(end, &relink("nowhere else"), false);
        }
    }
}

#[test]
fn where_there_must_be_no_file_a_link_that_comes_is_one() {
    let directory = TempDir::new().open().unwrap();
    let path = directory.path().join("link");
    let writer = AtomicWriter::create(&path).symlinks(Symlinks::Replace);
    let file = writer.if_unchanged(None).open().unwrap();
    symlink("nowhere", &path).unwrap();
    assert_eq!(file.commit().unwrap_err().kind(), WriteErrorKind::Changed);
    assert!(path.is_symlink());
}

#[test]
fn what_comes_before_the_rename_is_kept() {
    for durability in [Durability::Durable, Durability::Content, Durability::Atomic] {
        let directory = TempDir::new().open().unwrap();
        let path = directory.path().join("a");
        let writer = AtomicWriter::create(&path).durability(durability);
        let mut batch = AtomicBatch::new();
        let file = batch.open(writer.clone()).unwrap();
        file.write_all(b"first").unwrap();
        // Nothing is there yet when this is prepared.
        let file = batch.open(writer.backup_suffix("~")).unwrap();
        file.write_all(b"second").unwrap();
        batch.commit().unwrap();
        assert_eq!(read(&path), "second");
        assert_eq!(read(path.with_file_name("a~")), "first");
        assert_eq!(names(directory.path()), ["a", "a~"]);
    }
}

/// Whichever came last would have destroyed what the other has written.
#[test]
fn a_file_of_a_batch_is_not_written_or_kept_where_another_is_kept() {
    let directory = TempDir::new().open().unwrap();
    let path = |name: &str| directory.path().join(name);
    for name in ["a", "b", "c"] {
        fs::write(path(name), "old").unwrap();
    }
    symlink("b", path("link")).unwrap();
    let create = |name: &str| AtomicWriter::create(path(name));
    let keep = |name: &str, backup: &str| create(name).backup(path(backup));
    let check = |first: AtomicWriter, second: AtomicWriter, want: &str| {
        let mut batch = AtomicBatch::new();
        let file = batch.open(first).unwrap();
        file.write_all(b"new").unwrap();
        let name = second.path().display().to_string();
        let error = chain(&batch.open(second).unwrap_err());
        let want = want.replace('<', &format!("`{}/", directory.path().display()));
        assert_eq!(
            error,
            format!("`{name}` was not written: {}", want.replace('>', "`"))
        );
        assert_eq!(batch.len(), 1);
        batch.commit().unwrap();
        assert_eq!(temporaries(directory.path()), [""; 0]);
    };
    let written = "cannot keep the old file as <b>: another file of the batch is written there; \
                   choose another name";
    check(create("b"), keep("a", "b"), written);
    check(create("link"), keep("a", "b"), written);
    let written = "cannot keep the old file as <link>: another file of the batch is written \
                   there; choose another name";
    check(create("link"), keep("a", "link"), written);
    let kept = "another file of the batch, <a>, keeps its old one there; choose another name for \
                that";
    check(keep("a", "b"), create("b"), kept);
    check(keep("a", "b"), create("link"), kept);
    let both = "cannot keep the old file as <old>: another file of the batch keeps its old one \
                there; choose another name";
    check(keep("a", "old"), keep("c", "old"), both);
    assert!(path("link").is_symlink());
    // Each its own.
    let mut batch = AtomicBatch::new();
    for name in ["a", "b", "c"] {
        let file = batch.open(create(name).backup_suffix("~")).unwrap();
        file.write_all(name.as_bytes()).unwrap();
    }
    batch.commit().unwrap();
    assert_eq!(read(path("a")) + &read(path("b")) + &read(path("c")), "abc");
    assert_eq!(
        names(directory.path()),
        ["a", "a~", "b", "b~", "c", "c~", "link", "old"]
    );
}

#[test]
fn a_file_is_replaced_only_if_it_is_still_the_one_that_was_read() {
    let directory = TempDir::new().open().unwrap();
    let path = directory.path().join("file");
    let replace = |stamp, meanwhile: &dyn Fn()| {
        let mut file = AtomicWriter::create(&path)
            .if_unchanged(stamp)
            .open()
            .unwrap();
        file.write_all(b"mine").unwrap();
        meanwhile();
        file.commit().map_err(|error| error.kind())
    };
    let theirs = || fs::write(&path, "theirs").unwrap();

    // It is not there, and stays so; or it comes.
    let none = Stamp::of(&path).unwrap();
    assert_eq!(none, None);
    assert_eq!(replace(none, &theirs), Err(WriteErrorKind::Changed));
    assert_eq!(read(&path), "theirs");
    fs::remove_file(&path).unwrap();
    assert_eq!(replace(none, &|| ()), Ok(()));

    // It is there, and stays so; or it is written to, replaced, removed.
    let stamp = Stamp::of(&path).unwrap();
    let open = fs::File::open(&path).unwrap();
    assert_eq!(stamp, Some(Stamp::of_file(&open).unwrap()));
    assert_eq!(replace(stamp, &|| ()), Ok(()));
    assert_eq!(replace(stamp, &|| ()), Err(WriteErrorKind::Changed));
    let stamp = || Stamp::of(&path).unwrap();
    assert_eq!(replace(stamp(), &theirs), Err(WriteErrorKind::Changed));
    let removed = || fs::remove_file(&path).unwrap();
    assert_eq!(replace(stamp(), &removed), Err(WriteErrorKind::Changed));
    assert_eq!(names(directory.path()), [""; 0]);
}
