//! A helper process beside the command.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use crate::gates::ENDINGS;
use crate::support::{Sandbox, WITHAL};

/// `--with service:…` of a shell script.
fn service(script: &str, keys: &str) -> String {
    format!(r#"service:id=helper,command=["sh","-c","{script}"]{keys}"#)
}

#[test]
fn it_runs_beside_the_command_and_is_stopped_after_it_on_every_path() {
    for (options, script, code) in ENDINGS {
        let sandbox = Sandbox::new();
        let helper = "trap 'echo stopped >> trace; exit' TERM; touch up
            while :; do sleep 0.01; done"
            .replace('\n', "; ");
        let gate = service(&helper, r#",ready={exec=["test","-e","up"]}"#);
        let arguments = [&["-w", &gate], *options, &["--", "sh", "-c", script]].concat();
        sandbox.run(&arguments).check_code(*code);
        assert_eq!(sandbox.read("trace"), "stopped\n");
    }
}

#[test]
fn it_is_ready_when_somebody_listens_or_answers() {
    for ready in [
        "tcp='127.0.0.1:${server.port}'",
        "http='http://127.0.0.1:${server.port}/health'",
    ] {
        let sandbox = Sandbox::new();
        sandbox.write(
            "mock.toml",
            "[[route]]\npath = '/health'\ntimes = 1\nstatus = 500\n[[route]]\npath = '/health'",
        );
        let command = format!(
            r#"["{WITHAL}","run","-w","mock:file=mock.toml,port=${{server.port}}","--","sleep","60"]"#
        );
        let gate = format!("service:id=server,port=free,command={command},ready={{{ready}}}");
        let env = "env:name=SERVER,value='${server.pid} ${server.port}'";
        let script = "echo $SERVER > server";
        sandbox
            .run(&["-w", &gate, "-w", env, "--", "sh", "-c", script])
            .check_code(0);
        let server = sandbox.read("server");
        let numbers: Vec<u32> = server
            .split(' ')
            .map(|n| n.trim().parse().unwrap())
            .collect();
        assert_eq!(numbers.len(), 2, "{server}");
    }
}

#[test]
fn it_is_ready_when_a_line_says_so_and_what_it_prints_goes_to_stderr() {
    let sandbox = Sandbox::new();
    let script = "echo starting; echo ready on 7 >&2; touch up; exec sleep 60";
    let gate = service(script, ",ready={log='^ready on [0-9]+$'}");
    let ended = sandbox.run(&["-w", &gate, "--", "true"]);
    ended.check_code(0);
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr, "helper | starting\nhelper | ready on 7\n");
}

#[test]
fn what_it_prints_may_go_to_a_file() {
    let sandbox = Sandbox::new();
    sandbox.write("helper.log", "before\n");
    let script =
        "exec 2>/dev/null; trap 'printf bye; exit' TERM; echo up; while :; do sleep 0.01; done";
    let gate = service(script, ",output='helper.log',ready={log='up'}");
    let ended = sandbox.run(&["-w", &gate, "--", "true"]);
    ended.check_code(0);
    assert_eq!(ended.stderr, "");
    assert_eq!(sandbox.read("helper.log"), "before\nup\nbye\n");
}

#[test]
fn one_that_is_not_ready_in_time_is_stopped() {
    let sandbox = Sandbox::new();
    let check = |ready: &str, expected: &str| {
        let keys = format!(",ready={{{ready},within='50ms'}}");
        let gate = service("exec sleep 60", &keys);
        let ended = sandbox.run(&["-w", &gate, "--", "touch", "started"]);
        ended.check_code(125);
        let expected = format!("withal: helper: `sh` is not ready within 50ms: {expected}");
        assert!(ended.stderr.starts_with(&expected), "{ended:?}");
        assert!(!sandbox.has("started"));
    };
    check("log='up'", "no line of its output matches `up`");
    check("exec=['false']", "`false` exited with 1");
    // Bound, so that nobody else is there, and closed.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let tcp = format!("tcp='127.0.0.1:{port}'");
    check(
        &tcp,
        &format!("no connection to 127.0.0.1:{port}: Connection refused"),
    );
    let http = format!("http='http://127.0.0.1:{port}/'");
    check(&http, &format!("no connection to 127.0.0.1:{port}"));
}

#[test]
fn one_that_ends_before_it_is_ready_is_told() {
    let sandbox = Sandbox::new();
    let gate = service("echo no config >&2; exit 3", ",ready={log='up'}");
    let ended = sandbox.run(&["-w", &gate, "--", "touch", "started"]);
    ended.check_code(125);
    assert_eq!(
        ended.stderr,
        "helper | no config\nwithal: helper: `sh` exited with 3 before it was ready\n"
    );
    assert!(!sandbox.has("started"));
}

#[test]
fn somebody_else_is_not_taken_for_it() {
    let sandbox = Sandbox::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let gate = service(
        "touch up; exec sleep 60",
        &format!(",ready={{tcp='{address}'}}"),
    );
    let ended = sandbox.run(&["-w", &gate, "--", "true"]);
    ended.check_code(125);
    let expected = format!("withal: helper: somebody listens on {address} already");
    assert!(ended.stderr.starts_with(&expected), "{ended:?}");
    assert!(!sandbox.has("up"));
}

#[test]
fn the_command_is_stopped_when_it_dies() {
    let check = |death: &str, how: &str| {
        let sandbox = Sandbox::new();
        let gate = service(
            &format!("while ! [ -e go ]; do sleep 0.01; done; {death}"),
            "",
        );
        let script = "trap 'touch asked; exit 0' TERM; touch go; while :; do sleep 0.01; done";
        let ended = sandbox.run(&["-w", &gate, "--", "sh", "-c", script]);
        ended.check_code(123);
        let expected = format!("withal: service helper {how}: stopping the command");
        assert_eq!(ended.stderr.lines().next(), Some(expected.as_str()));
        assert!(sandbox.has("asked"));
    };
    check("exit 0", "exited with 0");
    check("exit 3", "exited with 3");
    check("kill -KILL $$$$", "died of SIGKILL");
}

#[test]
fn its_death_may_be_of_no_interest() {
    let sandbox = Sandbox::new();
    let gate = service("touch gone; exit 3", ",on_exit=ignore");
    let script = "while ! [ -e gone ]; do sleep 0.01; done; exit 5";
    let started = sandbox.start_run(&["-w", &gate, "--", "sh", "-c", script]);
    started.finish().check_code(5);
}

#[test]
fn how_it_is_stopped_can_be_chosen_and_all_it_started_goes() {
    let sandbox = Sandbox::new();
    let script =
        "trap 'touch interrupted; exit' INT; sleep 60 & touch up; while :; do sleep 0.01; done";
    let gate = service(script, r#",stop=INT,ready={exec=["test","-e","up"]}"#);
    sandbox.run(&["-w", &gate, "--", "true"]).check_code(0);
    assert!(sandbox.has("interrupted"));
    let script = "trap '' TERM; touch deaf; while :; do sleep 0.01; done";
    let gate = service(script, r#",grace='20ms',ready={exec=["test","-e","deaf"]}"#);
    sandbox.run(&["-w", &gate, "--", "true"]).check_code(0);
}

#[test]
fn a_signal_while_it_gets_ready_stops_it() {
    let sandbox = Sandbox::new();
    let script = "trap 'touch stopped; exit' TERM; touch up; while :; do sleep 0.01; done";
    let gate = service(script, ",ready={log='never'}");
    let started = sandbox.start_run(&["-w", &gate, "--", "touch", "started"]);
    started.wait_for("up");
    started.send(Signal::SIGTERM);
    started.finish().check_code(143);
    assert!(sandbox.has("stopped") && !sandbox.has("started"));
}

#[test]
fn wrong_keys_are_refused_before_anything_is_acquired() {
    let sandbox = Sandbox::new();
    let check = |keys: &str, part: &str| {
        let gate = format!("service:{keys}");
        let ended = sandbox.run(&["-v", "-t", "-w", &gate, "--", "touch", "started"]);
        ended.check_code(125);
        let expected = format!("withal: --with service: {part}");
        assert!(ended.stderr.starts_with(&expected), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    };
    check("ready={}", "write one of `tcp`, `http`, `log` and `exec`");
    check("port=free", "no `command`; write `command = …`");
    check("command=[]", "no program");
    check("command=['a'],stop=X", "not a signal");
    check("command=['a'],port=70000", "not a port");
    check(
        "command=['a'],on_exit=x",
        "`x`: not known; write `stop` or `ignore`",
    );
    check(
        "command=['a'],ready={log='('}",
        "`log` is not a regular expression",
    );
    check(
        "command=['a'],ready={tpc='x'}",
        "there is no key `tpc` here; there are tcp, http, log, exec, within",
    );
    check(
        "command=['a'],commend=1",
        "a gate `service` has no key `commend`; did you mean `command`?",
    );
    let ended = sandbox.run(&["-w", "service:command=['a'],ready={http='x'}", "--", "true"]);
    ended.check_code(125);
    let expected = "withal: service: ready: not a URL that can be asked";
    assert!(ended.stderr.starts_with(expected), "{ended:?}");
}
