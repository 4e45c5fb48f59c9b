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
    sandbox.write("job.toml", "version = 1\ncommand = ['make']\n");
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
run      make 'it'\\''s'
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
