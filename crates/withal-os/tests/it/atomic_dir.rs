//! Whole directories.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use withal_core::{BoxError, with};
use withal_os::{AtomicDir, Durability, WriteErrorKind};

use crate::support::{Mount, Place, chain, mode, names, read, set_mode};

fn fill(place: &Place) -> std::path::PathBuf {
    let path = place.join("site");
    fs::create_dir_all(path.join("css/old")).unwrap();
    fs::write(path.join("index"), "old").unwrap();
    path
}

#[test]
fn a_block_that_succeeds_exchanges_the_directory() {
    for durability in [Durability::Durable, Durability::Atomic] {
        let place = Place::new();
        let path = fill(&place);
        set_mode(&path, 0o751);
        with(AtomicDir::create(&path).durability(durability), |site| {
            assert_eq!(mode(site.path()), 0o700);
            fs::create_dir_all(site.path().join("a/b/c"))?;
            fs::write(site.path().join("a/b/c/file"), "new")?;
            fs::write(site.path().join("index"), "new")?;
            symlink("nowhere", site.path().join("link"))?;
            assert!(
                Command::new("mkfifo")
                    .arg(site.path().join("fifo"))
                    .status()?
                    .success()
            );
            assert_eq!(read(path.join("index")), "old");
            Ok(())
        })
        .unwrap();
        assert_eq!(names(&path), ["a", "fifo", "index", "link"]);
        assert_eq!(read(path.join("a/b/c/file")), "new");
        assert_eq!(mode(&path), 0o751);
        assert_eq!(place.names(), ["site"]);
    }
}

#[test]
fn a_block_that_fails_leaves_the_directory_as_it_was() {
    let place = Place::new();
    let path = fill(&place);
    with(AtomicDir::create(&path), |site| -> Result<(), BoxError> {
        fs::create_dir_all(site.path().join("a/b/c"))?;
        Err("the body failed".into())
    })
    .unwrap_err();
    drop(AtomicDir::create(&path).open().unwrap());
    AtomicDir::create(&path).open().unwrap().abort().unwrap();
    assert_eq!(names(&path), ["css", "index"]);
    assert_eq!(place.names(), ["site"]);
}

#[test]
fn a_directory_that_was_not_there_is_made() {
    let place = Place::new();
    let path = place.join("site");
    fs::create_dir(place.join("any")).unwrap();
    with(AtomicDir::create(&path), |site| {
        Ok(fs::write(site.path().join("a"), "new")?)
    })
    .unwrap();
    assert_eq!(read(path.join("a")), "new");
    assert_eq!(mode(&path), mode(place.join("any")));
    with(AtomicDir::create(&path).mode(0o700), |_| Ok(())).unwrap();
    assert_eq!((mode(&path), names(&path)), (0o700, Vec::new()));
}

#[test]
fn a_link_to_a_directory_stays() {
    let place = Place::new();
    let path = fill(&place);
    symlink("site", place.join("current")).unwrap();
    with(AtomicDir::create(place.join("current")), |_| Ok(())).unwrap();
    assert!(place.join("current").is_symlink());
    assert_eq!(names(&path), [""; 0]);
    assert_eq!(place.names(), ["current", "site"]);
}

#[test]
fn only_directories_are_replaced() {
    let place = Place::new();
    let path = place.file("a", "old");
    let error = AtomicDir::create(&path).open().unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::WrongType);
    assert_eq!(
        chain(&error),
        format!(
            "`{}` was not written: it is a regular file, and only a directory can be replaced by \
             one",
            path.display()
        )
    );
    let error = AtomicDir::create(place.join("b/")).open().unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::InvalidPath);
}

#[test]
fn a_mount_in_the_old_directory_is_reported_and_not_entered() {
    let place = Place::new();
    let path = fill(&place);
    let Some(mut mount) = Mount::tmpfs("64k", &path.join("css")) else {
        return;
    };
    fs::write(path.join("css/mounted"), "precious").unwrap();
    let error = AtomicDir::create(&path)
        .open()
        .unwrap()
        .commit()
        .unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::NotRemoved);
    assert!(error.is_committed());
    assert!(
        error
            .to_string()
            .contains("/css` is a mount point, which is not entered"),
        "{error}"
    );
    assert_eq!(names(&path), [""; 0]);
    let old = place
        .names()
        .into_iter()
        .find(|name| name != "site")
        .unwrap();
    assert_eq!(read(place.join(&old).join("css/mounted")), "precious");
    mount.moved_to(place.join(old).join("css"));
}

#[test]
fn a_target_that_becomes_something_else_is_refused_at_the_commit() {
    let place = Place::new();
    let path = fill(&place);
    let staged = AtomicDir::create(&path).open().unwrap();
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "a file now").unwrap();
    let error = staged.commit().unwrap_err();
    assert_eq!(error.kind(), WriteErrorKind::WrongType);
    assert_eq!(place.names(), ["site"]);
}
