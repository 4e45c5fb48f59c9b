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
