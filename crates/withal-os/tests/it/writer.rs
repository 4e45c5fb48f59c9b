//! Every option of a writer, and every way out of its block.

use std::cell::Cell;
use std::fs;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};

use withal_core::{BoxError, ContextManager, ExitCase, with};
use withal_os::{AtomicWriter, Durability, Symlinks, WriteErrorKind, write_atomic};

use crate::support::{Place, chain, mode, names, read, unnamed};

#[test]
fn a_block_that_succeeds_replaces_the_file_and_leaves_nothing_else() {
    let place = Place::new();
    let path = place.file("a", "old");
    let length = with(AtomicWriter::create(&path), |file| {
        file.write_all(b"new content")?;
        assert_eq!(read(&path), "old", "nothing is seen before the commit");
        assert_eq!(place.names(), ["a"], "nor anything else");
        let temporary = file.file().metadata()?;
        assert_eq!((temporary.mode() & 0o7777, temporary.nlink()), (0o600, 0));
        Ok(11)
    });
    assert_eq!(length.unwrap(), 11);
    assert_eq!(read(&path), "new content");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn a_block_that_fails_leaves_the_file_as_it_was() {
    let place = Place::new();
    let path = place.file("a", "old");
    let before = fs::metadata(&path).unwrap();
    let error = with(AtomicWriter::create(&path), |file| {
        file.write_all(b"new")?;
        Err::<(), BoxError>("the body failed".into())
    });
    assert_eq!(error.unwrap_err().to_string(), "the body failed");
    let after = fs::metadata(&path).unwrap();
    assert_eq!(
        (before.ino(), before.ctime_nsec()),
        (after.ino(), after.ctime_nsec())
    );
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn a_block_that_panics_leaves_the_file_as_it_was() {
    let place = Place::new();
    let path = place.file("a", "old");
    let panic = catch_unwind(AssertUnwindSafe(|| {
        with(
            AtomicWriter::create(&path),
            |file| -> Result<(), BoxError> {
                file.write_all(b"new")?;
                panic!("the body panicked")
            },
        )
    }));
    assert_eq!(
        *panic.unwrap_err().downcast::<&str>().unwrap(),
        "the body panicked"
    );
    assert_eq!(read(&path), "old");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn only_success_commits() {
    let check = |case: ExitCase, want: &str| {
        let place = Place::new();
        let path = place.file("a", "old");
        let mut file = AtomicWriter::create(&path).enter().unwrap();
        file.write_all(b"new").unwrap();
        AtomicWriter::exit(file, case).unwrap();
        assert_eq!(read(&path), want);
        assert_eq!(place.names(), ["a"]);
    };
    let error = withal_core::Error::new("failed");
    check(ExitCase::Succeeded, "new");
    check(ExitCase::Errored(error.clone()), "old");
    check(ExitCase::Panicked(error), "old");
    check(ExitCase::Cancelled, "old");
    check(ExitCase::TimedOut, "old");
    check(ExitCase::Signalled(15), "old");
}

#[test]
fn a_plain_value_commits_aborts_or_is_dropped() {
    let place = Place::new();
    let path = place.file("a", "old");
    let open = || {
        let mut file = AtomicWriter::create(&path).open().unwrap();
        file.write_all(b"new").unwrap();
        file
    };
    drop(open());
    assert_eq!(read(&path), "old");
    open().abort().unwrap();
    assert_eq!(read(&path), "old");
    assert_eq!(place.names(), ["a"]);
    open().commit().unwrap();
    assert_eq!(read(&path), "new");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn making_a_manager_does_nothing_and_it_can_be_used_again() {
    let place = Place::new();
    let writer = AtomicWriter::create(place.join("a"));
    assert_eq!(place.names(), [""; 0]);
    for content in ["one", "two"] {
        with(writer.clone(), |file| {
            Ok(file.write_all(content.as_bytes())?)
        })
        .unwrap();
        assert_eq!(read(writer.path()), content);
    }
}

#[test]
fn a_file_can_be_read_back_cut_and_written_out_of_order() {
    let place = Place::new();
    let path = place.join("a");
    with(AtomicWriter::create(&path), |file| {
        file.write_all(b"....world and more")?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(b"new ")?;
        file.file().set_len(9)?;
        let mut text = String::new();
        let mut inner = file.file();
        inner.seek(SeekFrom::Start(0))?;
        let _ = inner.read_to_string(&mut text)?;
        assert_eq!(text, "new world");
        Ok(())
    })
    .unwrap();
    assert_eq!(read(&path), "new world");
}

#[test]
fn a_child_process_can_write_it() {
    let place = Place::new();
    let path = place.join("a");
    with(AtomicWriter::create(&path), |file| {
        let out = file.file().try_clone()?;
        let _ = std::process::Command::new("echo")
            .arg("hello")
            .stdout(out)
            .status()?;
        Ok(())
    })
    .unwrap();
    assert_eq!(read(&path), "hello\n");
}

#[test]
fn a_file_cut_short_by_somebody_else_is_not_committed() {
    let place = Place::new();
    let path = place.file("a", "old");
    let mut file = AtomicWriter::create(&path).open().unwrap();
    file.write_all(b"twelve bytes").unwrap();
    fs::File::options()
        .write(true)
        .open(unnamed(&place))
        .unwrap()
        .set_len(5)
        .unwrap();
    let error = file.commit().unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::Lost);
    assert_eq!(
        chain(&error),
        format!(
            "`{}` was not written: 12 bytes were written, but its temporary file has 5",
            path.display()
        )
    );
    assert_eq!(
        (read(&path).as_str(), place.names()),
        ("old", vec!["a".to_owned()])
    );
}

#[test]
fn a_buffered_writer_works_and_may_be_forgotten_to_flush() {
    let place = Place::new();
    let path = place.join("a");
    with(AtomicWriter::create(&path), |file| {
        let mut buffered = BufWriter::new(file);
        for number in 0..1000 {
            writeln!(buffered, "{number}")?;
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(read(&path).lines().count(), 1000);
}

#[test]
fn links_are_followed_replaced_or_refused() {
    let check = |symlinks: Symlinks, link_stays: bool, target: &str| {
        let place = Place::new();
        fs::create_dir(place.join("d")).unwrap();
        let _ = place.file("d/real", "old");
        symlink("d/second", place.join("first")).unwrap();
        symlink("real", place.join("d/second")).unwrap();
        let writer = AtomicWriter::create(place.join("first")).symlinks(symlinks);
        with(writer, |file| Ok(file.write_all(b"new")?)).unwrap();
        assert_eq!(read(place.join("first")), "new");
        assert_eq!(place.join("first").is_symlink(), link_stays);
        assert!(place.join("d/second").is_symlink());
        assert_eq!(read(place.join("d/real")), target);
        assert_eq!(names(&place.join("d")), ["real", "second"]);
        assert_eq!(place.names(), ["d", "first"]);
    };
    check(Symlinks::Follow, true, "new");
    check(Symlinks::Replace, false, "old");
}

#[test]
fn a_dangling_link_is_filled() {
    let place = Place::new();
    fs::create_dir(place.join("d")).unwrap();
    symlink(place.join("d/missing"), place.join("link")).unwrap();
    write_atomic(place.join("link"), "new").unwrap();
    assert!(place.join("link").is_symlink());
    assert_eq!(read(place.join("d/missing")), "new");
}

#[test]
fn links_on_the_way_to_the_file_are_the_kernels_business() {
    let place = Place::new();
    fs::create_dir(place.join("real")).unwrap();
    symlink("real", place.join("alias")).unwrap();
    let writer = AtomicWriter::create(place.join("alias/a")).symlinks(Symlinks::Refuse);
    with(writer, |file| Ok(file.write_all(b"new")?)).unwrap();
    assert_eq!(read(place.join("real/a")), "new");
}

#[test]
fn a_relative_path_stays_where_it_was_when_its_directory_is_renamed() {
    let place = Place::new();
    fs::create_dir(place.join("before")).unwrap();
    let mut file = AtomicWriter::create(place.join("before/a")).open().unwrap();
    file.write_all(b"new").unwrap();
    fs::rename(place.join("before"), place.join("after")).unwrap();
    file.commit().unwrap();
    assert_eq!(read(place.join("after/a")), "new");
    assert_eq!(names(&place.join("after")), ["a"]);
}

#[test]
fn no_clobber_makes_a_file_and_replaces_none() {
    let place = Place::new();
    let path = place.join("a");
    with(AtomicWriter::create_new(&path), |file| {
        Ok(file.write_all(b"first")?)
    })
    .unwrap();
    assert_eq!(read(&path), "first");

    let entered = Cell::new(false);
    let error = with(AtomicWriter::create_new(&path), |_| Ok(entered.set(true))).unwrap_err();
    let error = error.downcast_ref::<withal_os::WriteError>().unwrap();
    assert_eq!(error.kind(), WriteErrorKind::AlreadyExists);
    assert!(!entered.get(), "it is known before the body runs");
    assert_eq!(read(&path), "first");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn no_clobber_does_not_replace_what_came_meanwhile() {
    type Appear = fn(&std::path::Path);
    let kinds: [Appear; 3] = [
        |path| fs::write(path, "theirs").unwrap(),
        |path| symlink("nowhere", path).unwrap(),
        |path| fs::create_dir(path).unwrap(),
    ];
    for appear in kinds {
        let place = Place::new();
        let path = place.join("a");
        let mut file = AtomicWriter::create_new(&path).open().unwrap();
        file.write_all(b"mine").unwrap();
        appear(&path);
        let theirs = fs::symlink_metadata(&path).unwrap().ino();
        let error = file.commit().unwrap_err();
        assert!(!error.is_committed());
        assert_eq!(fs::symlink_metadata(&path).unwrap().ino(), theirs);
        assert_eq!(place.names(), ["a"]);
    }
}

#[test]
fn a_link_counts_as_existing() {
    let place = Place::new();
    symlink("nowhere", place.join("link")).unwrap();
    let check = |symlinks: Symlinks, want: Option<WriteErrorKind>| {
        let opened = AtomicWriter::create_new(place.join("link"))
            .symlinks(symlinks)
            .open();
        assert_eq!(opened.err().map(|error| error.kind()), want);
    };
    check(Symlinks::Replace, Some(WriteErrorKind::AlreadyExists));
    check(Symlinks::Follow, None); // the file it points at does not exist
}

#[test]
fn the_old_file_is_kept_beside_or_elsewhere_and_replaces_older_ones() {
    let place = Place::new();
    fs::create_dir(place.join("kept")).unwrap();
    let path = place.file("a", "1");
    for (content, old) in [("2", "1"), ("3", "2"), ("4", "3")] {
        let writer = AtomicWriter::create(&path).backup_suffix("~");
        with(writer, |file| Ok(file.write_all(content.as_bytes())?)).unwrap();
        assert_eq!(
            (read(&path).as_str(), read(place.join("a~")).as_str()),
            (content, old)
        );
    }
    let writer = AtomicWriter::create(&path).backup(place.join("kept/b"));
    with(writer, |file| Ok(file.write_all(b"5")?)).unwrap();
    assert_eq!(
        (read(&path).as_str(), read(place.join("kept/b")).as_str()),
        ("5", "4")
    );
    assert_eq!(place.names(), ["a", "a~", "kept"]);
    assert_eq!(names(&place.join("kept")), ["b"]);
}

#[test]
fn a_backup_that_is_the_same_file_already_leaves_no_third_name() {
    let place = Place::new();
    let path = place.file("a", "old");
    fs::hard_link(&path, place.join("a~")).unwrap();
    let writer = AtomicWriter::create(&path).backup_suffix("~");
    with(writer, |file| Ok(file.write_all(b"new")?)).unwrap();
    assert_eq!(
        (read(&path).as_str(), read(place.join("a~")).as_str()),
        ("new", "old")
    );
    assert_eq!(place.names(), ["a", "a~"]);
}

#[test]
fn other_names_of_the_old_file_keep_the_old_content() {
    for durability in [Durability::Durable, Durability::Atomic] {
        let place = Place::new();
        let path = place.file("a", "old");
        fs::hard_link(&path, place.join("b")).unwrap();
        let writer = AtomicWriter::create(&path).durability(durability);
        with(writer, |file| Ok(file.write_all(b"new")?)).unwrap();
        assert_eq!(
            (read(&path), read(place.join("b"))),
            ("new".into(), "old".into())
        );
        assert_eq!(fs::metadata(&path).unwrap().nlink(), 1);
        assert_eq!(place.names(), ["a", "b"]);
    }
}

#[test]
fn a_new_file_that_need_not_be_durable_never_has_another_name() {
    let place = Place::new();
    let path = place.join("a");
    let writer = AtomicWriter::create(&path).durability(Durability::Atomic);
    // A link that points nowhere is in the way only where it is not followed.
    symlink("nowhere", &path).unwrap();
    let replacing = writer.clone().symlinks(Symlinks::Replace);
    with(replacing, |file| Ok(file.write_all(b"new")?)).unwrap();
    assert!(!path.is_symlink());
    fs::remove_file(&path).unwrap();
    // It comes between: it is replaced as any other.
    let mut file = writer.open().unwrap();
    file.write_all(b"mine").unwrap();
    fs::write(&path, "theirs").unwrap();
    file.commit().unwrap();
    assert_eq!(read(&path), "mine");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn what_has_not_the_size_that_was_promised_is_not_committed() {
    let place = Place::new();
    let path = place.file("a", "old");
    let check = |size: u64, content: &str, committed: bool| {
        let mut file = AtomicWriter::create(&path).size(size).open().unwrap();
        file.write_all(content.as_bytes()).unwrap();
        match file.commit() {
            Ok(()) => assert!(committed),
            Err(error) => {
                assert!(!committed && !error.is_committed());
                assert_eq!(error.kind(), WriteErrorKind::WrongSize);
                let want = format!(
                    "`{}` was not written: {size} bytes were to be written, but its temporary \
                     file has {}",
                    path.display(),
                    content.len()
                );
                assert_eq!(chain(&error), want);
            }
        }
        assert_eq!(place.names(), ["a"]);
    };
    check(4, "new", false);
    check(2, "new", false);
    assert_eq!(read(&path), "old");
    check(3, "new", true);
    assert_eq!(read(&path), "new");
    check(0, "", true);
    assert_eq!(read(&path), "");
}

#[test]
fn the_backup_is_the_file_that_was_replaced_whoever_put_it_there() {
    for durability in [Durability::Durable, Durability::Atomic] {
        let place = Place::new();
        let path = place.file("a", "old");
        let writer = AtomicWriter::create(&path).backup_suffix("~");
        let file = writer.durability(durability).open().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "theirs").unwrap();
        let theirs = fs::metadata(&path).unwrap().ino();
        file.commit().unwrap();
        assert_eq!(fs::metadata(place.join("a~")).unwrap().ino(), theirs);
        assert_eq!(read(place.join("a~")), "theirs");
        assert_eq!(place.names(), ["a", "a~"]);
    }
}

#[test]
fn a_link_that_is_replaced_is_the_backup() {
    for durability in [Durability::Durable, Durability::Content, Durability::Atomic] {
        for end in ["real", "missing"] {
            let place = Place::new();
            let _ = place.file("real", "old");
            let link = place.join("link");
            symlink(end, &link).unwrap();
            let inode = |path| fs::symlink_metadata(path).unwrap().ino();
            let before = inode(link.clone());
            let writer = AtomicWriter::create(&link)
                .symlinks(Symlinks::Replace)
                .durability(durability)
                .backup_suffix("~");
            with(writer.clone(), |file| Ok(file.write_all(b"new")?)).unwrap();
            assert!(!link.is_symlink());
            assert_eq!(read(&link), "new");
            assert_eq!(mode(&link), mode(place.file("any", "")));
            assert_eq!(
                fs::read_link(place.join("link~")).unwrap().to_str(),
                Some(end)
            );
            assert_eq!(inode(place.join("link~")), before);
            assert_eq!(read(place.join("real")), "old");
            assert_eq!(place.names(), ["any", "link", "link~", "real"]);
            // It is replaced as any other file, and not followed.
            with(writer, |file| Ok(file.write_all(b"newer")?)).unwrap();
            assert!(!place.join("link~").is_symlink());
            assert_eq!(read(place.join("link~")), "new");
            assert_eq!(read(place.join("real")), "old");
        }
    }
}

#[test]
fn a_new_file_has_no_backup_and_an_aborted_one_makes_none() {
    let place = Place::new();
    let path = place.join("a");
    let writer = AtomicWriter::create(&path).backup_suffix("~");
    with(writer.clone(), |file| Ok(file.write_all(b"1")?)).unwrap();
    assert_eq!(place.names(), ["a"]);
    drop(writer.open().unwrap());
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn a_backup_that_cannot_be_made_stops_the_commit() {
    let place = Place::new();
    let path = place.file("a", "old");
    fs::create_dir(place.join("directory")).unwrap();
    let check = |writer: AtomicWriter, name: &str| {
        let error = with(writer, |file| Ok(file.write_all(b"new")?)).unwrap_err();
        let error = error.downcast_ref::<withal_os::WriteError>().unwrap();
        assert_eq!(error.kind(), WriteErrorKind::NotCommitted);
        let operation = format!(
            "cannot keep the old file as `{}`",
            place.join(name).display()
        );
        assert_eq!(error.operation(), operation);
        assert_eq!(read(&path), "old");
        assert_eq!(place.names(), ["a", "directory"]);
    };
    let writer = AtomicWriter::create(&path);
    check(writer.clone().backup(place.join("directory")), "directory");
    check(writer.clone().backup(place.join("missing/b")), "missing/b");
    check(
        writer.clone().backup(place.join("directory/")),
        "directory/",
    );
    check(writer.clone().backup_suffix("/b"), "a/b");
    check(writer.backup_suffix(""), "a");
}

/// A backup that would take the new file's place, or that of a link to it.
#[test]
fn a_backup_that_is_the_target_is_refused_before_anything_is_written() {
    let itself = "it is the target itself; choose another name";
    let link = "it is a symbolic link by which the target is reached; choose another name";
    let replaced = "the symbolic link that is replaced leads there; choose another name";
    let alias = "Is a directory (os error 21)";
    let check = |target: &str, symlinks: Symlinks, backup: &str, why: &str| {
        let place = Place::new();
        fs::create_dir(place.join("d")).unwrap();
        let _ = place.file("d/real", "old");
        symlink("d", place.join("alias")).unwrap();
        symlink("d/second", place.join("first")).unwrap();
        symlink("real", place.join("d/second")).unwrap();
        symlink("missing", place.join("dangling")).unwrap();
        let backup = place.join(backup);
        let writer = AtomicWriter::create(place.join(target)).symlinks(symlinks);
        let error = writer.backup(&backup).open().unwrap_err();
        assert_eq!(error.kind(), WriteErrorKind::NotCommitted);
        let (target, backup) = (place.join(target), backup.display());
        let want = format!(
            "`{}` was not written: cannot keep the old file as `{backup}`: {why}",
            target.display()
        );
        assert_eq!(chain(&error), want);
        assert_eq!(place.names(), ["alias", "d", "dangling", "first"]);
        assert_eq!(names(&place.join("d")), ["real", "second"]);
        assert_eq!(read(place.join("first")), "old");
    };
    for same in [
        "d/real",
        "./d/real",
        "d/./real",
        "d/../d/real",
        "alias/real",
    ] {
        check("d/real", Symlinks::Follow, same, itself);
        check("alias/real", Symlinks::Refuse, same, itself);
        check("first", Symlinks::Follow, same, itself);
        check("first", Symlinks::Replace, same, replaced);
    }
    check("first", Symlinks::Follow, "first", link);
    check("first", Symlinks::Follow, "alias/second", link);
    check("first", Symlinks::Replace, "first", itself);
    check("first", Symlinks::Replace, "d/second", replaced);
    check("alias/real", Symlinks::Follow, "alias", alias);
    // Nothing is there to be kept yet.
    check("d/new", Symlinks::Follow, "alias/new", itself);
    check("dangling", Symlinks::Follow, "missing", itself);
    check("dangling", Symlinks::Follow, "dangling", link);
}

#[test]
fn a_suffix_that_leads_back_to_the_target_is_refused() {
    for symlinks in [Symlinks::Follow, Symlinks::Replace] {
        let place = Place::new();
        let path = place.file("a", "old");
        symlink("a", place.join("a~")).unwrap();
        symlink("b~", place.join("b")).unwrap();
        let _ = place.file("b~", "old");
        let name = match symlinks {
            Symlinks::Follow => "a~", // whose file's backup is the link
            _ => "b",
        };
        let writer = AtomicWriter::create(place.join(name)).symlinks(symlinks);
        let error = writer.backup_suffix("~").open().unwrap_err();
        assert!(error.operation().starts_with("cannot keep"), "{error}");
        assert_eq!(place.names(), ["a", "a~", "b", "b~"]);
        assert_eq!(
            (read(path), read(place.join("b"))),
            ("old".into(), "old".into())
        );
    }
}

/// As it is where case does not count.
#[test]
fn a_backup_that_differs_from_the_target_in_case_only_and_is_it_is_refused() {
    let place = Place::new();
    let path = place.file("file", "old");
    fs::hard_link(&path, place.join("File")).unwrap();
    let writer = AtomicWriter::create(&path);
    let refused = writer.clone().backup(place.join("File")).open();
    let error = refused.unwrap_err();
    assert!(chain(&error).contains("it is the target itself"), "{error}");
    // Another file is a backup as any.
    fs::remove_file(place.join("File")).unwrap();
    let _ = place.file("File", "older");
    let writer = writer.backup(place.join("File"));
    with(writer, |file| Ok(file.write_all(b"new")?)).unwrap();
    assert_eq!(
        (read(&path).as_str(), read(place.join("File")).as_str()),
        ("new", "old")
    );
    // And so is a link to the target that has its name elsewhere.
    fs::create_dir(place.join("kept")).unwrap();
    fs::hard_link(&path, place.join("kept/file")).unwrap();
    let writer = AtomicWriter::create(&path).backup(place.join("kept/file"));
    with(writer, |file| Ok(file.write_all(b"newer")?)).unwrap();
    assert_eq!(read(place.join("kept/file")), "new");
}

#[test]
fn a_backups_directory_stays_where_it_was_when_it_is_renamed() {
    let place = Place::new();
    let path = place.file("a", "old");
    fs::create_dir(place.join("before")).unwrap();
    let writer = AtomicWriter::create(&path).backup(place.join("before/b"));
    let file = writer.open().unwrap();
    fs::rename(place.join("before"), place.join("after")).unwrap();
    file.commit().unwrap();
    assert_eq!(read(place.join("after/b")), "old");
}

#[test]
fn all_durabilities_write_the_same() {
    for durability in [Durability::Durable, Durability::Content, Durability::Atomic] {
        let place = Place::new();
        for content in ["made", "replaced"] {
            let path = place.join("a");
            let writer = AtomicWriter::create(&path).durability(durability);
            with(writer, |file| Ok(file.write_all(content.as_bytes())?)).unwrap();
            assert_eq!(read(&path), content);
            assert_eq!(place.names(), ["a"]);
        }
    }
}

#[test]
fn the_longest_name_there_can_be_is_written() {
    let place = Place::new();
    for name in ["x".repeat(255), "ä".repeat(127), "x".to_owned()] {
        write_atomic(place.join(&name), "new").unwrap();
        assert_eq!(read(place.join(&name)), "new");
    }
    assert_eq!(place.names().len(), 3);
}

#[test]
fn names_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let path = place.join(OsStr::from_bytes(b"caf\xe9\n\xff"));
    write_atomic(&path, [0, 255, 10]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [0, 255, 10]);
    assert_eq!(fs::read_dir(&*place).unwrap().count(), 1);
}
