//! Signals by `kill`, where there is no terminal.

use std::fs::File;
use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::{Sandbox, WITHAL, wait_until};

/// A command that writes down each signal it gets, and exits with 7 once there is a file `end`.
const NOTES_SIGNALS: &str = "
    for signal in HUP INT QUIT TERM USR1 USR2 WINCH; do
        trap \"echo $signal >> got\" $signal
    done
    touch ready
    while ! [ -e end ]; do sleep 0.01; done
    exit 7";

#[test]
fn a_signal_reaches_the_command_once_and_its_status_counts() {
    for name in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH"] {
        let sandbox = Sandbox::new();
        let started = sandbox.start_run(&["-t", "-k", "1h", "--", "sh", "-c", NOTES_SIGNALS]);
        started.wait_for("ready");
        started.send(format!("SIG{name}").parse().unwrap());
        started.wait_for("got");
        sandbox.write("end", "");
        started.finish().check_code(7);
        assert_eq!(sandbox.read("got"), format!("{name}\n"));
    }
}

#[test]
fn a_command_that_handles_the_signal_and_succeeds_is_a_success() {
    let sandbox = Sandbox::new();
    let script = "trap 'echo bye; exit 0' TERM; touch ready; while :; do sleep 0.01; done";
    let started = sandbox.start_run(&["-o", "out", "--", "sh", "-c", script]);
    started.wait_for("ready");
    started.send(Signal::SIGTERM);
    started.finish().check_code(0);
    assert_eq!(sandbox.read("out"), "bye\n");
}

#[test]
fn a_command_that_does_not_handle_the_signal_dies_of_it() {
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGUSR1,
    ] {
        let sandbox = Sandbox::new();
        let started = sandbox.start_run(&["-t", "--", "sh", "-c", "touch ready; exec sleep 60"]);
        started.wait_for("ready");
        started.send(signal);
        assert_eq!(started.finish().signal(), Some(signal as i32));
    }
}

#[test]
fn a_stubborn_command_is_killed_after_the_grace() {
    let sandbox = Sandbox::new();
    let script = "trap '' TERM; touch ready; while :; do sleep 0.01; done";
    let started = sandbox.start_run(&["-t", "-k", "100ms", "--", "sh", "-c", script]);
    started.wait_for("ready");
    started.send(Signal::SIGTERM);
    let ended = started.finish();
    assert_eq!(ended.signal(), Some(9));
    assert!(
        ended
            .stderr
            .contains("withal: not ended within 100ms, killed: "),
        "{ended:?}"
    );
}

#[test]
fn a_second_request_to_stop_does_not_wait_for_the_grace() {
    let sandbox = Sandbox::new();
    let started = sandbox.start_run(&["-k", "1h", "--", "sh", "-c", NOTES_SIGNALS]);
    started.wait_for("ready");
    started.send(Signal::SIGTERM);
    started.wait_for("got");
    started.send(Signal::SIGINT);
    assert_eq!(started.finish().signal(), Some(9));
}

#[test]
fn a_hangup_after_a_request_to_stop_leaves_the_grace() {
    let sandbox = Sandbox::new();
    let started = sandbox.start_run(&["-k", "1h", "--", "sh", "-c", NOTES_SIGNALS]);
    started.wait_for("ready");
    started.send(Signal::SIGTERM);
    started.wait_for("got");
    started.send(Signal::SIGHUP);
    wait_until("the hangup", || sandbox.read("got") == "TERM\nHUP\n");
    sandbox.write("end", "");
    started.finish().check_code(7);
}

#[test]
fn a_stopped_command_is_continued_to_be_stopped() {
    let sandbox = Sandbox::new();
    let script = "trap 'exit 3' TERM; touch ready; kill -STOP $$; while :; do sleep 0.01; done";
    let arguments = ["-T", "100ms", "--preserve-status", "--", "sh", "-c", script];
    sandbox.run(&arguments).check_code(3);
}

#[test]
fn a_signal_while_acquiring_ends_it_and_the_command_never_starts() {
    for signal in [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ] {
        for waiting in [&[][..], &["--lock-wait", "1h"]] {
            let sandbox = Sandbox::new();
            let lock = File::create(sandbox.path("lock")).unwrap();
            lock.lock().unwrap();
            let gates = ["-v", "-t", "-o", "out", "-l", "lock"];
            let arguments = [&gates[..], waiting, &["--", "touch", "started"]].concat();
            let start = Instant::now();
            let started = sandbox.start_run(&arguments);
            started.wait_for_message("acquiring lock");
            started.send(signal);
            let ended = started.finish();
            assert_eq!(ended.status.code(), Some(128 + signal as i32), "{ended:?}");
            assert!(
                ended.stderr.contains("released tempdir TMPDIR ("),
                "{ended:?}"
            );
            assert!(start.elapsed() < Duration::from_secs(20));
            assert!(!sandbox.has("started"));
            assert!(!sandbox.has("out"));
        }
    }
}

#[test]
fn an_ignored_signal_stays_ignored_as_under_nohup() {
    let sandbox = Sandbox::new();
    let script = format!("trap '' HUP INT; exec $W run -t -- sh -c '{NOTES_SIGNALS}'");
    let started = sandbox.start_shell(&script);
    started.wait_for("ready");
    started.send(Signal::SIGHUP);
    started.send(Signal::SIGINT);
    started.send(Signal::SIGUSR1);
    started.wait_for("got");
    sandbox.write("end", "");
    started.finish().check_code(7);
    assert_eq!(sandbox.read("got"), "USR1\n");
}

#[test]
fn the_command_gets_the_mask_and_the_dispositions_withal_came_with() {
    let sandbox = Sandbox::new();
    let show = "grep -E '^Sig(Blk|Ign):' /proc/self/status";
    for ignored in [
        "",
        "trap '' PIPE;",
        "trap '' XFSZ;",
        "trap '' HUP QUIT PIPE CHLD USR1;",
    ] {
        let direct = sandbox.shell(&format!("{ignored} exec {show}"));
        let through = sandbox.shell(&format!("{ignored} exec $W run -- {show}"));
        assert_eq!(through.stdout, direct.stdout, "{ignored}");
        through.check_code(0);
    }
}

#[test]
fn a_reader_that_has_gone_ends_the_command_by_sigpipe() {
    let sandbox = Sandbox::new();
    let ended = sandbox.shell("{ $W run -t -- seq 1000000; echo $? > code; } | head -n 1");
    assert_eq!(ended.stdout, "1\n");
    assert_eq!(sandbox.read("code"), "141\n");
}

#[test]
fn stdin_is_the_commands_alone() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command(WITHAL, &["run", "-t", "-l", "lock", "--", "cat"]);
    let _ = command.stdin(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"all of it\n")
        .unwrap();
    assert!(child.wait().unwrap().success());
    let ended = sandbox.shell("printf 'one\\ntwo\\n' | { $W run -- head -c 4; cat; }");
    assert_eq!(ended.stdout, "one\ntwo\n");
}

#[test]
fn a_stream_that_came_in_closed_is_closed_for_the_command() {
    let sandbox = Sandbox::new();
    let script = "echo x && echo y >&2 && cat";
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"] {
        let direct = sandbox.shell(&format!("sh -c '{script}' {closed}; echo $?"));
        let through = sandbox.shell(&format!("$W run -t -- sh -c '{script}' {closed}; echo $?"));
        assert_eq!(through.stdout, direct.stdout, "{closed}");
        assert!(!direct.stdout.ends_with("0\n"), "{direct:?}");
    }
    // What a gate puts there stays.
    let ended = sandbox.shell("$W run -o out -- echo whole >&-");
    ended.check_code(0);
    assert_eq!(sandbox.read("out"), "whole\n");
}

#[test]
fn who_asks_to_stop_waits_4_s_for_the_gates_and_no_longer() {
    let script = "trap 'exit 0' TERM; touch begun; while :; do sleep 0.01; done";
    check_given_up(&[], "", script);
}

#[test]
fn who_asks_to_stop_while_gates_are_undone_waits_no_longer_either() {
    for options in [&[][..], &["--no-keeper"]] {
        check_given_up(options, "touch begun; ", "exit");
    }
}

/// A gate that is not undone until `go` is there is given up after 4 s of a request to stop, which
/// comes when `begun` is there.
#[track_caller]
fn check_given_up(options: &[&str], first: &str, script: &str) {
    let sandbox = Sandbox::new();
    let release = format!("{first}while ! [ -e go ]; do sleep 0.01; done");
    let gate = format!(r#"hook:release=["sh","-c","{release}"]"#);
    let started = sandbox.start_run(&[options, &["-w", &gate, "--", "sh", "-c", script]].concat());
    started.wait_for("begun");
    started.send(Signal::SIGTERM);
    let ended = started.finish_unchecked();
    ended.check_code(123);
    let expected = "withal: not undone within 4s: hook sh\nwithal: not all is undone: ";
    assert!(ended.stderr.contains(expected), "{ended:?}");
    sandbox.write("go", "");
    let recovering = sandbox.start(sandbox.command(WITHAL, &["recover"]));
    recovering.finish().check_code(0);
}
