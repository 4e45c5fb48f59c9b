//! What becomes of gates with processes, threads and files of their own when withal is killed.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kill_matrix::kill_both;
use crate::support::{Sandbox, Started, wait_until};

/// The child of the process that was started, which holds the gates.
fn keeper(started: &Started<'_>) -> Pid {
    let front = started.pid();
    let children = fs::read_to_string(format!("/proc/{front}/task/{front}/children")).unwrap();
    let keeper = children.split_whitespace().next().unwrap();
    Pid::from_raw(keeper.parse().unwrap())
}

/// A run with a gate of each kind that leaves something, its command running.
fn start(sandbox: &Sandbox) -> Started<'_> {
    sandbox.write("mock.toml", "[[route]]\npath = '/'");
    let helper = "touch up; while :; do sleep 0.01; done";
    let gates = [
        "-w",
        r#"hook:acquire=["sh","-c","echo + >> trace"],release=["sh","-c","echo - >> trace"]"#,
        "--sqlite",
        "DB",
        "--mock",
        "API=mock.toml",
        "-w",
        &format!(r#"service:command=["sh","-c","{helper}"],ready={{exec=["test","-e","up"]}}"#),
        "--log",
        "log",
    ];
    let script = "trap 'echo caught; echo more >&2; touch asked; exit' TERM
        echo $DB > db; echo before; touch ready; while :; do sleep 0.01; done";
    let started = sandbox.start_run(&[&gates[..], &["--", "sh", "-c", script]].concat());
    started.wait_for("ready");
    // The log has taken it before anybody is killed.
    wait_until("the log", || {
        let files = fs::read_dir(sandbox.path("log")).unwrap();
        let mut texts = files.map(|file| fs::read_to_string(file.unwrap().path()));
        texts.any(|text| text.is_ok_and(|text| text == "before\n"))
    });
    started
}

fn check_undone(sandbox: &Sandbox) {
    sandbox.check_nothing_is_left();
    assert_eq!(sandbox.read("trace"), "+\n-\n");
    let database = sandbox.read("db");
    assert!(!fs::exists(database.trim()).unwrap(), "{database}");
    let verified = sandbox.feed(&["log", "cat", "log"], b"");
    let logged = String::from_utf8(verified.stdout).unwrap();
    assert!(logged.starts_with("before\n"), "{logged}");
}

#[test]
fn the_command_is_asked_to_stop_and_all_is_undone_when_the_keeper_is_killed() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox);
    kill(keeper(&started), Signal::SIGKILL).unwrap();
    started.finish_unchecked().check_code(125);
    check_undone(&sandbox);
    // It could print: somebody still has the end of its pipe that is read.
    assert!(sandbox.has("asked"));
}

#[test]
fn all_is_undone_when_the_front_is_killed() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox);
    started.send(Signal::SIGKILL);
    let _ended = started.finish_unchecked();
    wait_until("the end of all processes", || {
        sandbox.processes().is_empty()
    });
    check_undone(&sandbox);
    assert!(sandbox.has("asked"));
}

#[test]
fn all_is_undone_by_recover_when_both_are_killed() {
    let sandbox = Sandbox::new();
    kill_both(start(&sandbox));
    assert_eq!(sandbox.read("trace"), "+\n");
    let recovering = sandbox.start(sandbox.command(crate::support::WITHAL, &["recover"]));
    recovering.finish_unchecked().check_code(0);
    check_undone(&sandbox);
}

#[test]
fn what_an_acquire_has_begun_when_its_time_is_over_is_undone_at_once_and_in_order() {
    let sandbox = Sandbox::new();
    let outer = hook("outer", "echo + outer >> trace", "");
    let inner = hook(
        "inner",
        "echo + inner >> trace; trap 'echo stopped >> trace; exit' TERM; sleep 1000 & wait",
        "timeout='200ms',",
    );
    let report = ["--report", "run.json"];
    let gates = ["-t", "-w", &outer, "-w", &inner, "-t=LATER"];
    let ended = sandbox.run(&[&report[..], &gates, &["--", "touch", "started"]].concat());
    ended.check_code(125);
    assert_eq!(ended.stderr, "withal: inner: not acquired within 200ms\n");
    assert!(!sandbox.has("started"));
    let trace = "+ outer\n+ inner\nstopped\n- inner\n- outer\n";
    assert_eq!(sandbox.read("trace"), trace);
    let report: serde_json::Value = serde_json::from_str(&sandbox.read("run.json")).unwrap();
    let gate = &report["gates"][2];
    assert_eq!(gate["outcome"], "acquire_failed");
    assert_eq!(gate["error"], "not acquired within 200ms");
}

/// A hook that traces what it does.
fn hook(id: &str, acquire: &str, keys: &str) -> String {
    format!(
        r#"hook:id={id},{keys}acquire=["sh","-c","{acquire}"],release=["sh","-c","echo - {id} >> trace"]"#
    )
}

#[test]
fn what_a_service_has_begun_when_its_time_is_over_is_stopped_at_once() {
    let sandbox = Sandbox::new();
    let script = "trap 'echo stopped >> trace; exit' TERM; touch up; sleep 1000 & wait";
    let gate = format!(
        r#"service:timeout='300ms',command=["sh","-c","{script}"],ready={{exec=["test","-e","never"]}}"#
    );
    let ended = sandbox.run(&["-t", "-w", &gate, "--", "touch", "started"]);
    ended.check_code(125);
    assert_eq!(ended.stderr, "withal: service: not acquired within 300ms\n");
    assert!(!sandbox.has("started"));
    if sandbox.has("up") {
        assert_eq!(sandbox.read("trace"), "stopped\n");
    }
}
