//! What the command leaves running ends with it.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::{Sandbox, wait_until};

#[test]
fn a_daemon_of_the_command_ends_with_it() {
    let sandbox = Sandbox::new();
    let script = "
        setsid sh -c 'setsid sleep 1000 & echo $! > daemon' &
        while ! [ -s daemon ]; do sleep 0.01; done
        exit 3";
    sandbox
        .run(&["-t", "-v", "--", "sh", "-c", script])
        .check_code(3);
    assert_ne!(sandbox.read("daemon"), "");
}

#[test]
fn a_daemon_ends_on_every_path() {
    let daemon = "setsid sh -c 'setsid sleep 1000 & echo > daemon' &
        while ! [ -e daemon ]; do sleep 0.01; done;";
    let check = |options: &[&str], end: &str, code: i32| {
        let sandbox = Sandbox::new();
        let script = format!("{daemon} {end}");
        let arguments = [options, &["-t", "--", "sh", "-c", &script]].concat();
        sandbox.run(&arguments).check_code(code);
    };
    check(&[], "exit 0", 0);
    check(&[], "kill -TERM $$", 143);
    check(&[], "kill -KILL $$", 137);
    check(&["-T", "300ms"], "sleep 60", 124);
    check(
        &["-T", "300ms", "-k", "50ms"],
        "trap '' TERM; while :; do sleep 0.01; done",
        124,
    );
}

#[test]
fn a_daemon_gets_the_grace_to_clean_up() {
    let sandbox = Sandbox::new();
    let daemon = "trap 'echo > cleaned; exit' TERM; touch daemon; while :; do sleep 0.01; done";
    sandbox.write("daemon.sh", daemon);
    let script = "setsid sh daemon.sh & while ! [ -e daemon ]; do sleep 0.01; done";
    sandbox
        .run(&["-k", "1h", "--", "sh", "-c", script])
        .check_code(0);
    assert!(sandbox.has("cleaned"));
}

#[test]
fn a_stubborn_daemon_is_killed_and_named() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "daemon.sh",
        "trap '' TERM; touch daemon; while :; do sleep 0.01; done",
    );
    let script = "setsid sh daemon.sh & while ! [ -e daemon ]; do sleep 0.01; done";
    let ended = sandbox.run(&["-k", "50ms", "--", "sh", "-c", script]);
    ended.check_code(0);
    assert!(
        ended
            .stderr
            .contains("withal: not ended within 50ms, killed: "),
        "{ended:?}"
    );
    assert!(ended.stderr.contains("(sh)"), "{ended:?}");
}

#[test]
fn a_signal_while_a_daemon_is_stopped_is_answered_and_a_second_one_kills() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "daemon.sh",
        "trap '' TERM; touch daemon; while :; do sleep 0.01; done",
    );
    let script = "setsid sh daemon.sh & while ! [ -e daemon ]; do sleep 0.01; done";
    let started = sandbox.start_run(&["-v", "-k", "1h", "--", "sh", "-c", script]);
    started.wait_for_message("stopping what the command left running");
    started.send(Signal::SIGTERM);
    started.wait_for_message("waiting for processes the command left");
    started.send(Signal::SIGTERM);
    started.finish().check_code(0);
}

#[test]
fn adopted_processes_leave_no_zombies() {
    let sandbox = Sandbox::new();
    let script = "
        for i in 1 2 3; do sh -c 'sleep 0.01 & echo $! >> pids'; done
        touch ready
        while ! [ -e end ]; do sleep 0.01; done";
    let started = sandbox.start_run(&["--", "sh", "-c", script]);
    started.wait_for("ready");
    let pids = sandbox.read("pids");
    assert_eq!(pids.lines().count(), 3);
    let is_gone = |pid: &str| fs::metadata(format!("/proc/{pid}")).is_err();
    wait_until("the zombies", || pids.lines().all(is_gone));
    sandbox.write("end", "");
    started.finish().check_code(0);
}

#[test]
fn children_that_withal_was_given_are_not_its_own() {
    let sandbox = Sandbox::new();
    let script = "sleep 1000 & echo $! > pid; exec $W run -- true";
    sandbox.start_shell(script).finish_unchecked().check_code(0);
    let pid = sandbox.read("pid");
    assert!(fs::metadata(format!("/proc/{}", pid.trim())).is_ok());
}

#[test]
fn runs_nest() {
    let sandbox = Sandbox::new();
    let script = "exec $W run -t=A -- $W run -t=B -l lock -- sh -c 'ls -d $A $B; exit 5'";
    let ended = sandbox.shell(script);
    ended.check_code(5);
    assert_eq!(ended.stdout.lines().count(), 2);
}
