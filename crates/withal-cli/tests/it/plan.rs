//! What a job would do, told without doing anything.

use crate::support::{Sandbox, WITHAL};

const JOB: &str = r#"
version = 1
name = "nightly"
command = ["sh", "report.sh", "${work.path}", "${env.SECRET}", "two words"]
timeout = "30m"
with = [
  { id = "once", kind = "lock", path = "report.lock", wait = "0s", busy_code = 0 },
  { id = "work", kind = "tempdir", timeout = "10s", keep = "on-failure" },
  { id = "db", kind = "sqlite", env = "DB", when = "env:NO_SUCH_VARIABLE" },
  { id = "out", kind = "output", path = "${work.path}/report.txt" },
]
[env]
PASSWORD = "${env.SECRET}"
"#;

const PLAN: &str = "\
nightly (job.toml)

acquire   1  once  lock report.lock
          2  work  tempdir TMPDIR (acquired within 10s)
          3  db    sqlite DB (left out: NO_SUCH_VARIABLE is not set)
          4  out   output ‹work.path›/report.txt
          5        env PASSWORD
run      sh report.sh ‹work.path› ‹env.SECRET› 'two words'
         for at most 30m, then it gets SIGTERM, and 5s later KILL
         what it leaves running gets SIGTERM, and 5s later KILL
undo     in reverse order, within 1m, or 4s when asked to stop
exit     the command's own, or:
         75   a lock is busy, unless its gate says otherwise
         123  it succeeded, but a gate could not be undone, or was lost
         124  it ran too long
         125  a gate could not be acquired, or withal failed
         126  it cannot be executed; 127: it was not found
";

#[test]
fn a_plan_has_all_that_would_happen_and_no_secrets_and_acquires_nothing() {
    let sandbox = Sandbox::new();
    sandbox.write("job.toml", JOB);
    for words in [
        &["check", "job.toml"][..],
        &["run", "-n", "job.toml"],
        &["run", "--dry-run", "job.toml"],
    ] {
        let mut command = sandbox.command(WITHAL, words);
        let _ = command.env("SECRET", "hunter2");
        let ended = sandbox.start(command).finish();
        ended.check_code(0);
        assert_eq!(ended.stdout, PLAN);
        assert_eq!(ended.stderr, "");
        assert!(!sandbox.has("report.lock"));
    }
}

#[test]
fn options_are_part_of_the_plan() {
    let sandbox = Sandbox::new();
    sandbox.write("job.toml", "version = 1\ncommand = ['sh']\n");
    let options = [
        "check",
        "-t=SCRATCH",
        "-k",
        "1s",
        "-s",
        "INT",
        "--clear-env",
        "--orphans",
        "wait",
        "--teardown-timeout",
        "9s",
        "--teardown-errors",
        "warn",
        "--busy-code",
        "7",
        "job.toml",
        "--",
        "it's",
    ];
    let ended = sandbox.start(sandbox.command(WITHAL, &options)).finish();
    let expected = "\
job (job.toml)

acquire   1  tempdir SCRATCH
run      sh 'it'\\''s'
         with no variables but those above
         for as long as it takes
         what it leaves running is waited for
undo     in reverse order, within 9s
exit     the command's own, or:
         7    a lock is busy, unless its gate says otherwise
         125  a gate could not be acquired, or withal failed
         126  it cannot be executed; 127: it was not found
";
    assert_eq!(ended.stdout, expected);
}

#[test]
fn commands_have_plans_too() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["-n", "-l", "a", "--", "touch", "started"]);
    ended.check_code(0);
    assert!(
        ended.stdout.starts_with("touch\n\nacquire   1  lock a\n"),
        "{ended:?}"
    );
    assert!(!sandbox.has("started") && !sandbox.has("a"));
    let ended = sandbox.start(sandbox.command(WITHAL, &["check", "--", "true"]));
    let ended = ended.finish();
    ended.check_code(125);
    assert_eq!(
        ended.stderr,
        "withal: no job file; write `withal check JOB.toml`\n"
    );
}

#[test]
fn what_is_wrong_is_found_beforehand_however_a_gate_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.write("bad", "A 1\n");
    sandbox.write("bad.toml", "[[route]]\npath = 1\n");
    std::fs::create_dir(sandbox.path("folder")).unwrap();
    sandbox.write("folder/file", "");
    let check = |option: Option<&[&str]>, gate: &str, expected: &str| {
        let (kind, keys) = gate.split_once(':').unwrap();
        let job = format!(
            "version = 1\ncommand = ['touch', 'started']\nwith = [\n  {{ kind = 'tempdir', env = 'T' }},\n  \
             {{ kind = '{kind}', {keys} }},\n]\n"
        );
        sandbox.write("job.toml", &job);
        let with = ["run", "-v", "-t", "-w", gate, "--", "touch", "started"];
        let option = option
            .map(|option| [&["run", "-v", "-t"], option, &["--", "touch", "started"]].concat());
        let all = [Some(with.to_vec()), option, Some(vec!["check", "job.toml"])];
        for arguments in all.into_iter().flatten() {
            let mut command = sandbox.command(WITHAL, &arguments);
            let _ = command.env_remove("DATABASE_URL").env_remove("REDIS_URL");
            let ended = sandbox.start(command).finish();
            ended.check_code(125);
            assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
            assert!(!ended.stderr.contains("acquir"), "{arguments:?}: {ended:?}");
            assert!(!sandbox.has("started"));
        }
    };
    check(
        Some(&["--env-file", "bad"]),
        "env-file:path='bad'",
        "bad:1:3: not of the form NAME=VALUE",
    );
    check(
        None,
        "env:file='none'",
        "none` cannot be read: No such file",
    );
    check(
        None,
        "env:secret=['NO_SUCH_VARIABLE']",
        "secret: `NO_SUCH_VARIABLE` is not set",
    );
    check(
        Some(&["--mock", "API=bad.toml"]),
        "mock:file='bad.toml'",
        "bad.toml:2:8: ",
    );
    check(
        Some(&["--sqlite", "DB=folder"]),
        "sqlite:seed='folder'",
        "folder` is not a file",
    );
    check(
        Some(&["--log", "folder"]),
        "log:path='folder'",
        "folder`: not a log, and not empty",
    );
    check(
        Some(&["--pg", "TEST_URL"]),
        "postgres:extensions=['a']",
        "no URL in the variable `DATABASE_URL`",
    );
    check(
        Some(&["--pg-lock", "a"]),
        "pg-lock:key='a'",
        "no URL in the variable `DATABASE_URL`",
    );
    check(
        Some(&["--redis-lock", "a"]),
        "redis-lock:key='a',url_from='env:REDIS_URL'",
        "no URL in the variable `REDIS_URL`",
    );
}

/// A job with these lines, its gates among them, and what `withal check` says of it.
#[track_caller]
fn check_job(sandbox: &Sandbox, lines: &str, expected: &str) {
    sandbox.write("job.toml", &format!("version = 1\n{lines}\n"));
    let ended = sandbox.withal(&["check", "job.toml"]);
    let code = if expected.is_empty() { 0 } else { 125 };
    ended.check_code(code);
    let here = format!("{}/", sandbox.path("").display());
    let said = ended
        .stderr
        .replace("withal: ", "")
        .replace(&here.replace("//", "/"), "");
    assert_eq!(said, expected.trim_start_matches('\n'), "{lines}");
}

#[test]
fn a_command_that_is_not_there_is_told_in_its_place_and_a_run_keeps_its_statuses() {
    let sandbox = Sandbox::new();
    sandbox.write("plain", "");
    check_job(
        &sandbox,
        "command = [\"no-such-program\", \"a\"]",
        "
job.toml:2:12: cannot start `no-such-program`: No such file or directory in the `PATH`; install it, or write its path
 2 | command = [\"no-such-program\", \"a\"]
   |            ^^^^^^^^^^^^^^^^^
",
    );
    sandbox.run(&["job.toml"]).check_code(127);
    check_job(
        &sandbox,
        "command = [\"./plain\"]",
        "
job.toml:2:12: cannot start `./plain`: Permission denied; make it executable with `chmod +x`
 2 | command = [\"./plain\"]
   |            ^^^^^^^^^
",
    );
    sandbox.run(&["job.toml"]).check_code(126);
    check_job(
        &sandbox,
        "command = [\"./none\"]",
        "
job.toml:2:12: cannot start `./none`: No such file or directory; write its path
 2 | command = [\"./none\"]
   |            ^^^^^^^^
",
    );
    let ended = sandbox.run(&["-n", "--", "no-such-program"]);
    ended.check_code(125);
    let expected = "withal: cannot start `no-such-program`: No such file or directory in the \
                    `PATH`; install it, or write its path\n";
    assert_eq!(ended.stderr, expected);
    sandbox.run(&["--", "no-such-program"]).check_code(127);
}

#[test]
fn the_command_is_looked_for_where_it_will_be_as_far_as_that_is_known() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.path("inner/bin")).unwrap();
    sandbox.write("inner/bin/tool", "#!/bin/sh\n");
    sandbox.shell("chmod +x inner/bin/tool").check_code(0);
    sandbox.write("path.env", "PATH=/nowhere\n");
    let bin = sandbox.path("inner/bin");
    let bin = bin.display();
    let found = |lines: &str| check_job(&sandbox, lines, "");
    found(&format!("command = ['tool']\nenv = {{ PATH = '{bin}' }}"));
    found("command = ['tool']\ncwd = 'inner'\nenv = { PATH = 'bin' }");
    found("command = ['bin/tool']\ncwd = 'inner'");
    found("command = ['sh']\nclear_env = true");
    // What is known only then is not judged.
    let work = "with = [{ id = 'work', kind = 'tempdir' }]";
    found(&format!(
        "command = ['tool']\n{work}\nenv = {{ PATH = '${{work.path}}' }}"
    ));
    found(&format!(
        "command = ['./tool']\n{work}\ncwd = '${{work.path}}'"
    ));
    found("command = ['tool']\nwith = [{ kind = 'tempdir', env = 'PATH' }]");
    found("command = ['./made']\nwith = [{ kind = 'hook', acquire = ['touch', 'made'] }]");
    let missing = |lines: &str| {
        sandbox.write("job.toml", &format!("version = 1\n{lines}\n"));
        let ended = sandbox.withal(&["check", "job.toml"]);
        ended.check_code(125);
        assert!(
            ended.stderr.contains("cannot start `"),
            "{lines}: {ended:?}"
        );
    };
    missing("command = ['tool']");
    missing("command = ['./made']\nwith = [{ kind = 'hook', release = ['true'] }]");
    missing("command = ['tool']\nenv = { PATH = 'bin' }");
    missing("command = ['sh']\nenv = { PATH = '/nowhere' }");
    missing("command = ['sh']\nwith = [{ kind = 'env-file', path = 'path.env' }]");
    missing("command = ['tool']\nclear_env = true");
}

#[test]
fn a_directory_of_the_command_that_is_not_there_is_told_before_anything_is_acquired() {
    let sandbox = Sandbox::new();
    let lines = "command = ['touch', 'started']\nwith = [{ kind = 'lock', path = 'l' }]";
    sandbox.write("file", "");
    for (cwd, remedy) in [
        (
            "no",
            "make it first: No such file or directory (os error 2)",
        ),
        ("file", "name another: Not a directory (os error 20)"),
    ] {
        let carets = "^".repeat(cwd.len() + 2);
        let expected = format!(
            "job.toml:4:7: cannot start touch in `{cwd}`; {remedy}\n 4 | cwd = '{cwd}'\n   |       {carets}\n"
        );
        check_job(&sandbox, &format!("{lines}\ncwd = '{cwd}'"), &expected);
        let ended = sandbox.run(&["-v", "job.toml"]);
        ended.check_code(125);
        assert!(
            ended.stderr.contains(remedy) && !sandbox.has("l"),
            "{ended:?}"
        );
    }
    // A log makes its directory, and a hook may make any.
    for gate in [
        "{ kind = 'log', path = 'logs' }",
        "{ kind = 'hook', acquire = ['mkdir', '-p', 'logs'] }",
    ] {
        let lines = format!("command = ['true']\ncwd = 'logs'\nwith = [{gate}]");
        check_job(&sandbox, &lines, "");
        sandbox.run(&["job.toml"]).check_code(0);
        std::fs::remove_dir_all(sandbox.path("logs")).unwrap();
    }
}

#[test]
fn directories_and_programs_of_gates_are_looked_for_before_anything_is_acquired() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "");
    let check = |option: Option<&[&str]>, gate: &str, expected: &str| {
        let (kind, keys) = gate.split_once(':').unwrap();
        let line = format!("with = [{{ kind = '{kind}', {keys} }}]");
        sandbox.write(
            "job.toml",
            &format!("version = 1\ncommand = ['true']\n{line}\n"),
        );
        let with = ["run", "-t=T", "-w", gate, "--", "touch", "started"];
        let option = option.map(|option| [&["run"], option, &["--", "touch", "started"]].concat());
        let file = ["run", "job.toml"];
        let all = [Some(with.to_vec()), option, Some(file.to_vec())];
        for arguments in all.into_iter().flatten() {
            for also in [&[][..], &["-n"], &["-v"]] {
                let ended = sandbox.withal(&[&arguments[..1], also, &arguments[1..]].concat());
                ended.check_code(125);
                assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:?}");
                assert!(
                    !ended.stderr.contains("withal: acquir"),
                    "{arguments:?}: {ended:?}"
                );
            }
        }
        let place = "withal: job.toml:3:9: ";
        let ended = sandbox.withal(&["check", "job.toml"]);
        assert!(ended.stderr.starts_with(place), "{ended:?}");
        assert!(ended.stderr.contains("\n   |         ^^^"), "{ended:?}");
    };
    let none = "make it first: No such file or directory";
    let other = "name another: Not a directory";
    check(Some(&["-o", "no/out"]), "output:path='no/out'", none);
    check(Some(&["-o", "file/out"]), "output:path='file/out'", other);
    check(
        Some(&["-o", "."]),
        "output:path='.'",
        "a directory; name a file in it",
    );
    check(Some(&["--log", "no/log"]), "log:path='no/log'", none);
    check(
        Some(&["-l", "no/lock"]),
        "lock:path='no/lock'",
        "its directory does not exist; make it first",
    );
    check(
        None,
        "lock:path='file/lock'",
        "its directory is none; name another",
    );
    check(None, "tempdir:parent='no'", none);
    check(None, "tempdir:parent='file'", other);
    check(None, "sqlite:seed='no/seed'", "the seed `");
    check(
        None,
        "mock:file='no/routes'",
        "cannot be read: No such file",
    );
    check(
        None,
        "env-file:path='no/env'",
        "cannot be read: No such file",
    );
    let program = "cannot start `no-such`: No such file or directory in the `PATH`; install it";
    check(None, "service:command=['no-such']", program);
    check(
        None,
        "service:command=['sleep', '9'], ready={ exec=['no-such'] }",
        program,
    );
    check(
        None,
        "service:command=['sleep', '9'], output='no/log'",
        none,
    );
    check(None, "hook:acquire=['no-such']", program);
    check(
        None,
        "hook:acquire=['./file']",
        "cannot start `./file`: Permission denied; make it executable with `chmod +x`",
    );
}

#[test]
fn a_program_that_releases_is_looked_for_but_a_run_begins_without_it() {
    let sandbox = Sandbox::new();
    let lines = |gate: &str| format!("command = ['true']\nwith = [{gate}]");
    check_job(
        &sandbox,
        &lines("{ kind = 'hook', release = ['no-such'] }"),
        "
job.toml:3:9: cannot start `no-such`: No such file or directory in the `PATH`; install it, or write its path
 3 | with = [{ kind = 'hook', release = ['no-such'] }]
   |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
",
    );
    sandbox
        .start_run(&["job.toml"])
        .finish_unchecked()
        .check_code(123);
    let begins = "{ id = 'h', kind = 'hook', acquire = ['true'], release = ";
    let fine = |release: &str| check_job(&sandbox, &lines(&format!("{begins}{release} }}")), "");
    // What `acquire` prints or makes is known only then.
    fine("['./made']");
    fine("['${h.stdout}']");
}

#[test]
fn what_a_log_makes_is_there_for_gates_after_it() {
    let sandbox = Sandbox::new();
    let run = ["--log", "logs", "-l", "logs/lock", "--", "true"];
    sandbox.run(&[&["-n"], &run[..]].concat()).check_code(0);
    sandbox.run(&run).check_code(0);
    std::fs::remove_dir_all(sandbox.path("logs")).unwrap();
    let run = ["-n", "-l", "logs/lock", "--log", "logs", "--", "true"];
    sandbox.run(&run).check_code(125);
}

#[test]
fn what_a_program_may_make_is_looked_for_when_its_turn_has_come() {
    let sandbox = Sandbox::new();
    let hook = r#"hook:acquire=["sh","-c","echo A=1 > made"],release=["rm","made"]"#;
    let gates = [
        "-w",
        hook,
        "--env-file",
        "made",
        "--",
        "sh",
        "-c",
        "echo $A",
    ];
    sandbox.run(&[&["-n"], &gates[..]].concat()).check_code(0);
    let ended = sandbox.run(&gates);
    ended.check_code(0);
    assert_eq!(ended.stdout, "1\n");
    let gates = [
        "-w",
        "tempdir:id=work",
        "-w",
        "env-file:path=${work.path}/none",
        "--",
        "true",
    ];
    sandbox.run(&[&["-n"], &gates[..]].concat()).check_code(0);
    let ended = sandbox.run(&gates);
    ended.check_code(125);
    assert!(ended.stderr.contains("none` cannot be read"), "{ended:?}");
}
