//! Every system call of a replacement, failing or killed, one at a time.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use withal_os::{AtomicDir, write_atomic};

use crate::child::{self, COMMITTED, COMMITTED_WITH_ERROR, LONG, NOT_COMMITTED, PIECE};
use crate::support::{Place, mode, names, read, temporaries};

/// Runs the child under `strace` with these arguments.
fn strace(arguments: &[&str], name: &str, path: &Path) -> Output {
    let mut strace = Command::new("strace");
    let _ = strace.args(["-f", "-qq"]).args(arguments);
    // What cargo sets here has the main thread look for each library in dozens of places.
    let _ = strace.env_remove("LD_LIBRARY_PATH");
    let output = match child::command_under(strace, name, path).output() {
        Ok(output) => output,
        Err(error) => panic!("strace cannot be run: {error}; apt-get install strace"),
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let refused = said.contains("ptrace(") || said.contains("PTRACE_");
    assert!(
        !refused,
        "this test needs ptrace, which is not permitted here: {said}"
    );
    output
}

/// One system call: its name, and which of that name in its thread it is.
type Call = (String, usize);

/// What the child did, and which of its threads has the marks.
fn traced(name: &str, path: &Path, inject: Option<&str>) -> (String, String) {
    let directory = Place::new();
    let log = directory.join("log");
    let mut arguments = vec!["-o", log.to_str().unwrap()];
    arguments.extend(inject.iter().flat_map(|inject| ["-e", inject]));
    let output = strace(&arguments, name, path);
    assert_eq!(output.status.code(), Some(COMMITTED), "{output:?}");

    let log = read(log);
    let mark = log.lines().find(|line| line.contains("withal-mark-begin"));
    let thread = mark.and_then(|line| line.split_whitespace().next());
    let thread = thread.expect("no mark in the trace").to_owned();
    (log, thread)
}

/// The calls between the child's marks, in order.
fn calls(name: &str, path: &Path) -> Vec<Call> {
    calls_with(name, path, None).0
}

/// The same with an injection of its own; and which call made a file without a name.
///
/// An injection is counted in each thread: no other may come as far as any of these.
fn calls_with(name: &str, path: &Path, inject: Option<&str>) -> (Vec<Call>, Option<Call>) {
    let (log, thread) = traced(name, path, inject);
    let mut unnamed = None;
    let mut counts = HashMap::<&str, usize>::new();
    let mut elsewhere = HashMap::<&str, usize>::new();
    let mut calls = Vec::new();
    let mut marked = false;
    for line in log.lines() {
        let Some((id, line)) = line.split_once(' ') else {
            continue;
        };
        // The rest of a call that another thread's cut in two has been counted.
        let Some((call, _)) = line.trim_start().split_once('(') else {
            continue;
        };
        if call.starts_with('<') {
            continue;
        }
        if id != thread {
            *elsewhere.entry(call).or_default() += 1;
            continue;
        }
        let count = counts.entry(call).or_default();
        *count += 1;
        if line.contains("withal-mark-") {
            marked = line.contains("begin");
        } else if marked {
            calls.push((call.to_owned(), *count));
            if line.contains("O_TMPFILE") {
                unnamed = Some((call.to_owned(), *count));
            }
        }
    }
    for call in calls.iter().filter(|call| is_injectable(call)) {
        let others = elsewhere.get(&*call.0).copied().unwrap_or_default();
        assert!(others < call.1, "{call:?}, and {others} in other threads");
    }
    (calls, unnamed)
}

fn injection((call, number): &Call, what: &str) -> String {
    format!("inject={call}:{what}:when={number}")
}

/// Calls that strace cannot make fail without that meaning something else.
fn is_injectable((name, _): &Call) -> bool {
    !matches!(
        name.as_str(),
        "close"
            | "mmap"
            | "munmap"
            | "brk"
            | "mprotect"
            | "mremap"
            | "madvise"
            | "getrandom"
            | "futex"
            | "gettid"
            | "sched_yield"
    )
}

/// Files as they must be: the target as it was before, or new.
struct Trial {
    place: Place,
    path: PathBuf,
    before: Option<&'static str>,
}

impl Trial {
    fn new(before: Option<&'static str>) -> Trial {
        let place = Place::new();
        let path = place.join("target");
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        Trial {
            place,
            path,
            before,
        }
    }

    fn run(&self, name: &str, call: &Call, what: &str) -> Output {
        self.run_with(name, &[injection(call, what)])
    }

    fn run_with(&self, name: &str, injections: &[String]) -> Output {
        let log = Place::new();
        let log = log.join("log");
        let mut arguments = vec!["-o", log.to_str().unwrap()];
        arguments.extend(injections.iter().flat_map(|inject| ["-e", inject]));
        strace(&arguments, name, &self.path)
    }

    fn content(&self) -> Option<String> {
        fs::read_to_string(&self.path).ok()
    }

    fn is_old(&self) -> bool {
        self.content().as_deref() == self.before
    }

    fn is_new(&self) -> bool {
        self.content() == Some(PIECE.repeat(2))
    }

    /// All files but the target and those of other writers: name and content.
    fn others(&self) -> Vec<(String, String)> {
        let names = self.place.names().into_iter();
        names
            .filter(|name| name != "target" && !name.ends_with(".withal-tmp"))
            .map(|name| (name.clone(), read(self.place.join(name))))
            .collect()
    }
}

/// A child, what it finds, and whether its files have a name from the beginning.
struct Case {
    name: &'static str,
    before: Option<&'static str>,
    calls: Vec<Call>,
    /// What has it do without `O_TMPFILE`.
    named: Option<String>,
}

impl Case {
    fn all() -> Vec<Case> {
        let children = [
            ("replace", Some("old")),
            ("replace-and-keep", Some("old")),
            ("make", None),
            ("make-atomic", None),
        ];
        let mut cases = Vec::new();
        for (name, before) in children {
            let (calls, unnamed) = calls_with(name, &Trial::new(before).path, None);
            let unnamed = unnamed.expect("no file without a name");
            cases.push(Case {
                name,
                before,
                calls,
                named: None,
            });
            if name != "replace" {
                continue; // from then on all do the same
            }
            let named = injection(&unnamed, "error=EOPNOTSUPP");
            let (mut calls, _) = calls_with(name, &Trial::new(before).path, Some(&named));
            // One injection a system call: that into the first of these is taken.
            calls.retain(|(call, _)| *call != unnamed.0);
            cases.push(Case {
                name,
                before,
                calls,
                named: Some(named),
            });
        }
        cases
    }

    fn run(&self, trial: &Trial, call: &Call, what: &str) -> Output {
        let mut injections = vec![injection(call, what)];
        injections.extend(self.named.clone());
        trial.run_with(self.name, &injections)
    }

    fn keeps(&self) -> bool {
        self.name == "replace-and-keep"
    }

    /// The old file is there, if it is to be kept and the new one is in its place.
    fn check_kept(&self, trial: &Trial, context: &str) {
        let others = trial.others();
        if !self.keeps() {
            assert_eq!(others, [], "{context}");
        } else if trial.is_new() {
            assert!(
                others.iter().any(|(_, text)| text == "old"),
                "{others:?} {context}"
            );
        }
    }
}

/// A power loss may bring it back, and nobody may have written over it by then.
#[test]
fn what_is_replaced_is_held_until_the_new_name_is_durable() {
    for (name, replaced) in [("replace", "target"), ("replace-and-keep", "target~")] {
        let trial = Trial::new(Some("old"));
        fs::write(trial.place.join("target~"), "older").unwrap();
        let (log, _) = traced(name, &trial.path, None);
        let lines: Vec<&str> = log.lines().collect();
        let is_hold =
            |line: &&str| line.contains("O_PATH") && line.contains(&format!(", \"{replaced}\","));
        let opened = lines.iter().position(is_hold).expect("it is not held");
        let (_, held) = lines[opened].rsplit_once("= ").unwrap();
        let synced = lines.iter().rposition(|line| line.contains(" fsync("));
        let close = format!(" close({held})");
        let closed = lines
            .iter()
            .skip(opened)
            .position(|line| line.contains(&close));
        let closed = closed.map(|after| opened + after);
        assert!(synced > Some(opened) && closed > synced, "{log}");
    }
}

#[test]
fn the_disk_begins_with_a_long_file_before_it_is_waited_for() {
    let begun = |name: &str, inject: Option<&str>| {
        let trial = Trial::new(None);
        let (log, _) = traced(name, &trial.path, inject);
        assert_eq!(fs::read(&trial.path).unwrap(), [b'x'; LONG]);
        let calls = ["fadvise64(", "write(", "fsync("];
        let calls = log.lines().filter_map(|line| {
            let long = line.contains("1048576") || line.contains("fsync(");
            calls.into_iter().find(|call| long && line.contains(call))
        });
        calls.collect::<String>()
    };
    let piece = "write(fadvise64(";
    let expected = format!("{}fsync(fsync(", piece.repeat(LONG >> 20));
    assert_eq!(begun("long", None), expected);
    // It is only a hint.
    let fails = Some("inject=fadvise64:error=ENOSYS");
    assert_eq!(begun("long", fails), expected);
    assert_eq!(begun("long-atomic", None), "write(".repeat(LONG >> 20));
}

#[test]
fn whichever_call_fails_the_target_is_as_the_error_says() {
    for case in Case::all() {
        let (name, calls) = (case.name, &case.calls);
        let mut said = HashMap::<i32, usize>::new();
        for call in calls.iter().filter(|call| is_injectable(call)) {
            let needs_space = matches!(
                &*call.0,
                "write" | "openat" | "fsync" | "linkat" | "renameat"
            );
            let errors = if needs_space {
                &["EIO", "ENOSPC"][..]
            } else {
                &["EIO"]
            };
            for error in errors {
                let trial = Trial::new(case.before);
                let output = case.run(&trial, call, &format!("error={error}"));
                let stderr = String::from_utf8_lossy(&output.stderr);
                let context = format!("{name}: {error} at {call:?}: {output:?}");
                let code = output.status.code().expect(&context);
                match code {
                    COMMITTED => assert!(trial.is_new(), "{context}"),
                    NOT_COMMITTED => assert!(trial.is_old(), "{context}"),
                    COMMITTED_WITH_ERROR => assert!(trial.is_new(), "{context}"),
                    _ => panic!("{context}"),
                }
                if code != COMMITTED {
                    assert!(stderr.contains(trial.path.to_str().unwrap()), "{context}");
                }
                case.check_kept(&trial, &context);
                // But for a lock or a sweep that failed, nobody may leave anything.
                assert_eq!(temporaries(&trial.place), [""; 0], "{context}");
                if code != COMMITTED_WITH_ERROR {
                    let kept = trial.others();
                    let is_backup = |(name, _): &(String, String)| name == "target~";
                    assert!(kept.iter().all(is_backup), "{kept:?} {context}");
                }
                *said.entry(code).or_default() += 1;
            }
        }
        let said = |code| said.get(&code).copied().unwrap_or_default();
        assert!(said(NOT_COMMITTED) >= 6, "{name}: {calls:?}");
        let is_synced = name != "make-atomic";
        assert_eq!(
            said(COMMITTED_WITH_ERROR) >= 2,
            is_synced,
            "{name}: {calls:?}"
        );
    }
}

#[test]
fn whichever_call_is_its_last_a_killed_writer_leaves_a_whole_file() {
    for case in Case::all() {
        let (name, calls) = (case.name, &case.calls);
        let (mut old, mut new) = (0, 0);
        for call in calls.iter().filter(|call| is_injectable(call)) {
            let trial = Trial::new(case.before);
            let output = case.run(&trial, call, "signal=KILL");
            let context = format!("{name}: killed at {call:?}: {output:?}");
            assert_eq!(output.status.code(), None, "{context}");
            assert!(trial.is_old() || trial.is_new(), "{context}");
            match trial.is_new() {
                true => new += 1,
                false => old += 1,
            }
            case.check_kept(&trial, &context);
            write_atomic(&trial.path, "after").unwrap();
            assert_eq!(temporaries(&trial.place), [""; 0], "{context}");
        }
        assert!(
            old >= 5 && (new >= 1 || name == "make-atomic"),
            "{name}: {old} old, {new} new, of {calls:?}"
        );
    }
}

#[test]
fn whichever_call_is_its_last_a_killed_writer_leaves_a_whole_directory() {
    let fill = || {
        let place = Place::new();
        let path = place.join("target");
        fs::create_dir_all(path.join("old/deep")).unwrap();
        fs::write(path.join("old/file"), "").unwrap();
        (place, path)
    };
    let calls = {
        let (_place, path) = fill();
        calls("exchange", &path)
    };
    let (mut old, mut new) = (0, 0);
    for call in calls.iter().filter(|call| is_injectable(call)) {
        let (place, path) = fill();
        let inject = format!("inject={}:signal=KILL:when={}", call.0, call.1);
        let trace = format!("trace={}", call.0);
        let output = strace(&["-e", &trace, "-e", &inject], "exchange", &path);
        let context = format!("killed at {call:?}: {output:?}");
        assert_eq!(output.status.code(), None, "{context}");
        match names(&path).as_slice() {
            [a, b] if a == "a" && b == "b" => {
                assert_eq!(
                    read(path.join("a")) + &read(path.join("b")),
                    PIECE.repeat(2)
                );
                new += 1;
            }
            [only] if only == "old" => {
                assert_eq!(names(&path.join("old")), ["deep", "file"], "{context}");
                old += 1;
            }
            other => panic!("{other:?}: {context}"),
        }
        drop(AtomicDir::create(&path).open().unwrap());
        assert_eq!(place.names(), ["target"], "{context}");
    }
    assert!(old >= 10 && new >= 5, "{old} old, {new} new, of {calls:?}");
}

fn check_text(call: &str, nth: usize, error: &str, want: impl Fn(&str, &str) -> String) {
    let trial = Trial::new(Some("old"));
    let calls = calls("replace", &trial.path);
    let trial = Trial::new(Some("old"));
    let call = calls
        .iter()
        .filter(|(name, _)| name == call)
        .nth(nth)
        .unwrap_or_else(|| panic!("no {call} {nth} in {calls:?}"));
    let output = trial.run("replace", call, &format!("error={error}"));
    let (path, directory) = (trial.path.to_str().unwrap(), trial.place.to_str().unwrap());
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&want(path, directory)), "{stderr}");
}

#[test]
fn a_failed_write_names_the_file_though_the_error_was_swallowed() {
    check_text("write", 0, "ENOSPC", |path, _| {
        format!(
            "`{path}` was not written: an earlier write to its temporary file failed: No space \
             left on device (os error 28)"
        )
    });
}

#[test]
fn a_failed_sync_names_the_file() {
    check_text("fsync", 0, "EIO", |path, _| {
        format!(
            "`{path}` was not written: cannot sync its temporary file: Input/output error (os \
             error 5)"
        )
    });
}

#[test]
fn a_failed_rename_names_the_file() {
    check_text("renameat", 0, "EIO", |path, _| {
        format!("`{path}` was not written: cannot put it in place: Input/output error (os error 5)")
    });
}

#[test]
fn a_failed_sync_of_the_directory_says_that_the_file_is_in_place() {
    check_text("fsync", 1, "EIO", |path, directory| {
        format!(
            "`{path}` was written, but its directory `{directory}/` could not be synced: a power \
             cut may still undo it: Input/output error (os error 5)"
        )
    });
}

#[test]
fn without_the_rename_that_replaces_nothing_a_link_does_the_same() {
    for error in ["EINVAL", "ENOSYS"] {
        let calls = calls("make", &Trial::new(None).path);
        let rename = calls.iter().find(|(name, _)| name == "renameat2").unwrap();
        let trial = Trial::new(None);
        let output = trial.run("make", rename, &format!("error={error}"));
        assert_eq!(output.status.code(), Some(COMMITTED), "{output:?}");
        assert!(trial.is_new());
        assert_eq!(trial.place.names(), ["target"]);
    }
}

#[test]
fn a_file_that_may_not_be_linked_is_copied() {
    for name in ["replace", "make", "make-atomic"] {
        let before = (name == "replace").then_some("old");
        let all = calls(name, &Trial::new(before).path);
        let link = all.iter().find(|(call, _)| call == "linkat").unwrap();
        // For the privileged only, but by `/proc`; that neither; forbidden.
        for (error, all) in [
            ("ENOENT", ""),
            ("ENOENT", "+"),
            ("EPERM", "+"),
            ("EACCES", "+"),
        ] {
            let trial = Trial::new(before);
            let injection = injection(link, &format!("error={error}")) + all;
            let output = trial.run_with(name, &[injection]);
            assert_eq!(output.status.code(), Some(COMMITTED), "{output:?}");
            assert!(trial.is_new(), "{output:?}");
            assert_eq!(trial.place.names(), ["target"]);
            let any = trial.place.file("any", "");
            assert_eq!(mode(&trial.path), mode(any), "{output:?}");
        }
    }
}

#[test]
fn where_files_cannot_be_exchanged_the_backup_is_a_link() {
    for error in ["EINVAL", "ENOSYS"] {
        let all = calls("replace-and-keep", &Trial::new(Some("old")).path);
        let exchange = all.iter().find(|(name, _)| name == "renameat2").unwrap();
        let trial = Trial::new(Some("old"));
        let output = trial.run("replace-and-keep", exchange, &format!("error={error}"));
        assert_eq!(output.status.code(), Some(COMMITTED), "{output:?}");
        assert!(trial.is_new());
        assert_eq!(trial.others(), [("target~".to_owned(), "old".to_owned())]);
        assert_eq!(trial.place.names(), ["target", "target~"]);
    }
}

#[test]
fn where_files_cannot_be_exchanged_a_replaced_link_is_kept_all_the_same() {
    let place = Place::new();
    let path = place.join("target");
    symlink("missing", &path).unwrap();
    let inject = "inject=renameat2:error=ENOSYS";
    let arguments = ["-e", "trace=renameat2", "-e", inject];
    let output = strace(&arguments, "replace-link-and-keep", &path);
    assert_eq!(output.status.code(), Some(COMMITTED), "{output:?}");
    assert_eq!(read(&path), PIECE.repeat(2));
    let kept = fs::read_link(place.join("target~")).unwrap();
    assert_eq!(kept.to_str(), Some("missing"));
    assert_eq!(place.names(), ["target", "target~"]);
}

#[test]
fn a_backup_that_gets_no_name_is_there_and_named() {
    let all = calls("replace-and-keep", &Trial::new(Some("old")).path);
    let exchange = all
        .iter()
        .position(|(name, _)| name == "renameat2")
        .unwrap();
    let mut after = all[exchange..].iter();
    let rename = after.find(|(name, _)| name == "renameat").unwrap();
    let trial = Trial::new(Some("old"));
    let output = trial.run("replace-and-keep", rename, "error=EIO");
    assert_eq!(
        output.status.code(),
        Some(COMMITTED_WITH_ERROR),
        "{output:?}"
    );
    assert!(trial.is_new());
    let others = trial.others();
    let [(kept, text)] = others.as_slice() else {
        panic!("{others:?}");
    };
    assert_eq!(text, "old");
    let (path, place) = (trial.path.display(), trial.place.display());
    let want = format!(
        "`{path}` was written, but the old file could not be kept as `{path}~`; it may still be \
         `{place}/{kept}`: Input/output error (os error 5)"
    );
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(&want), "{stderr}");
}

#[test]
fn a_filesystem_without_locks_or_directory_sync_is_written_to_all_the_same() {
    for (name, nth, error) in [
        ("flock", 0, "ENOLCK"),
        ("flock", 0, "EOPNOTSUPP"),
        ("fsync", 1, "EINVAL"),
    ] {
        let calls = calls("replace", &Trial::new(Some("old")).path);
        let call = calls
            .iter()
            .filter(|(call, _)| call == name)
            .nth(nth)
            .unwrap();
        let trial = Trial::new(Some("old"));
        let output = trial.run("replace", call, &format!("error={error}"));
        assert_eq!(output.status.code(), Some(COMMITTED), "{output:?}");
        assert!(trial.is_new());
    }
}

#[test]
fn a_kernel_that_cannot_exchange_directories_is_named() {
    for error in ["EINVAL", "ENOSYS"] {
        let place = Place::new();
        let path = place.join("target");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("old"), "").unwrap();
        let inject = format!("inject=renameat2:error={error}");
        let output = strace(&["-e", "trace=renameat2", "-e", &inject], "exchange", &path);
        assert_eq!(output.status.code(), Some(NOT_COMMITTED), "{output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let want = format!(
            "`{}` was not written: this kernel or filesystem cannot exchange two directories",
            path.display()
        );
        assert!(stderr.contains(&want), "{stderr}");
        assert_eq!(names(&path), ["old"]);
        assert_eq!(place.names(), ["target"]);
    }
}
