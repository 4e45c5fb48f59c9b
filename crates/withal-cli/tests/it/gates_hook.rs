//! A program that acquires, and one that gives back.

use nix::sys::signal::Signal;

use crate::gates::ENDINGS;
use crate::kill_matrix::kill_both;
use crate::support::{Sandbox, WITHAL};

/// `--with hook:…`, both shell scripts.
fn hook(id: &str, acquire: &str, release: &str) -> String {
    format!(r#"hook:id={id},acquire=["sh","-c","{acquire}"],release=["sh","-c","{release}"]"#)
}

#[test]
fn hooks_acquire_in_order_and_release_in_reverse_on_every_path() {
    for (options, script, code) in ENDINGS {
        let sandbox = Sandbox::new();
        let one = hook("one", "echo +1 >> trace", "echo -1 >> trace");
        let two = hook("two", "echo +2 >> trace", "echo -2 >> trace");
        let gates = ["-w", &one, "-w", &two];
        let ended = sandbox.run(&[&gates, *options, &["--", "sh", "-c", script]].concat());
        ended.check_code(*code);
        assert_eq!(sandbox.read("trace"), "+1\n+2\n-2\n-1\n");
    }
}

#[test]
fn what_acquire_prints_can_be_referred_to_by_others_and_by_its_own_release() {
    let sandbox = Sandbox::new();
    let gate = hook(
        "box",
        "echo loud >&2; printf 'a b\\n\\n'",
        "echo \\\"<${box.stdout}>\\\"",
    );
    let env = "env:name=BOX,value=\"[${box.stdout}]\"";
    let ended = sandbox.run(&["-w", &gate, "-w", env, "--", "sh", "-c", "echo \"$BOX\""]);
    ended.check_code(0);
    assert_eq!(ended.stdout, "[a b]\n");
    // The command's stdout is its own.
    assert_eq!(ended.stderr, "loud\n<a b>\n");
}

#[test]
fn one_of_both_is_enough() {
    let sandbox = Sandbox::new();
    let gates = [
        "-w",
        r#"hook:acquire=["touch", "one"]"#,
        "-w",
        r#"hook:release=["touch", "two"]"#,
    ];
    sandbox
        .run(&[&gates[..], &["--", "test", "-e", "one"]].concat())
        .check_code(0);
    assert!(sandbox.has("two"));
}

#[test]
fn an_acquire_that_fails_has_acquired_nothing() {
    let sandbox = Sandbox::new();
    let before = hook("before", "true", "echo before >> trace");
    let failing = hook(
        "failing",
        "sleep 60 & echo oops >&2; exit 3",
        "echo failing >> trace",
    );
    let ended = sandbox.run(&["-w", &before, "-w", &failing, "--", "touch", "started"]);
    ended.check_code(125);
    assert_eq!(ended.stderr, "oops\nwithal: failing: `sh` exited with 3\n");
    assert_eq!(sandbox.read("trace"), "before\n");
    assert!(!sandbox.has("started"));
}

#[test]
fn an_acquire_that_is_stopped_may_have_acquired_and_is_released() {
    // One ends when it is asked to, the other is killed.
    for trap in ["", "trap '' TERM; "] {
        let sandbox = Sandbox::new();
        let acquire = format!("{trap}touch half; while :; do sleep 0.01; done");
        let gate = hook("slow", &acquire, "touch released");
        let started = sandbox.start_run(&["-w", &gate, "--", "touch", "started"]);
        started.wait_for("half");
        started.send(Signal::SIGTERM);
        started.finish().check_code(143);
        assert!(sandbox.has("released"));
        assert!(!sandbox.has("started"));
    }
}

#[test]
fn a_release_that_fails_is_123_and_is_told() {
    let gate = hook("bad", "true", "exit 4");
    for (script, code) in [("exit 0", 123), ("exit 5", 5)] {
        let sandbox = Sandbox::new();
        let started = sandbox.start_run(&["-w", &gate, "--", "sh", "-c", script]);
        let ended = started.finish_unchecked();
        ended.check_code(code);
        let told = "withal: bad: `sh` exited with 4\nwithal: not all is undone: ";
        assert!(ended.stderr.starts_with(told), "{ended:?}");
    }
}

#[test]
fn a_program_that_is_not_there_is_named() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["-w", "hook:acquire=['no-such-program']", "--", "true"]);
    ended.check_code(125);
    let expected = "withal: hook: cannot start `no-such-program`: No such file or directory";
    assert!(ended.stderr.starts_with(expected), "{ended:?}");
}

#[test]
fn what_acquire_has_started_lives_until_release_ends_it() {
    let sandbox = Sandbox::new();
    // In a session of its own, and orphaned; it holds the pipe open as well.
    let acquire = "setsid sleep 60 & echo $! > pid";
    let release = "kill $(cat pid); while kill -0 $(cat pid); do sleep 0.01; done; touch ended";
    let gate = hook("daemon", acquire, release);
    let alive = ["--", "sh", "-c", "kill -0 $(cat pid)"];
    let ended = sandbox.run(&[&["-w", &gate], &alive[..]].concat());
    ended.check_code(0);
    assert!(sandbox.has("ended"));
}

#[test]
fn what_release_leaves_running_ends_with_the_run() {
    let sandbox = Sandbox::new();
    let gate = hook("daemon", "setsid sleep 60 & true", "setsid sleep 60 & true");
    sandbox.run(&["-w", &gate, "--", "true"]).check_code(0);
}

#[test]
fn an_acquire_that_prints_without_end_is_given_back() {
    let sandbox = Sandbox::new();
    let gate = hook("loud", "yes | head -c 100000", "touch released");
    let ended = sandbox.run(&["-w", &gate, "--", "touch", "started"]);
    ended.check_code(125);
    let expected = "withal: loud: `sh` printed more than 65536 bytes; redirect its stdout\n";
    assert_eq!(ended.stderr, expected);
    assert!(sandbox.has("released"));
    assert!(!sandbox.has("started"));
}

#[test]
fn wrong_keys_are_refused_before_anything_is_acquired() {
    let sandbox = Sandbox::new();
    let check = |gate: &str, part: &str| {
        let first = hook("first", "touch acquired", "true");
        let ended = sandbox.run(&["-w", &first, "-w", gate, "--", "touch", "started"]);
        ended.check_code(125);
        let expected = format!("withal: --with hook: {part}");
        assert!(ended.stderr.starts_with(&expected), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(!sandbox.has("acquired") && !sandbox.has("started"));
    };
    check("hook", "neither `acquire` nor `release`");
    check("hook:acquire=[]", "no program; write its name");
    check(
        "hook:acquire=true",
        "`acquire`: a truth value, not a list; write it in brackets",
    );
    check(
        "hook:acquired=['a']",
        "a gate `hook` has no key `acquired`; did you mean `acquire`?",
    );
    check(
        "hook:acquire=['a', 1]",
        "`acquire`: a number, not a text; write it in quotes",
    );
    check("hook:release=['${x']", "`${` without its `}`");
}

#[test]
fn a_reference_to_nothing_is_found_before_the_hook_runs() {
    let sandbox = Sandbox::new();
    let gate = hook("it", "touch acquired", "echo ${it.port} ${it.stdout}");
    let ended = sandbox.run(&["-w", &gate, "--", "true"]);
    ended.check_code(125);
    let expected = "withal: it: `${it.port}`: the gate has no `port`; there is `stdout`\n";
    assert_eq!(ended.stderr, expected);
    assert!(!sandbox.has("acquired"));
}

#[test]
fn the_journal_names_the_variables_of_a_release_which_reads_them_when_it_runs() {
    let sandbox = Sandbox::new();
    let gate = r#"hook:id=key,release=["sh","-c","echo $1 > released","sh","<${env.KEY}>"]"#;
    let script = "cat ../state/* > journal; touch ready; exec sleep 1000";
    let arguments = ["-w", gate, "--", "sh", "-c", script];
    let with_key = |arguments: &[&str]| {
        let mut command = sandbox.command(WITHAL, arguments);
        let _ = command.env("KEY", "s3cret");
        sandbox.start(command)
    };
    let started = with_key(&[&["run"], &arguments[..]].concat());
    started.wait_for("ready");
    assert!(sandbox.read("journal").contains("KEY"));
    assert!(!sandbox.read("journal").contains("s3cret"));
    kill_both(started);

    let recovered = sandbox.withal(&["recover"]);
    recovered.check_code(1);
    let expected = "hook sh: `${env.KEY}`: the variable is not set; set it";
    assert!(recovered.stderr.contains(expected), "{recovered:?}");
    assert!(!sandbox.has("released"));
    with_key(&["recover"]).finish().check_code(0);
    assert_eq!(sandbox.read("released"), "<s3cret>\n");

    let ended = sandbox.run(&arguments);
    ended.check_code(125);
    assert!(ended.stderr.contains("`${env.KEY}`"), "{ended:?}");
}

#[test]
fn a_release_that_would_put_a_password_into_the_journal_is_refused() {
    let sandbox = Sandbox::new();
    let acquire = r#"acquire=["touch","acquired"]"#;
    let gate = format!(r#"hook:id=db,{acquire},release=["drop","--url=redis://:s3cret@cache"]"#);
    let ended = sandbox.run(&["-w", &gate, "--", "true"]);
    ended.check_code(125);
    let expected = "withal: db: `release` has a URL with a password, which the journal would \
                    keep; write `${env.NAME}` for it\n";
    assert_eq!(ended.stderr, expected);
    assert!(!sandbox.has("acquired"));
}
