//! Standard output and error, sent elsewhere. Each test is a process of its own.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::thread;

use withal_core::{BoxError, ContextManager, ExitCase, with};
use withal_os::{Redirect, capture_stderr, capture_stdout, redirect_stderr, redirect_stdout};

use crate::child;
use crate::support::{Place, chain, read};

/// Runs the test of that name in a process of its own and gives what that printed.
fn check(test: &str) -> (String, String) {
    let place = Place::new();
    let output = child::command(&format!("redirect:{test}"), &place)
        .output()
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{stdout}\n{stderr}");
    // What comes before is the test harness's.
    let own = stdout.split_once("[begin]").expect("it did not begin").1;
    (own.to_owned(), stderr)
}

pub(crate) fn in_child(test: &str, place: &Path) -> i32 {
    print!("[begin]");
    match test {
        "c068" => c068(place),
        "c069" => c069(place),
        "c070" => c070(place),
        "c071" => c071(place),
        "c072" => c072(place),
        "children" => children(place),
        "stderr" => stderr(place),
        "buffers" => buffers(place),
        "failures" => failures(place),
        "threads" => threads(place),
        "unordered" => unordered(place),
        "capture" => capture(),
        "full" => full(place),
        "closed" => closed(place),
        "dropped" => dropped(place),
        other => panic!("no test is called `{other}`"),
    }
    io::stdout().flush().unwrap();
    0
}

fn to_file(path: &Path) -> Redirect<File> {
    redirect_stdout(
        File::options()
            .create(true)
            .append(true)
            .open(path)
            .unwrap(),
    )
}

#[test]
fn c068_no_redirect_in_init() {
    assert_eq!(check("c068").0, "seen");
}

fn c068(place: &Path) {
    let redirect = to_file(&place.join("out"));
    print!("seen");
    drop(redirect);
    assert_eq!(read(place.join("out")), "");
}

#[test]
fn c069_redirect_to_string_io() {
    assert_eq!(check("c069").0, "before after");
}

fn c069(place: &Path) {
    let path = place.join("out");
    print!("before ");
    with(to_file(&path), |_| Ok(print!("inside"))).unwrap();
    print!("after");
    assert_eq!(read(path), "inside");
}

#[test]
fn c070_enter_result_is_target() {
    assert_eq!(check("c070").0, "");
}

fn c070(place: &Path) {
    let path = place.join("out");
    with(to_file(&path), |file| {
        print!("printed, ");
        io::stdout().flush()?;
        (&**file).write_all(b"written")?;
        Ok(assert_eq!(file.metadata()?.len(), 16))
    })
    .unwrap();
    assert_eq!(read(path), "printed, written");
}

#[test]
fn c071_cm_is_reusable() {
    assert_eq!(check("c071").0, "-=-");
}

fn c071(place: &Path) {
    let path = place.join("out");
    let redirect = to_file(&path);
    print!("-");
    with(&redirect, |_| Ok(print!("one "))).unwrap();
    print!("=");
    with(&redirect, |_| Ok(print!("two"))).unwrap();
    print!("-");
    assert_eq!(read(path), "one two");
}

#[test]
fn c072_cm_is_reentrant() {
    assert_eq!(check("c072").0, "-=");
}

fn c072(place: &Path) {
    let (first, second) = (place.join("first"), place.join("second"));
    let (outer, inner) = (to_file(&first), to_file(&second));
    print!("-");
    with(&outer, |_| {
        print!("1");
        with(&outer, |_| {
            print!("2");
            with(&inner, |_| {
                print!("a");
                with(&outer, |_| Ok(print!("3")))?;
                Ok(print!("b"))
            })?;
            Ok(print!("4"))
        })?;
        Ok(print!("5"))
    })
    .unwrap();
    print!("=");
    assert_eq!(
        (read(first).as_str(), read(second).as_str()),
        ("12345", "ab")
    );
}

#[test]
fn what_child_processes_and_bare_descriptors_write_is_caught() {
    assert_eq!(check("children").0, "before\nafter\n");
}

fn children(place: &Path) {
    let path = place.join("out");
    println!("before");
    with(to_file(&path), |_| {
        println!("ours");
        io::stdout().flush()?;
        Command::new("sh")
            .args(["-c", "echo a child; (echo its child)"])
            .status()?;
        rustix::io::write(rustix::stdio::stdout(), b"a descriptor\n")?;
        Ok(())
    })
    .unwrap();
    Command::new("echo").arg("after").status().unwrap();
    assert_eq!(read(path), "ours\na child\nits child\na descriptor\n");
}

#[test]
fn standard_error_is_another_stream() {
    let (stdout, stderr) = check("stderr");
    assert_eq!(stdout, "out");
    assert!(stderr.contains("before") && stderr.contains("after"));
    assert!(
        !stderr.contains("inside") && !stderr.contains("child"),
        "{stderr}"
    );
}

fn stderr(place: &Path) {
    let path = place.join("err");
    eprintln!("before");
    with(redirect_stderr(File::create(&path).unwrap()), |_| {
        eprintln!("inside");
        print!("out");
        Command::new("sh")
            .args(["-c", "echo a child >&2"])
            .status()?;
        Ok(())
    })
    .unwrap();
    eprintln!("after");
    assert_eq!(read(path), "inside\na child\n");
}

#[test]
fn what_is_buffered_goes_where_it_was_printed() {
    assert_eq!(check("buffers").0, "no newlineno newline either");
}

fn buffers(place: &Path) {
    let path = place.join("out");
    print!("no newline");
    with(to_file(&path), |_| Ok(print!("nor here"))).unwrap();
    print!("no newline either");
    assert_eq!(read(path), "nor here");
}

#[test]
fn an_error_and_a_panic_restore_the_output() {
    assert_eq!(check("failures").0, "-=-");
}

fn failures(place: &Path) {
    let path = place.join("out");
    let redirect = to_file(&path);
    print!("-");
    with(&redirect, |_| Err::<(), BoxError>("failed".into())).unwrap_err();
    print!("=");
    catch_unwind(AssertUnwindSafe(|| {
        with(&redirect, |_| -> Result<(), BoxError> {
            print!("until here");
            panic!("on purpose")
        })
    }))
    .unwrap_err();
    print!("-");
    assert_eq!(read(path), "until here");
}

#[test]
fn other_threads_are_redirected_too_and_lose_nothing() {
    check("threads");
}

fn threads(place: &Path) {
    let (files, lines) = (8, 2000);
    let whole = place.join("whole");
    with(to_file(&whole), |_| {
        thread::scope(|scope| {
            for name in ["x", "y"] {
                scope.spawn(move || (0..lines).for_each(|number| println!("{name}{number}")));
            }
            for number in 0..files {
                let redirect = to_file(&place.join(number.to_string()));
                with(redirect, |_| Ok(thread::yield_now())).unwrap();
            }
        });
        Ok(())
    })
    .unwrap();
    let mut all: Vec<String> = Vec::new();
    for entry in fs::read_dir(place).unwrap() {
        all.extend(read(entry.unwrap().path()).lines().map(str::to_owned));
    }
    let mut want: Vec<String> = (0..lines)
        .flat_map(|number| [format!("x{number}"), format!("y{number}")])
        .collect();
    all.sort();
    want.sort();
    assert!(all == want, "{} lines of {}", all.len(), want.len());
}

#[test]
fn blocks_that_end_out_of_order_leave_the_first_output() {
    assert_eq!(check("unordered").0, "-=");
}

fn unordered(place: &Path) {
    let open = |name: &str| to_file(&place.join(name)).enter().unwrap();
    let close = |redirected| {
        <Redirect<File> as ContextManager>::exit(redirected, ExitCase::Succeeded).unwrap();
    };
    print!("-");
    let a = open("a");
    print!("1");
    let b = open("b");
    print!("2");
    close(a);
    print!("3");
    let c = open("c");
    print!("4");
    close(b);
    print!("5");
    close(c);
    print!("=");
    let contents = ["a", "b", "c"].map(|name| read(place.join(name)));
    assert_eq!(contents, ["1", "23", "45"]);
}

#[test]
fn what_is_printed_can_be_had_as_text() {
    let (stdout, stderr) = check("capture");
    assert_eq!(stdout, "-=");
    assert!(!stderr.contains("to stderr"));
}

fn capture() {
    print!("-");
    let text = with(capture_stdout(), |captured| {
        assert_eq!(captured.text()?, "");
        print!("one");
        assert_eq!(captured.text()?, "one");
        Command::new("echo").arg(" two").status()?;
        print!("three");
        Ok(captured.text()?)
    });
    assert_eq!(text.unwrap(), "one two\nthree");
    let bytes = with((capture_stderr(), capture_stdout()), |(stderr, stdout)| {
        eprintln!("to stderr");
        print!("to stdout");
        io::stdout().write_all(&[0xff])?;
        assert_eq!(
            stdout.text().unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        Ok((stderr.bytes()?, stdout.bytes()?))
    });
    assert_eq!(
        bytes.unwrap(),
        (b"to stderr\n".to_vec(), b"to stdout\xff".to_vec())
    );
    print!("=");
}

#[test]
fn a_target_that_takes_no_more_is_an_error_and_the_output_is_restored() {
    // What could not be written stays in std's buffer; it is not lost, only late.
    assert_eq!(check("full").0, "-inside=");
}

fn full(_: &Path) {
    print!("-");
    let error = with(
        redirect_stdout(File::options().write(true).open("/dev/full").unwrap()),
        |_| Ok(print!("inside")),
    )
    .unwrap_err();
    let text = chain(error.first().error());
    assert_eq!(
        text,
        "standard output is restored, but its target did not take all that was printed: No space \
         left on device (os error 28)"
    );
    print!("=");
}

#[test]
fn a_target_that_cannot_be_written_is_only_known_by_writing() {
    check("closed");
}

fn closed(place: &Path) {
    let path = place.join("read-only");
    fs::write(&path, "").unwrap();
    let entered = Cell::new(false);
    with(redirect_stdout(File::open(&path).unwrap()), |_| {
        Ok(entered.set(true))
    })
    .unwrap();
    assert!(entered.get());
}

#[test]
fn a_redirection_that_is_dropped_ends() {
    assert_eq!(check("dropped").0, "-=");
}

fn dropped(place: &Path) {
    let path = place.join("out");
    print!("-");
    let redirected = to_file(&path).enter().unwrap();
    print!("inside");
    drop(redirected);
    print!("=");
    assert_eq!(read(path), "inside");
}
