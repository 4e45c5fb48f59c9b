//! What the command prints, in a log as well.

use std::fmt::Write as _;
use std::fs::File;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::gates::ENDINGS;
use crate::support::{Sandbox, wait_until};

/// What `withal log cat` prints of the log `log`, as it is.
fn logged(sandbox: &Sandbox) -> Vec<u8> {
    let output = sandbox.feed(&["log", "cat", "log"], b"");
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[test]
fn both_streams_are_passed_on_and_logged_in_the_order_they_were_written() {
    let sandbox = Sandbox::new();
    let script = "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let ended = sandbox.run(&["--log", "log", "--", "sh", "-c", script]);
    ended.check_code(0);
    let mut expected = String::new();
    for i in 0..500 {
        let _ = writeln!(expected, "out {i}\nerr {i}");
    }
    assert_eq!(ended.stdout, expected);
    assert_eq!(ended.stderr, "");
    assert_eq!(String::from_utf8(logged(&sandbox)).unwrap(), expected);
}

#[test]
fn on_every_path_the_log_has_all_that_was_printed() {
    for (options, script, code) in ENDINGS {
        let sandbox = Sandbox::new();
        let script = format!("echo one; printf two >&2; {script}");
        let ended = sandbox.run(&[*options, &["--log", "log", "--", "sh", "-c", &script]].concat());
        ended.check_code(*code);
        // A timeout may come before anything is printed.
        assert!("one\ntwo".starts_with(&ended.stdout), "{ended:?}");
        assert!(*code == 124 || ended.stdout == "one\ntwo", "{ended:?}");
        assert_eq!(String::from_utf8(logged(&sandbox)).unwrap(), ended.stdout);
    }
}

#[test]
fn bytes_are_passed_on_and_logged_as_they_are() {
    let sandbox = Sandbox::new();
    let mut bytes = Vec::new();
    for i in 0..100_000_u32 {
        bytes.extend_from_slice(&i.wrapping_mul(2_654_435_761).to_le_bytes());
        if i % 1000 == 0 {
            bytes.extend_from_slice(b"\n\n\r\n\0");
        }
    }
    // Lines that are longer than is kept of one.
    bytes.extend(std::iter::repeat_n(b'x', 3_000_000));
    bytes.extend_from_slice("\nüüü no newline".as_bytes());
    let output = sandbox.feed(&["run", "--log", "log", "--", "cat"], &bytes);
    assert!(output.status.success());
    assert!(
        output.stdout == bytes,
        "{} of {}",
        output.stdout.len(),
        bytes.len()
    );
    let logged = logged(&sandbox);
    assert!(logged == bytes, "{} of {}", logged.len(), bytes.len());
}

#[test]
fn an_output_takes_stdout_and_leaves_stderr_to_the_log() {
    let gates = [["--log", "log"], ["--output", "out"]];
    for gates in [gates, [gates[1], gates[0]]] {
        let sandbox = Sandbox::new();
        let script = "echo out; echo err >&2";
        let ended = sandbox.run(&[&gates.concat(), &["--", "sh", "-c", script][..]].concat());
        ended.check_code(0);
        assert_eq!(
            (ended.stdout.as_str(), ended.stderr.as_str()),
            ("", "err\n")
        );
        assert_eq!(sandbox.read("out"), "out\n");
        assert_eq!(logged(&sandbox), b"err\n");
    }
}

#[test]
fn streams_can_be_chosen_and_need_not_be_passed_on() {
    let check = |keys: &str, stdout: &str, stderr: &str, expected: &str| {
        let sandbox = Sandbox::new();
        let gate = format!("log:path=log{keys}");
        let script = "echo out; echo err >&2";
        let ended = sandbox.run(&["-w", &gate, "--", "sh", "-c", script]);
        ended.check_code(0);
        let printed = (ended.stdout.as_str(), ended.stderr.as_str());
        assert_eq!(printed, (stdout, stderr), "{keys}");
        assert_eq!(String::from_utf8(logged(&sandbox)).unwrap(), expected);
    };
    check("", "out\nerr\n", "", "out\nerr\n");
    check(",streams=both,tee=false", "", "", "out\nerr\n");
    check(",streams=stdout", "out\n", "err\n", "out\n");
    check(",streams=stderr", "out\n", "err\n", "err\n");
    check(",streams=stderr,tee=false", "out\n", "", "err\n");
}

#[test]
fn logging_goes_on_when_nobody_reads_stdout() {
    let sandbox = Sandbox::new();
    let script =
        "{ $W run --log log -- sh -c 'seq 100000; touch ended'; echo $? > code; } | head -1";
    let ended = sandbox.shell(script);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("1\n", ""));
    assert_eq!(sandbox.read("code"), "0\n");
    assert!(sandbox.has("ended"));
    let logged = logged(&sandbox);
    assert_eq!(
        logged.iter().filter(|byte| **byte == b'\n').count(),
        100_000
    );
    assert!(logged.ends_with(b"\n100000\n"));
}

#[test]
fn what_nobody_reads_is_logged_all_the_same_when_the_command_is_stopped() {
    let sandbox = Sandbox::new();
    // More than fits into the pipe to us; all of it fits into that and the one to withal.
    let script = "seq 60000; touch ended; exec sleep 60";
    let mut child = sandbox.pipe(&["run", "--log", "log", "--", "sh", "-c", script]);
    wait_until("the end of what is printed", || sandbox.has("ended"));
    kill(
        Pid::from_raw(child.id().try_into().unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    let mut status = None;
    wait_until("the end of withal", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let logged = logged(&sandbox);
    assert!(logged.starts_with(b"1\n2\n3\n") && logged.ends_with(b"\n60000\n"));
    let missing = logged.len() - output.stdout.len();
    let expected = format!("withal: --log: nobody read stdout: {missing} bytes are not printed\n");
    assert_eq!(stderr, expected);
    assert!(logged.starts_with(&output.stdout));
}

#[test]
fn the_command_goes_on_when_the_log_fails_and_the_run_is_123() {
    let sandbox = Sandbox::new();
    // A file may have 32 KiB, and there is no place for another.
    let script = "trap '' XFSZ; ulimit -f 64
        { $W run --log log -- sh -c 'rm -r log; seq 100000; touch ended'
          echo $? > code; } | tail -1";
    let ended = sandbox.start_shell(script).finish_unchecked();
    assert_eq!(ended.stdout, "100000\n");
    assert_eq!(sandbox.read("code"), "123\n");
    assert!(sandbox.has("ended"));
    let said: Vec<&str> = ended.stderr.lines().collect();
    let told = "nothing is logged any more, the command goes on";
    assert!(said.iter().any(|line| line.ends_with(told)), "{ended:?}");
    let failed = "withal: --log: the log is not whole: ";
    assert!(
        said.iter().any(|line| line.starts_with(failed)),
        "{ended:?}"
    );
}

#[test]
fn lines_begin_with_their_time_if_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["--log", "log", "--log-time", "--", "printf", "a\nb"]);
    ended.check_code(0);
    assert_eq!(ended.stdout, "a\nb");
    let logged = String::from_utf8(logged(&sandbox)).unwrap();
    let texts: Vec<(&str, &str)> = logged
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let is_time = |time: &str| time.starts_with("20") && time.ends_with('Z') && time.len() == 27;
    assert!(texts.iter().all(|(time, _)| is_time(time)), "{logged}");
    let texts: Vec<&str> = texts.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a", "b"]);
}

#[test]
fn a_log_is_rotated_and_only_the_newest_files_are_kept() {
    let sandbox = Sandbox::new();
    let arguments = [
        "--log",
        "log",
        "--log-rotate",
        "16KiB:3",
        "--",
        "seq",
        "100000",
    ];
    sandbox.run(&arguments).check_code(0);
    let logged = logged(&sandbox);
    assert!(logged.ends_with(b"\n100000\n"));
    assert!(logged.len() <= 3 * 16 * 1024, "{}", logged.len());
    assert!(logged.len() > 2 * 16 * 1024, "{}", logged.len());
}

#[test]
fn a_log_goes_on_from_run_to_run() {
    let sandbox = Sandbox::new();
    for word in ["one", "two"] {
        sandbox
            .run(&["--log", "log", "--", "echo", word])
            .check_code(0);
    }
    assert_eq!(logged(&sandbox), b"one\ntwo\n");
}

#[test]
fn what_cannot_be_a_log_is_refused_before_anything_is_acquired() {
    let sandbox = Sandbox::new();
    let holder = sandbox.start_run(&[
        "--log",
        "log",
        "--",
        "sh",
        "-c",
        "touch ready; while ! [ -e end ]; do sleep 0.01; done",
    ]);
    holder.wait_for("ready");
    let check = |arguments: &[&str], code: i32, expected: &str| {
        let arguments = [arguments, &["--", "touch", "started"]].concat();
        let ended = sandbox.start_run(&arguments).finish_unchecked();
        ended.check_code(code);
        assert!(ended.stderr.contains(expected), "{expected}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(!sandbox.has("started"));
    };
    check(&["--log", "log"], 75, "another process writes this log");
    check(&["--log", "log", "--busy-code", "9"], 9, "another process");
    check(&["--log", "."], 125, "--log: `.`: not a log, and not empty");
    check(
        &["--log", "a", "--log", "b"],
        125,
        "--log: takes stdout, as `log a` does before it; leave one of them out",
    );
    check(&["--log-time"], 125, "no log; write `--log DIR`, too");
    check(
        &["--log", "a", "--log-rotate", "x"],
        125,
        "--log-rotate: `x`: not a size",
    );
    check(
        &["-w", "log:path=a,rotate='1MiB:0'"],
        125,
        "--with log: not a number of files",
    );
    check(
        &["-w", "log:path=a,streams=all"],
        125,
        "--with log: `all`: not known; write `both`, `stdout` or `stderr`",
    );
    check(
        &["-w", "log:file=a"],
        125,
        "--with log: a gate `log` has no key `file`",
    );
    check(
        &["-o", "out", "-w", "log:path=a,streams=stdout"],
        125,
        "log: another gate takes stdout",
    );
    sandbox.write("end", "");
    holder.finish().check_code(0);
}

#[test]
fn a_stranger_who_holds_the_commands_stdout_open_does_not_hold_withal() {
    let sandbox = Sandbox::new();
    let script =
        "echo $$ > pid.new; mv pid.new pid; while ! [ -e end ]; do sleep 0.01; done; echo out";
    let started = sandbox.start_run(&["--log", "log", "--", "sh", "-c", script]);
    started.wait_for("pid");
    let stdout = format!("/proc/{}/fd/1", sandbox.read("pid").trim());
    let stdout = File::options().write(true).open(stdout).unwrap();
    sandbox.write("end", "");
    let ended = started.finish();
    ended.check_code(0);
    assert_eq!(ended.stdout, "out\n");
    assert_eq!(logged(&sandbox), b"out\n");
    drop(stdout);
}
