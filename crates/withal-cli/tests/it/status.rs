//! Exit statuses.

use std::os::unix::process::ExitStatusExt as _;

use crate::support::Sandbox;

#[test]
fn the_commands_exit_code_is_withals() {
    let sandbox = Sandbox::new();
    for code in 0..=255 {
        let ended = sandbox.start_run(&["--", "sh", "-c", &format!("exit {code}")]);
        let ended = ended.finish_unchecked();
        assert_eq!(ended.status.code(), Some(code), "{ended:?}");
        assert_eq!(ended.stderr, "");
    }
    sandbox.check_nothing_is_left();
}

#[test]
fn withal_dies_of_the_commands_signal_and_leaves_no_core() {
    let sandbox = Sandbox::new();
    // HUP, INT, QUIT, ILL, ABRT, FPE, KILL, USR1, SEGV, USR2, PIPE, ALRM, TERM and a real-time one.
    for signal in [1, 2, 3, 4, 6, 8, 9, 10, 11, 12, 13, 14, 15, 40] {
        let script = format!("ulimit -c 0; kill -{signal} $$");
        let ended = sandbox.run(&["--tempdir", "--", "sh", "-c", &script]);
        assert_eq!(ended.signal(), Some(signal), "{ended:?}");
        assert!(!ended.status.core_dumped());
    }
}

#[test]
fn a_loop_in_a_shell_ends_with_the_command_that_a_ctrl_c_killed() {
    let sandbox = Sandbox::new();
    let ended = sandbox.shell("$W run -- sh -c 'kill -INT $$'; echo $?");
    assert_eq!(ended.stdout, "130\n", "{ended:?}");
}

#[test]
fn what_does_not_start_is_127_or_126() {
    let sandbox = Sandbox::new();
    sandbox.write("plain", "no program\n");
    let check = |program: &str, code: i32, message: &str| {
        let ended = sandbox.run(&["--tempdir", "--", program]);
        ended.check_code(code);
        assert_eq!(ended.stderr, format!("withal: {program}: {message}\n"));
    };
    check("no-such-command", 127, "command not found");
    check("./no-such-command", 127, "command not found");
    check(
        "./plain/inside",
        127,
        "command not found: Not a directory (os error 20)",
    );
    let denied = "cannot be executed: Permission denied (os error 13)";
    check(
        "./plain",
        126,
        &format!("{denied}; make it executable with `chmod +x`"),
    );
    check("/", 126, &format!("{denied}; it is a directory"));
    sandbox.write("script", "#!/no/such/interpreter\n");
    sandbox.shell("chmod +x script").check_code(0);
    check(
        "./script",
        126,
        "the interpreter in its first line was not found",
    );
}

#[test]
fn the_command_is_looked_for_in_its_own_path() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["-e", "PATH=/nowhere", "--", "true"])
        .check_code(127);
    sandbox.write("mine", "#!/bin/sh\nexit 9\n");
    sandbox.shell("chmod +x mine").check_code(0);
    let path = format!("PATH={}", sandbox.path("").display());
    sandbox.run(&["-e", &path, "--", "mine"]).check_code(9);
}

#[test]
fn a_timeout_is_124_whatever_the_command_makes_of_it() {
    let sandbox = Sandbox::new();
    let check = |options: &[&str], script: &str, code: i32| {
        let arguments = [
            &["-T", "50ms", "-k", "200ms"],
            options,
            &["--", "sh", "-c", script],
        ];
        sandbox.run(&arguments.concat()).check_code(code);
    };
    let obeys = "trap 'exit 3' TERM; while :; do sleep 0.01; done";
    let stubborn = "trap '' TERM; while :; do sleep 0.01; done";
    let takes_int = "trap 'exit 4' INT; trap '' TERM; while :; do sleep 0.01; done";
    check(&[], "exec sleep 60", 124);
    check(&[], obeys, 124);
    check(&[], stubborn, 124);
    check(&["--preserve-status"], "exec sleep 60", 143);
    check(&["--preserve-status"], obeys, 3);
    check(&["--preserve-status"], stubborn, 137);
    check(&["--preserve-status", "--signal", "INT"], takes_int, 4);
}

#[test]
fn a_command_that_is_in_time_keeps_its_status() {
    let sandbox = Sandbox::new();
    sandbox
        .run(&["-T", "1h", "--", "sh", "-c", "exit 5"])
        .check_code(5);
}
