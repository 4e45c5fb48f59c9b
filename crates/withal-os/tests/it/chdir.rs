//! The working directory. Each test is a process of its own.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;

use withal_core::{BoxError, ContextManager, ExitCase, with};
use withal_os::{AtomicWriter, Chdir, chdir};

use crate::child;
use crate::support::{Place, chain, names, read};

fn check(test: &str) {
    let place = Place::new();
    for name in ["a", "b"] {
        fs::create_dir(place.join(name)).unwrap();
    }
    let mut command = child::command(&format!("chdir:{test}"), &place);
    let output = command.current_dir(&*place).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn in_child(test: &str, place: &Path) -> i32 {
    match test {
        "c083" => c083(place),
        "c084" => c084(place),
        "c085" => c085(place),
        "renamed" => renamed(place),
        "removed" => removed(place),
        "missing" => missing(place),
        "unordered" => unordered(place),
        "dropped" => dropped(place),
        "writer" => writer(place),
        other => panic!("no test is called `{other}`"),
    }
    0
}

fn here() -> std::path::PathBuf {
    env::current_dir().unwrap()
}

#[test]
fn c083_chdir_simple() {
    check("c083");
}

fn c083(place: &Path) {
    let manager = chdir(place.join("a"));
    assert_eq!(here(), place, "making it changes nothing");
    with(manager, |changed| {
        assert_eq!(changed.path(), place.join("a"));
        Ok(assert_eq!(here(), place.join("a")))
    })
    .unwrap();
    assert_eq!(here(), place);
}

#[test]
fn c084_chdir_reentrant() {
    check("c084");
}

fn c084(place: &Path) {
    let (a, b) = (chdir(place.join("a")), chdir(place.join("b")));
    with(&a, |_| {
        assert_eq!(here(), place.join("a"));
        with(&b, |_| {
            assert_eq!(here(), place.join("b"));
            with(&a, |_| Ok(assert_eq!(here(), place.join("a"))))?;
            Ok(assert_eq!(here(), place.join("b")))
        })?;
        Ok(assert_eq!(here(), place.join("a")))
    })
    .unwrap();
    assert_eq!(here(), place);
}

#[test]
fn c085_chdir_exception() {
    check("c085");
}

fn c085(place: &Path) {
    let error = with(chdir("a"), |_| {
        Err::<(), BoxError>("the body failed".into())
    });
    assert_eq!(error.unwrap_err().to_string(), "the body failed");
    assert_eq!(here(), place);
}

#[test]
fn it_returns_to_a_directory_that_was_renamed() {
    check("renamed");
}

fn renamed(place: &Path) {
    with(chdir("a"), |_| {
        with(chdir(place.join("b")), |_| {
            Ok(fs::rename(place.join("a"), place.join("elsewhere"))?)
        })?;
        Ok(assert_eq!(here(), place.join("elsewhere")))
    })
    .unwrap();
    assert_eq!(here(), place);
}

#[test]
fn it_returns_even_to_a_directory_that_is_gone() {
    check("removed");
}

fn removed(place: &Path) {
    with(chdir("a"), |_| {
        with(chdir(place.join("b")), |_| {
            Ok(fs::remove_dir(place.join("a"))?)
        })?;
        Ok(assert!(env::current_dir().is_err()))
    })
    .unwrap();
    assert_eq!(here(), place);
}

#[test]
fn a_directory_that_cannot_be_entered_is_named() {
    check("missing");
}

fn missing(place: &Path) {
    fs::write("file", "").unwrap();
    let check = |path: &str, want: &str| {
        let error = with(chdir(path), |_| Ok(())).unwrap_err();
        let text = chain(error.first().error());
        let want = format!("cannot change the working directory to `{path}`: {want}");
        assert_eq!(text, want);
        assert_eq!(here(), place);
    };
    check("missing", "No such file or directory (os error 2)");
    check("file", "Not a directory (os error 20)");
    check("", "No such file or directory (os error 2)");
}

#[test]
fn blocks_that_end_out_of_order_leave_the_first_directory() {
    check("unordered");
}

fn unordered(place: &Path) {
    let a = chdir(place.join("a")).enter().unwrap();
    let b = chdir(place.join("b")).enter().unwrap();
    Chdir::exit(a, ExitCase::Succeeded).unwrap();
    assert_eq!(here(), place.join("b"));
    Chdir::exit(b, ExitCase::Succeeded).unwrap();
    assert_eq!(here(), place);
}

#[test]
fn a_change_that_is_dropped_ends() {
    check("dropped");
}

fn dropped(place: &Path) {
    drop(chdir("a").enter().unwrap());
    assert_eq!(here(), place);
}

#[test]
fn a_writers_relative_paths_stay_where_they_were() {
    check("writer");
}

fn writer(place: &Path) {
    fs::write(place.join("a/file"), "old").unwrap();
    fs::create_dir(place.join("a/kept")).unwrap();
    let open = |name: &str| AtomicWriter::create("file").backup(name).open().unwrap();
    for (name, content) in [("file~", "old"), ("kept/file", "new"), ("./file~", "new")] {
        let mut file = with(chdir("a"), |_| Ok(open(name))).unwrap();
        file.write_all(b"new").unwrap();
        with(chdir("b"), |_| Ok(file.commit()?)).unwrap();
        assert_eq!(read(place.join("a/file")), "new");
        assert_eq!(read(place.join("a").join(name)), content);
        assert_eq!(names(&place.join("b")), [""; 0]);
    }
}
