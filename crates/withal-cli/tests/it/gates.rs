//! What is acquired before the command and undone after it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;

use nix::sys::signal::Signal;

use crate::support::Sandbox;

/// Every way a command can end: options, script, and the exit status.
pub(crate) const ENDINGS: &[(&[&str], &str, i32)] = &[
    (&[], "exit 0", 0),
    (&[], "exit 3", 3),
    (&[], "kill -TERM $$", 143),
    (&[], "kill -KILL $$", 137),
    (&["-T", "50ms"], "sleep 60", 124),
    (
        &["-T", "50ms", "-k", "50ms"],
        "trap '' TERM; while :; do sleep 0.01; done",
        124,
    ),
];

/// What `--verbose` said of gates: no `withal: `, no paths of temporary directories.
fn trace(stderr: &str) -> Vec<&str> {
    let lines = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("withal: "));
    lines
        .filter(|line| line.starts_with("acquired") || line.starts_with("released"))
        .map(|line| line.split(" (").next().unwrap_or_default())
        .collect()
}

#[test]
fn gates_are_acquired_in_the_order_given_and_undone_in_reverse_on_every_path() {
    for (options, script, code) in ENDINGS {
        let sandbox = Sandbox::new();
        let gates = [
            "-v",
            "-l",
            "one",
            "-e",
            "A=1",
            "-t",
            "-l",
            "two",
            "-o",
            "out",
            "-e",
            "B=2",
            "-t=SECOND",
        ];
        let ended = sandbox.run(&[&gates, *options, &["--", "sh", "-c", script]].concat());
        ended.check_code(*code);
        let expected = [
            "lock one",
            "env A",
            "tempdir TMPDIR",
            "lock two",
            "output out",
            "env B",
            "tempdir SECOND",
        ];
        let acquired = expected.iter().map(|gate| format!("acquired {gate}"));
        let released = expected.iter().rev().map(|gate| format!("released {gate}"));
        let expected: Vec<String> = acquired.chain(released).collect();
        assert_eq!(trace(&ended.stderr), expected);
        for lock in ["one", "two"] {
            File::open(sandbox.path(lock)).unwrap().try_lock().unwrap();
        }
    }
}

#[test]
fn a_gate_that_fails_undoes_those_before_it_and_nothing_starts() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&[
        "-v",
        "-t",
        "-l",
        "lock",
        "-o",
        // No file can be made here, even by root, and that is seen only then.
        "/proc/no-such-folder",
        "-t=LATER",
        "--",
        "touch",
        "started",
    ]);
    ended.check_code(125);
    let expected = [
        "acquired tempdir TMPDIR",
        "acquired lock lock",
        "released lock lock",
        "released tempdir TMPDIR",
    ];
    assert_eq!(trace(&ended.stderr), expected);
    assert!(
        ended
            .stderr
            .contains("withal: --output: `/proc/no-such-folder` "),
        "{ended:?}"
    );
    assert!(!sandbox.has("started"));
}

#[test]
fn a_variable_is_set_anew_where_that_is_meant() {
    let sandbox = Sandbox::new();
    sandbox.write("settings", "TMPDIR=file\n");
    sandbox.write(
        "job.toml",
        "version = 1\nshell = 'echo $TMPDIR'\nwith = [{ kind = 'tempdir' }]",
    );
    let check = |arguments: &[&str], expected: &str| {
        let ended = sandbox.run(arguments);
        ended.check_code(0);
        assert_eq!(ended.stdout, format!("{expected}\n"));
    };
    let show = ["--", "sh", "-c", "echo ${TMPDIR##*/}"];
    let made_of_it = [
        "-w",
        "tempdir:id=work",
        "-w",
        "env:name=TMPDIR,value=${work.path}/mine",
    ];
    check(&[&made_of_it[..], &show].concat(), "mine");
    let file = ["--env-file", "settings", "-e", "TMPDIR=mine"];
    check(&[&file[..], &show].concat(), "mine");
    check(&["job.toml", "-e", "TMPDIR=mine"], "mine");
}

#[test]
fn what_one_gate_takes_no_other_can_have_and_nothing_is_acquired() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("folder")).unwrap();
    sandbox.write("mock.toml", "[[route]]\npath = '/'\n");
    let check = |gates: &[&str], expected: &str| {
        let ended = sandbox.run(&[gates, &["--", "touch", "started"]].concat());
        ended.check_code(125);
        assert_eq!(ended.stderr, format!("withal: {expected}\n"));
        assert!(!sandbox.has("started") && !sandbox.has("log") && !sandbox.has("lock"));
    };
    const STREAM: &str = "leave one of them out, or give a log the other of `streams`";
    const VARIABLE: &str = "give one of them another variable, or leave it out";
    const WAITS: &str = "it would wait for itself; leave one of them out";
    check(
        &["-w", "log:id=first,path=log", "--log", "other"],
        &format!("--log: takes stdout, as `first` does before it; {STREAM}"),
    );
    check(
        &[
            "-w",
            "log:path=log,streams=stderr",
            "-w",
            "log:path=other,streams=stderr",
        ],
        &format!("log: takes stderr, as `log log` does before it; {STREAM}"),
    );
    check(
        &[
            "-w",
            "log:path=log,streams=stderr",
            "-w",
            "log:path=./log,streams=stdout",
        ],
        "log: writes the same log, as `log log` does before it; name another directory in one of them",
    );
    check(
        &["-t", "-w", "tempdir:id=other"],
        &format!("other: sets `TMPDIR`, as `tempdir TMPDIR` does before it; {VARIABLE}"),
    );
    check(
        &["-t", "-e", "TMPDIR=mine"],
        &format!("--env: sets `TMPDIR`, as `tempdir TMPDIR` does before it; {VARIABLE}"),
    );
    check(
        &["-e", "A=1", "-w", "env:set={B='2',A='2'}"],
        &format!("env: sets `A`, as `env A` does before it; {VARIABLE}"),
    );
    check(
        &["--sqlite", "DB", "-w", "mock:file=mock.toml,env=DB"],
        &format!("mock: sets `DB`, as `sqlite DB` does before it; {VARIABLE}"),
    );
    check(
        &[
            "-w",
            "lock:path=lock",
            "-w",
            "lock:path=folder/../lock,shared=true",
        ],
        &format!("lock: locks the same file, as `lock lock` does before it; {WAITS}"),
    );
    check(
        &[
            "-w",
            "mock:file=mock.toml,port=18080",
            "-w",
            "service:command=['true'],port=18080",
        ],
        "service: listens on port 18080, as `mock mock.toml` does before it; give one of them \
         another, or \"free\"",
    );
    check(
        &[
            "-w",
            "pg-lock:key=a,url_from=postgres://h/d",
            "-w",
            "redis-lock:key=a,url_from=redis://h",
        ],
        &format!("redis-lock: sets `WITHAL_TOKEN`, as `pg-lock a` does before it; {VARIABLE}"),
    );
    const FILE: &str = "name another in one of them";
    check(
        &["-o", "same", "-w", "output:path=folder/../same,env=O"],
        &format!("output: writes the same file, as `output same` does before it; {FILE}"),
    );
    check(
        &["-o", "same", "--report", "same"],
        &format!("--report: writes the same file, as `output same` does before it; {FILE}"),
    );
    check(
        &["--report", "same", "--metrics", "./same"],
        &format!("--metrics: writes the same file, as `--report` does before it; {FILE}"),
    );
    check(
        &["--metrics", "same", "--timeline", "same"],
        &format!("--timeline: writes the same file, as `--metrics` does before it; {FILE}"),
    );
    sandbox.write(
        "job.toml",
        "version = 1\ncommand = ['touch', 'started']\nreport = 'same'\nmetrics = 'same'\n",
    );
    let ended = sandbox.withal(&["check", "job.toml"]);
    ended.check_code(125);
    let expected = "--metrics: writes the same file, as `--report` does";
    assert!(ended.stderr.contains(expected), "{ended:?}");
    assert!(!sandbox.has("same"));
    let shared = "lock:path=lock,shared=true";
    sandbox
        .run(&["-w", shared, "-w", shared, "--", "true"])
        .check_code(0);
    let when = "output:path=out,when='env:NO_SUCH_VARIABLE'";
    sandbox
        .run(&["-w", when, "-o", "other", "--", "true"])
        .check_code(0);
}

#[test]
fn variables_are_set_as_they_are_written() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&[
        "-e",
        "A=",
        "--env",
        "B=x=y z",
        "--",
        "sh",
        "-c",
        "echo \"${A-unset}|$B\"",
    ]);
    assert_eq!(ended.stdout, "|x=y z\n");
}

#[test]
fn a_temporary_directory_is_private_and_goes_with_all_that_is_in_it() {
    let sandbox = Sandbox::new();
    let script = "
        stat -c %a \"$TMPDIR\"; cd \"$TMPDIR\"
        mkdir -p deep/er; touch deep/er/file; chmod 0 deep/er; ln -s / root";
    let ended = sandbox.run(&["-t", "--", "sh", "-c", script]);
    ended.check_code(0);
    assert_eq!(ended.stdout, "700\n");
}

#[test]
fn more_in_a_directory_than_its_limit_stops_the_command() {
    let check = |limit: &str, script: &str, code: i32, error: &str| {
        let sandbox = Sandbox::new();
        let gate = format!("tempdir:size_limit={limit}");
        let arguments = [
            "-w", &gate, "--report", "run.json", "--", "sh", "-c", script,
        ];
        let ended = sandbox.run(&arguments);
        ended.check_code(code);
        let report: serde_json::Value = serde_json::from_str(&sandbox.read("run.json")).unwrap();
        let told = report["error"].as_str().unwrap_or_default();
        assert!(told.ends_with(error), "{report}");
        assert_eq!(told.is_empty(), error.is_empty(), "{report}");
    };
    let fills = "head -c 3000000 /dev/zero > $TMPDIR/a; touch full; exec sleep 1000";
    check("1MiB", fills, 123, " in it, its limit is 1.00 MiB");
    check("1048576", fills, 123, " in it, its limit is 1.00 MiB");
    let passes = "head -c 3000000 /dev/zero > $TMPDIR/a; exit 3";
    check("1GiB", passes, 3, "");
}

#[test]
fn an_output_is_replaced_if_the_command_succeeds_and_keeps_its_mode() {
    let sandbox = Sandbox::new();
    sandbox.write("out", "old\n");
    fs::set_permissions(sandbox.path("out"), fs::Permissions::from_mode(0o640)).unwrap();
    let script = "echo new; cat out; echo loud >&2";
    let ended = sandbox.run(&["-o", "out", "--", "sh", "-c", script]);
    ended.check_code(0);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("", "loud\n")
    );
    assert_eq!(sandbox.read("out"), "new\nold\n");
    let mode = fs::metadata(sandbox.path("out"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn an_output_may_be_a_file_that_a_variable_names() {
    let sandbox = Sandbox::new();
    sandbox.write("a", "old");
    let write = |script: &str, code| {
        let gates = ["-w", "output:path=a,env=A", "-w", "output:path=b,env=B"];
        let run = [&gates[..], &["-o", "c", "--", "sh", "-c", script]].concat();
        sandbox.run(&run).check_code(code);
        ["a", "b", "c"].map(|name| sandbox.read(name))
    };
    let half = r#"echo half > "$A"; exit 3"#;
    assert_eq!(write(half, 3), ["old", "", ""]);
    let all = r#"echo 1 > "$A"; setsid -w sh -c 'echo 2 > "$B"; echo 3 >> "$B"'; cat "$A" "$B""#;
    assert_eq!(write(all, 0), ["1\n", "2\n3\n", "1\n2\n3\n"]);
    assert_eq!(write(half, 3), ["1\n", "2\n3\n", "1\n2\n3\n"]);
    let twice = ["-e", "A=1", "-w", "output:path=a,env=A", "--", "true"];
    sandbox.run(&twice).check_code(125);
    sandbox.check_nothing_is_left();
}

#[test]
fn an_output_stays_as_it_was_on_every_other_path() {
    for (options, script, code) in ENDINGS.iter().skip(1) {
        for old in [None, Some("old\n")] {
            let sandbox = Sandbox::new();
            if let Some(old) = old {
                sandbox.write("out", old);
            }
            let script = format!("echo partial; {script}");
            let ended =
                sandbox.run(&[*options, &["-o", "out", "--", "sh", "-c", &script]].concat());
            ended.check_code(*code);
            assert_eq!(fs::read_to_string(sandbox.path("out")).ok().as_deref(), old);
        }
    }
    let sandbox = Sandbox::new();
    sandbox
        .run(&["-o", "out", "--", "no-such-command"])
        .check_code(127);
    assert!(!sandbox.has("out"));
}

#[test]
fn an_output_of_a_command_that_was_told_to_stop_and_died_stays_as_it_was() {
    let sandbox = Sandbox::new();
    sandbox.write("out", "old\n");
    let script = "echo partial; touch ready; exec sleep 60";
    let started = sandbox.start_run(&["-o", "out", "--", "sh", "-c", script]);
    started.wait_for("ready");
    started.send(Signal::SIGTERM);
    started.finish().check_code(143);
    assert_eq!(sandbox.read("out"), "old\n");
}

#[test]
fn a_timeout_keeps_the_old_output_whatever_status_is_preserved() {
    let sandbox = Sandbox::new();
    let script = "trap 'exit 0' TERM; echo partial; while :; do sleep 0.01; done";
    let options = ["-T", "50ms", "--preserve-status", "-o", "out"];
    sandbox
        .run(&[&options, &["--", "sh", "-c", script][..]].concat())
        .check_code(0);
    assert!(!sandbox.has("out"));
}

#[test]
fn an_output_that_cannot_be_replaced_is_refused_before_the_command_starts() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("folder")).unwrap();
    sandbox.shell("mkfifo fifo").check_code(0);
    let check = |target: &str, part: &str| {
        let ended = sandbox.run(&["-o", target, "--", "touch", "started"]);
        ended.check_code(125);
        let opening = format!("withal: --output: `{target}`");
        assert!(ended.stderr.starts_with(&opening), "{ended:?}");
        assert!(ended.stderr.contains(part), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(!sandbox.has("started"));
    };
    check("folder", "a directory; name a file in it");
    check("fifo", "not a regular file");
    check("/dev/null", "not a regular file");
    check("nowhere/out", "No such file or directory");
    // No file can be made here, even by root.
    check("/proc/out", "cannot make a temporary file");
}

#[test]
fn an_output_through_a_link_replaces_what_it_points_at() {
    let sandbox = Sandbox::new();
    sandbox.write("target", "old\n");
    std::os::unix::fs::symlink("target", sandbox.path("link")).unwrap();
    sandbox
        .run(&["-o", "link", "--", "echo", "new"])
        .check_code(0);
    assert_eq!(sandbox.read("target"), "new\n");
    assert!(
        fs::symlink_metadata(sandbox.path("link"))
            .unwrap()
            .is_symlink()
    );
}

#[test]
fn a_busy_lock_is_75_and_its_holder_is_named() {
    let sandbox = Sandbox::new();
    let script = "touch ready; while ! [ -e end ]; do sleep 0.01; done";
    let holder = sandbox.start_run(&["-l", "lock", "--", "sh", "-c", script]);
    holder.wait_for("ready");
    let check = |options: &[&str], code: i32, waited: &str| {
        let arguments = [options, &["-l", "lock", "--", "touch", "started"]].concat();
        let ended = sandbox.start_run(&arguments).finish_unchecked();
        ended.check_code(code);
        let keeper = holder.keeper();
        let name = format!("`lock` is locked by process {keeper} (withal-keeper)");
        assert_eq!(ended.stderr, format!("withal: --lock: {name}{waited}\n"));
        assert!(!sandbox.has("started"));
    };
    check(&["--lock-wait", "0"], 75, "");
    check(&["--lock-wait", "50ms"], 75, ", still after 50ms");
    check(&["--lock-wait", "0", "--busy-code", "0"], 0, "");
    check(&["--lock-wait", "0", "--busy-code", "99"], 99, "");
    sandbox.write("end", "");
    holder.finish().check_code(0);
}

#[test]
fn a_lock_is_waited_for() {
    for options in [&[][..], &["--lock-wait", "1h"]] {
        let sandbox = Sandbox::new();
        let lock = File::create(sandbox.path("lock")).unwrap();
        lock.lock().unwrap();
        let arguments = [options, &["-v", "-l", "lock", "--", "touch", "started"]].concat();
        let started = sandbox.start_run(&arguments);
        started.wait_for_message("acquiring lock");
        assert!(!sandbox.has("started"));
        lock.unlock().unwrap();
        started.finish().check_code(0);
        assert!(sandbox.has("started"));
    }
}

#[test]
fn the_command_gets_no_descriptor_of_a_gate_but_its_stdout() {
    let sandbox = Sandbox::new();
    let show = "for fd in /proc/self/fd/*; do readlink $fd; done >&2";
    let direct = sandbox.shell(show);
    let ended = sandbox.shell(&format!("exec $W run -l lock -t -- sh -c '{show}'"));
    let count = |text: &str| text.lines().count();
    assert_eq!(
        count(&ended.stderr),
        count(&direct.stderr),
        "{ended:?} {direct:?}"
    );
    assert!(!ended.stderr.contains("/lock"), "{ended:?}");
}

#[test]
fn a_failing_teardown_is_123_if_the_command_succeeded_and_all_is_told() {
    let spoil = "rm -f out; mkdir out; for d in $A $B; do mv $d $d-moved; mkdir $d; done";
    let check = |end: &str, code: i32, parts: &[&str]| {
        let sandbox = Sandbox::new();
        let script = format!("{spoil}; {end}");
        let arguments = [
            "-t=A", "-o", "out", "-t=B", "-l", "lock", "--", "sh", "-c", &script,
        ];
        let ended = sandbox.start_run(&arguments).finish_unchecked();
        ended.check_code(code);
        let options: Vec<_> = ended
            .stderr
            .lines()
            .filter_map(|line| line.split(": ").nth(1))
            .filter(|part| part.starts_with("--"))
            .collect();
        assert_eq!(options, parts, "{ended:?}");
        let last = ended.stderr.lines().next_back().unwrap();
        assert!(last.starts_with("withal: not all is undone: `withal recover "));
        let lock = File::open(sandbox.path("lock")).unwrap();
        lock.try_lock().unwrap();
    };
    check("exit 0", 123, &["--tempdir", "--output", "--tempdir"]);
    // Nothing is to be committed then, so that the output is no failure.
    check("exit 3", 3, &["--tempdir", "--tempdir"]);
}

#[test]
fn an_output_does_not_depend_on_the_gates_inside_it() {
    let sandbox = Sandbox::new();
    let script = "echo whole; mv $TMPDIR $TMPDIR-moved; mkdir $TMPDIR";
    let ended = sandbox.start_run(&["-o", "out", "-t", "--", "sh", "-c", script]);
    ended.finish_unchecked().check_code(123);
    assert_eq!(sandbox.read("out"), "whole\n");
}
