//! Jobs that stand in files.

use std::fs::{self, File};

use crate::support::{Sandbox, WITHAL};

/// What `withal check` says of a file that is wrong, without the `withal: ` before each flaw.
#[track_caller]
fn check_flaws(text: &str, expected: &str) {
    let sandbox = Sandbox::new();
    sandbox.write("job.toml", text);
    for words in [&["check", "job.toml"][..], &["run", "job.toml"]] {
        let ended = sandbox.start(sandbox.command(WITHAL, words)).finish();
        ended.check_code(125);
        let said = ended.stderr.replace("withal: ", "");
        assert_eq!(said, expected.trim_start_matches('\n'), "{text}");
        assert_eq!(ended.stdout, "");
        assert!(!sandbox.has("started") && !sandbox.has("a.lock"));
    }
}

#[test]
fn a_job_is_done_with_its_gates_its_variables_and_what_they_refer_to() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "job.toml",
        r#"
version = 1
name = "report"
command = ["sh", "-c", 'printf "%s\n" "$0" "$1" "$COPY" "$PRICE"', "${work.path}"]
[[with]]
id = "once"
kind = "lock"
path = "a.lock"
[[with]]
id = "work"
kind = "tempdir"
[[with]]
kind = "output"
path = "${env.STEM}.txt"
[env]
COPY = "${work.path}/copy of ${once.path}"
PRICE = "$$5"
"#,
    );
    let mut command = sandbox.run_command(&["job.toml", "--", "more"]);
    let ended = sandbox.start({
        let _ = command.env("STEM", "out");
        command
    });
    ended.finish().check_code(0);
    let written = sandbox.read("out.txt");
    let lines: Vec<&str> = written.lines().collect();
    let [work, more, copy, price] = lines.as_slice() else {
        panic!("{written}");
    };
    assert!(work.contains("/tmp/withal-"), "{work}");
    let lock = sandbox.path("a.lock");
    assert_eq!(*copy, format!("{work}/copy of {}", lock.display()));
    assert_eq!((*more, *price), ("more", "$5"));
}

#[test]
fn each_flaw_is_shown_where_it_is_with_what_to_write() {
    check_flaws(
        "version = 1\ncommand = [\"touch\", \"started\"]\ntimout = \"5s\"\n",
        "
job.toml:3:1: a job has no key `timout`; did you mean `timeout`?
 3 | timout = \"5s\"
   | ^^^^^^
",
    );
    check_flaws(
        r#"version = 2
command = ["touch", 5]
shell = "touch started"
grace = "5x"
timeout = 0
signal = "NAP"
orphans = "leave"
with = [
  { kind = "tempdri" },
  { kind = "lock", pth = "a.lock" },
  { kind = "lock" },
  { id = "a b", kind = "tempdir" },
  { kind = "tempdir", when = "never" },
  { path = "a.lock" },
  "lock",
]
[env]
PORT = 80
"#,
        r#"
job.toml:2:21: a number, not a text; write it in quotes
 2 | command = ["touch", 5]
   |                     ^
job.toml:4:9: not a duration; write `500ms`, `5s`, `10m`, `1h` or plain seconds
 4 | grace = "5x"
   |         ^^^^
job.toml:15:3: not a list of gates; write `with = [{ kind = "lock", path = "…" }]`
 15 |   "lock",
    |   ^^^^^^
job.toml:18:8: not a text; write it in quotes
 18 | PORT = ***
    |        ^^^
"#,
    );
    check_flaws(
        r#"version = 2
command = ["touch", "started"]
shell = "touch started"
with = [
  { kind = "tempdri" },
  { kind = "lock", pth = "a.lock" },
  { kind = "lock" },
  { id = "a b", kind = "tempdir" },
  { kind = "tempdir", when = "never" },
  { path = "a.lock" },
]
"#,
        r#"
job.toml:1:11: version 2: not known; write 1
 1 | version = 2
   |           ^
job.toml:3:9: both `command` and `shell`; write one of them
 3 | shell = "touch started"
   |         ^^^^^^^^^^^^^^^
job.toml:5:12: `tempdri`: no such kind of gate; did you mean `tempdir`?
 5 |   { kind = "tempdri" },
   |            ^^^^^^^^^
job.toml:6:20: a gate `lock` has no key `pth`; did you mean `path`?
 6 |   { kind = "lock", pth = "a.lock" },
   |                    ^^^
job.toml:7:3: no `path`; write `path = …`
 7 |   { kind = "lock" },
   |   ^^^^^^^^^^^^^^^^^
job.toml:8:10: `a b`: no id; write letters, digits, `-` and `_`
 8 |   { id = "a b", kind = "tempdir" },
   |          ^^^^^
job.toml:9:30: `never`: not known; write `always` or `env:NAME`
 9 |   { kind = "tempdir", when = "never" },
   |                              ^^^^^^^
job.toml:10:3: no `kind`; write `kind = "lock"`, or another kind
 10 |   { path = "a.lock" },
    |   ^^^^^^^^^^^^^^^^^^^
"#,
    );
    check_flaws(
        "version = 1",
        "
job.toml: no `command`; write `command = [\"make\", \"test\"]` or `shell = \"make | tee log\"`
",
    );
    check_flaws(
        "version = 1\ncommand = [",
        "
job.toml:2:12: unclosed array, expected `]`
 2 | command = [
   |            ^
",
    );
}

#[test]
fn references_that_lead_nowhere_are_shown_before_anything_is_acquired() {
    check_flaws(
        r#"version = 1
command = ["touch", "started", "${wrk.path}", "${work.pth}"]
cwd = "${env.NO_SUCH_FOLDER}"
with = [
  { kind = "lock", path = "a.lock" },
  { id = "a", kind = "lock", path = "${b.path}" },
  { id = "b", kind = "lock", path = "x${a.path}" },
  { id = "c", kind = "lock", path = "${work.path}/c" },
  { id = "c", kind = "lock", path = "${c.path}/c" },
  { id = "work", kind = "tempdir" },
  { id = "out", kind = "output", path = "o", when = "env:NO_SUCH_VARIABLE" },
  { kind = "lock", path = "${out.path}.lock" },
]
[env]
A = "${env.HOME}${env.NO_SUCH_VARIABLE}"
"#,
        r#"
job.toml:2:33: `${wrk.path}`: no gate before has the id `wrk`; did you mean `work`?
 2 | command = ["touch", "started", "${wrk.path}", "${work.pth}"]
   |                                 ^^^^^^^^^^^
job.toml:2:48: `${work.pth}`: the gate has no `pth`; did you mean `path`?
 2 | command = ["touch", "started", "${wrk.path}", "${work.pth}"]
   |                                                ^^^^^^^^^^^
job.toml:3:8: `${env.NO_SUCH_FOLDER}`: the variable is not set; set it
 3 | cwd = "${env.NO_SUCH_FOLDER}"
   |        ^^^^^^^^^^^^^^^^^^^^^
job.toml:6:38: `${b.path}`: `b` refers to this gate, too; one of them has to do without
 6 |   { id = "a", kind = "lock", path = "${b.path}" },
   |                                      ^^^^^^^^^
job.toml:8:38: `${work.path}`: `work` is acquired after this gate; move it before this gate
 8 |   { id = "c", kind = "lock", path = "${work.path}/c" },
   |                                      ^^^^^^^^^^^^
job.toml:9:3: another gate has the id `c`, too; give one another
 9 |   { id = "c", kind = "lock", path = "${c.path}/c" },
   |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
job.toml:12:28: `${out.path}`: `out` is left out, because `NO_SUCH_VARIABLE` is not set; set it, or leave this out, too
 12 |   { kind = "lock", path = "${out.path}.lock" },
    |                            ^^^^^^^^^^^
job.toml:15:17: `${env.NO_SUCH_VARIABLE}`: the variable is not set; set it
 15 | A = "${env.HOME}${env.NO_SUCH_VARIABLE}"
    |                 ^^^^^^^^^^^^^^^^^^^^^^^
"#,
    );
    check_flaws(
        r#"version = 1
command = ["${work.path}/tool"]
with = [
  { id = "work", kind = "tempdir" },
  { kind = "output", path = "a" },
  { kind = "output", path = "b" },
]
"#,
        r#"
job.toml:2:13: `${work.path}`: the program is named before gates are acquired; write `command = ["env", "…"]`
 2 | command = ["${work.path}/tool"]
   |             ^^^^^^^^^^^^
job.toml:6:3: takes stdout, as `output a` does before it; leave one of them out, or give a log the other of `streams`
 6 |   { kind = "output", path = "b" },
   |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
"#,
    );
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["no.toml"]);
    ended.check_code(125);
    assert_eq!(
        ended.stderr,
        "withal: no.toml: cannot be read: No such file or directory (os error 2)\n"
    );
}

#[test]
fn paths_of_a_file_are_relative_to_it_and_its_command_runs_beside_it() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("jobs/inner")).unwrap();
    let job = |cwd: &str| {
        format!(
            "version = 1\n{cwd}\nshell = 'pwd; echo \"$LOCK\"'\nreport = 'run.json'\n\
             with = [{{ id = 'l', kind = 'lock', path = 'l.lock' }}, {{ kind = 'output', path = 'out' }}]\n\
             [env]\nLOCK = '${{l.path}}'\n"
        )
    };
    for (cwd, directory) in [("", "jobs"), ("cwd = 'inner'", "jobs/inner")] {
        sandbox.write("jobs/job.toml", &job(cwd));
        sandbox.run(&["jobs/job.toml"]).check_code(0);
        let directory = sandbox.path(directory).canonicalize().unwrap();
        let lock = sandbox.path("jobs/l.lock");
        let expected = format!("{}\n{}\n", directory.display(), lock.display());
        assert_eq!(sandbox.read("jobs/out"), expected);
        assert!(sandbox.has("jobs/run.json"));
    }
    // What the command line names is relative to where it is typed.
    sandbox.write("jobs/job.toml", "version = 1\ncommand = ['pwd']\n");
    sandbox.run(&["-o", "here", "jobs/job.toml"]).check_code(0);
    assert!(sandbox.has("here"));
}

#[test]
fn a_directory_that_is_not_there_is_told_as_such() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "job.toml",
        "version = 1\ncommand = ['true']\ncwd = 'nowhere'\n",
    );
    let ended = sandbox.run(&["job.toml"]);
    ended.check_code(125);
    assert!(ended.stderr.contains("cannot start true in `"), "{ended:?}");
    assert!(ended.stderr.contains("/nowhere`"), "{ended:?}");
}

#[test]
fn options_win_over_variables_and_variables_over_the_file() {
    let check = |variable: Option<&str>, options: &[&str], code: i32| {
        let sandbox = Sandbox::new();
        let file = File::create(sandbox.path("busy.lock")).unwrap();
        file.lock().unwrap();
        let text = "version = 1\ncommand = ['true']\nbusy_code = 30\n\
                    with = [{ kind = 'lock', path = 'busy.lock', wait = 0 }]\n";
        sandbox.write("job.toml", text);
        let mut command = sandbox.run_command(&[options, &["job.toml"]].concat());
        if let Some(value) = variable {
            let _ = command.env("WITHAL_BUSY_CODE", value);
        }
        sandbox.start(command).finish().check_code(code);
    };
    check(None, &[], 30);
    check(Some("31"), &[], 31);
    check(Some("31"), &["--busy-code", "32"], 32);
    check(None, &["--busy-code", "32"], 32);
}

#[test]
fn variables_mirror_options() {
    let sandbox = Sandbox::new();
    let run = |name: &str, value: &str, arguments: &[&str]| {
        let mut command = sandbox.run_command(arguments);
        let _ = command.env(name, value);
        sandbox.start(command).finish()
    };
    let long = ["--", "sleep", "60"];
    run("WITHAL_TIMEOUT", "50ms", &long).check_code(124);
    let ended = run("WITHAL_TIMEOUT", "5x", &long);
    ended.check_code(125);
    assert!(ended.stderr.contains("not a duration"), "{ended:?}");
    let ended = run("WITHAL_VERBOSE", "1", &["-t", "--", "true"]);
    assert!(ended.stderr.contains("acquired tempdir"), "{ended:?}");
    let ended = run("WITHAL_VERBOSE", "1", &["-q", "-t", "--", "true"]);
    assert_eq!(ended.stderr, "");
    let ended = run("WITHAL_CLEAR_ENV", "true", &["--", "/usr/bin/env"]);
    assert!(!ended.stdout.contains("HOME="), "{ended:?}");
    let parent = ["--", "sh", "-c", "cat /proc/$PPID/comm"];
    assert_eq!(
        run("WITHAL_NO_KEEPER", "0", &parent).stdout,
        "withal-keeper\n"
    );
    assert_eq!(run("WITHAL_NO_KEEPER", "1", &parent).stdout, "withal\n");
    let journals = ["--", "sh", "-c", "ls \"$WITHAL_STATE_DIR\" | wc -l"];
    assert_eq!(run("WITHAL_NO_JOURNAL", "", &journals).stdout.trim(), "1");
    std::fs::remove_dir_all(sandbox.state()).unwrap();
    assert_eq!(run("WITHAL_NO_JOURNAL", "1", &journals).stdout.trim(), "0");
}

#[test]
fn a_lock_has_an_exit_status_of_its_own_and_may_be_shared() {
    let sandbox = Sandbox::new();
    let held = File::create(sandbox.path("busy.lock")).unwrap();
    held.lock_shared().unwrap();
    let job = |keys: &str| {
        format!(
            "version = 1\ncommand = ['touch', 'started']\n\
             with = [{{ kind = 'lock', path = 'busy.lock', wait = 0, {keys} }}]\n"
        )
    };
    sandbox.write("job.toml", &job("busy_code = 0"));
    sandbox.run(&["job.toml"]).check_code(0);
    assert!(!sandbox.has("started"));
    sandbox.write("job.toml", &job("shared = true"));
    sandbox.run(&["job.toml"]).check_code(0);
    assert!(sandbox.has("started"));
}

#[test]
fn a_gate_is_left_out_unless_its_variable_is_set() {
    let sandbox = Sandbox::new();
    let job = "version = 1\ncommand = ['true']\n\
               with = [{ kind = 'lock', path = 'a.lock', when = 'env:WITH_LOCK' }]\n";
    sandbox.write("job.toml", job);
    for (value, is_there) in [(None, false), (Some(""), false), (Some("1"), true)] {
        let mut command = sandbox.run_command(&["job.toml"]);
        if let Some(value) = value {
            let _ = command.env("WITH_LOCK", value);
        }
        sandbox.start(command).finish().check_code(0);
        assert_eq!(sandbox.has("a.lock"), is_there, "{value:?}");
    }
}

#[test]
fn a_cleared_environment_has_what_gates_set_and_nothing_else() {
    let sandbox = Sandbox::new();
    let job = "version = 1\ncommand = ['/usr/bin/env']\nclear_env = true\n\
               with = [{ kind = 'tempdir' }]\n[env]\nA = '1'\n";
    sandbox.write("job.toml", job);
    let ended = sandbox.run(&["job.toml"]);
    let names = ended.stdout.lines();
    let names = names.filter_map(|line| Some(line.split_once('=')?.0));
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "TMPDIR", "WITHAL_RUN", "WITHAL_RUNS"]);
}

#[test]
fn a_shell_script_gets_further_arguments_and_its_dollars_are_its_own() {
    let sandbox = Sandbox::new();
    let job = "version = 1\nshell = 'X=1; echo \"${X}|$1|$2|$#\"'\n";
    sandbox.write("job.toml", job);
    let ended = sandbox.run(&["job.toml", "--", "a b", "c"]);
    assert_eq!(ended.stdout, "1|a b|c|2\n");
}

#[test]
fn a_directory_is_kept_if_that_is_asked_for() {
    let check = |keep: &str, key: &str, script: &str, is_kept: bool| {
        let sandbox = Sandbox::new();
        let gate = format!("tempdir:{key}");
        let options = ["--keep", keep, "-w", &gate, "--", "sh", "-c", script];
        let ended = sandbox.start_run(&options).finish_unchecked();
        let kept = ended.stderr.lines().next().unwrap_or_default();
        let kept = kept.strip_prefix("withal: kept ");
        assert_eq!(kept.is_some(), is_kept, "{keep} {key} {script}: {ended:?}");
        if let Some(kept) = kept {
            fs::remove_dir(kept).unwrap();
        }
        sandbox.check_nothing_is_left();
    };
    check("never", "", "exit 3", false);
    check("on-failure", "", "exit 0", false);
    check("on-failure", "", "exit 3", true);
    check("always", "", "exit 0", true);
    check("never", "keep=always", "exit 0", true);
    check("always", "keep=never", "exit 3", false);
}

#[test]
fn what_a_command_that_failed_has_written_is_kept_beside_the_file() {
    let sandbox = Sandbox::new();
    sandbox.write("out", "old\n");
    let script = "echo partial; exit 3";
    sandbox
        .run(&["--keep-partial", "-o", "out", "--", "sh", "-c", script])
        .check_code(3);
    assert_eq!(sandbox.read("out"), "old\n");
    assert_eq!(sandbox.read("out.partial"), "partial\n");
    fs::remove_file(sandbox.path("out.partial")).unwrap();
    sandbox
        .run(&["--keep-partial", "-o", "out", "--", "echo", "whole"])
        .check_code(0);
    assert_eq!(sandbox.read("out"), "whole\n");
    assert!(!sandbox.has("out.partial"));
}

#[test]
fn values_of_variables_and_of_what_is_called_secret_are_not_shown() {
    let head = "version = 1\ncommand = ['touch', 'started']\n";
    for text in [
        "[env]\nDB_PASSWORD = \"hunter2xyz${oops\"\n",
        "[env]\nDB_PASSWORD = \"hunter2xyz\nA = '1'\n",
        "[env]\nSECRET = { a = \"hunter2xyz\" }\n",
        "[env]\nSECRET = hunter2xyz\n",
        "env = { TOKEN=\"hunter2xyz\", N = 5 }\n",
        "env = 'hunter2xyz'\n",
        "with = [{ kind=\"env\", set={ TOKEN=\"hunter2xyz\" }, secrt=[\"TOKEN\"] }]\n",
        "with = [{ kind=\"env\", set=\"hunter2xyz\" }]\n",
        "with = [{ kind=\"env\", value=\"hunter2xyz\", nme=\"A\" }]\n",
        "[[with]]\nkind = 'env'\nset.A = 'hunter2xyz\n",
        "password = 'hunter2xyz'\n",
    ] {
        let sandbox = Sandbox::new();
        sandbox.write("job.toml", &format!("{head}{text}"));
        let ended = sandbox.withal(&["check", "job.toml"]);
        ended.check_code(125);
        assert!(ended.stderr.contains(" | "), "{text}: {ended:?}");
        assert!(!ended.stderr.contains("hunter2"), "{text}: {ended:?}");
    }
    check_flaws(
        "version = 1\ncommand = ['touch', 'started']\n\
         with = [{ kind='env', set={ A='hunter2xyz' }, secrt=['A'] }]\n\
         [env]\nTOKEN = \"hunter2xyz${wrk.path\"\n",
        "
job.toml:3:47: a gate `env` has no key `secrt`; did you mean `secret`?
 3 | with = [{ kind='env', set={ A='***' }, secrt=['A'] }]
   |                                        ^^^^^
job.toml:5:9: `${` without its `}`; a dollar sign alone is written `$$`
 5 | TOKEN = \"***\"
   |         ^^^^^
",
    );
}

#[test]
fn what_several_keys_say_together_has_a_place_and_files_are_files() {
    check_flaws(
        "version = 1\ncommand = ['touch', 'started']\nmetrics = ''\n\
         with = [{ kind = 'env', name = 'A' }]\n",
        "
job.toml:3:11: ``: no file; write its path
 3 | metrics = ''
   |           ^^
job.toml:4:9: no `value`; write `value = …`
 4 | with = [{ kind = 'env', name = 'A' }]
   |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^
",
    );
    for (key, value, why) in [
        ("metrics", "fd:3", "only a report goes to a descriptor"),
        ("timeline", "fd:3", "only a report goes to a descriptor"),
        ("timeline", "", "no file"),
    ] {
        let sandbox = Sandbox::new();
        let job = format!("version = 1\ncommand = ['true']\n{key} = '{value}'\n");
        sandbox.write("job.toml", &job);
        let ended = sandbox.withal(&["check", "job.toml"]);
        ended.check_code(125);
        assert!(ended.stderr.contains(why), "{ended:?}");
        if !value.is_empty() {
            let ended = sandbox.run(&[&format!("--{key}={value}"), "--", "true"]);
            ended.check_code(125);
            assert!(ended.stderr.contains(why), "{ended:?}");
        }
    }
}

#[test]
fn an_output_has_the_mode_it_is_given() {
    use std::os::unix::fs::PermissionsExt as _;
    for (written, expected) in [
        ("'600'", 0o600),
        ("600", 0o600),
        ("0o600", 0o600),
        ("640", 0o640),
        ("2750", 0o2750),
    ] {
        let sandbox = Sandbox::new();
        sandbox.write(
            "job.toml",
            &format!(
                "version = 1\ncommand = ['true']\nwith = [{{ kind = 'output', path = 'of_file', \
                 sync = 'none', mode = {written} }}]\n"
            ),
        );
        sandbox.run(&["job.toml"]).check_code(0);
        let gate = format!("output:path=of_option,sync=none,mode={written}");
        sandbox.run(&["-w", &gate, "--", "true"]).check_code(0);
        for name in ["of_file", "of_option"] {
            let mode = fs::metadata(sandbox.path(name)).unwrap().permissions();
            assert_eq!(mode.mode() & 0o7777, expected, "{name}: {written}");
        }
    }
}

#[test]
fn what_is_no_mode_in_octal_is_refused() {
    let flaw = "not a mode; write it in octal, as 640, \"640\" or 0o640";
    for written in [
        "900",
        "0x180",
        "0b110000000",
        "-600",
        "77777",
        "6.0",
        "'rw'",
        "true",
    ] {
        let line = format!("with = [{{ kind = 'output', path = 'x', mode = {written} }}]");
        let text = format!("version = 1\ncommand = ['true']\n{line}\n");
        let at = line.find(written).unwrap();
        let (spaces, carets) = (" ".repeat(at), "^".repeat(written.len()));
        let expected = format!(
            "job.toml:3:{}: {flaw}\n 3 | {line}\n   | {spaces}{carets}\n",
            at + 1
        );
        check_flaws(&text, &expected);
    }
}

/// Leaves a process behind that ends once there is a file `end`.
const DAEMON: &str = "setsid sh -c 'touch ready; while ! [ -e end ]; do sleep 0.01; done; touch finished' & \
     while ! [ -e ready ]; do sleep 0.01; done";

#[test]
fn what_the_command_leaves_running_is_waited_for_if_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let started = sandbox.start_run(&["-t", "--orphans", "wait", "--", "sh", "-c", DAEMON]);
    started.wait_for("ready");
    sandbox.write("end", "");
    started.finish().check_code(0);
    assert!(sandbox.has("finished"));
}

#[test]
fn waiting_for_what_is_left_ends_with_the_time_and_with_a_signal() {
    let sandbox = Sandbox::new();
    let options = ["--orphans", "wait", "-T", "300ms"];
    let ended = sandbox.run(&[&options[..], &["--", "sh", "-c", DAEMON]].concat());
    ended.check_code(124);
    let sandbox = Sandbox::new();
    let script = format!("{DAEMON}; touch left");
    let started = sandbox.start_run(&["--orphans", "wait", "--", "sh", "-c", &script]);
    started.wait_for("left");
    started.send(nix::sys::signal::Signal::SIGTERM);
    let _ = started.finish();
    assert!(!sandbox.has("finished"));
}

#[test]
fn what_the_command_leaves_running_is_left_if_that_is_asked_for_and_nothing_is_undone_under_it() {
    let sandbox = Sandbox::new();
    let options = ["--orphans", "detach", "-l", "lock", "-e", "A=1"];
    let started = sandbox.start_run(&[&options[..], &["--", "sh", "-c", DAEMON]].concat());
    let ended = started.finish_unchecked();
    ended.check_code(0);
    assert!(ended.stderr.contains("withal: left running: "), "{ended:?}");
    sandbox.write("end", "");
    crate::support::wait_until("the daemon", || sandbox.has("finished"));
    crate::support::wait_until("its end", || sandbox.processes().is_empty());
    let ended = sandbox.run(&["--orphans", "detach", "-t", "--", "true"]);
    ended.check_code(125);
    assert_eq!(
        ended.stderr,
        "withal: --tempdir: is undone under what the command leaves running; write `--orphans \
         wait`, not `detach`\n"
    );
}

#[test]
fn a_failing_teardown_is_a_warning_if_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let script = "mv $TMPDIR $TMPDIR-moved; mkdir $TMPDIR";
    let options = ["-t", "--teardown-errors", "warn", "--", "sh", "-c", script];
    let ended = sandbox.start_run(&options).finish_unchecked();
    ended.check_code(0);
    assert!(ended.stderr.contains("was not removed"), "{ended:?}");
}

#[test]
fn runs_chained_as_text_equal_one_with_all_gates() {
    let sandbox = Sandbox::new();
    let script = "$W run -l lock -- $W run -t -o out -- sh -c 'echo $TMPDIR; exit 4'";
    sandbox.shell(script).check_code(4);
    let ended = sandbox.shell("$W run -l lock -- $W run -t -- sh -c 'echo $TMPDIR'");
    ended.check_code(0);
    assert!(ended.stdout.contains("/tmp/withal-"), "{ended:?}");
}
