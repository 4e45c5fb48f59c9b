//! Variables, and those whose values do not belong into logs.

use crate::support::{Ended, Sandbox};

const SHOW: &str = "echo \"$A|$B|$C\"";

#[test]
fn a_file_a_table_and_a_name_are_one_gate_and_what_is_named_wins() {
    let sandbox = Sandbox::new();
    sandbox.write("settings", "A=1\nB=1\nC=1\n");
    let check = |gate: &str, expected: &str| {
        let ended = sandbox.run(&["-w", "tempdir:id=work", "-w", gate, "--", "sh", "-c", SHOW]);
        ended.check_code(0);
        assert_eq!(ended.stdout, format!("{expected}\n"), "{gate}");
    };
    check("env:file=settings", "1|1|1");
    check("env:set={A='x',B='y z'}", "x|y z|");
    check("env:name=A,value=x,set={B='y'}", "x|y|");
    check("env:file=settings,name=A,value=x,set={B='y'}", "x|y|1");
    check("env:set={A='$${work.path}'}", "${work.path}||");
    let ended = sandbox.run(&[
        "-w",
        "tempdir:id=work",
        "-w",
        "env:set={A='${work.path}/a'}",
        "--",
        "sh",
        "-c",
        "test \"$A\" = \"$TMPDIR/a\"",
    ]);
    ended.check_code(0);
}

#[test]
fn a_job_file_has_the_same_keys_and_its_paths_are_relative_to_it() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("jobs")).unwrap();
    sandbox.write("jobs/settings", "A=1\nTOKEN=s3cret\n");
    sandbox.write(
        "jobs/job.toml",
        r#"
version = 1
command = ["sh", "-c", "echo \"$A|$B|$TOKEN\""]
[[with]]
kind = "env"
file = "settings"
set = { B = "${env.HOME}" }
secret = ["TOKEN"]
"#,
    );
    let mut command = sandbox.run_command(&["jobs/job.toml"]);
    let _ = command.env("HOME", "/home/ada");
    let ended = sandbox.start(command).finish();
    ended.check_code(0);
    assert_eq!(ended.stdout, "1|/home/ada|s3cret\n");
    let ended = sandbox.run(&["-n", "jobs/job.toml"]);
    assert!(ended.stdout.contains("env jobs/settings, B\n"), "{ended:?}");
    assert!(!ended.stdout.contains("ada"), "{ended:?}");
}

/// Runs `script` with `gates`, `$INHERITED` being a secret; gives what is in the log, too.
fn logged(sandbox: &Sandbox, gates: &[&str], script: &str) -> (Ended, String) {
    let arguments = [&["--log", "log"], gates, &["--", "sh", "-c", script]].concat();
    let mut command = sandbox.run_command(&arguments);
    let _ = command.env("INHERITED", "h3irloom");
    let ended = sandbox.start(command).finish();
    ended.check_code(0);
    let log = sandbox.withal(&["log", "cat", "log"]).stdout;
    std::fs::remove_dir_all(sandbox.path("log")).unwrap();
    (ended, log)
}

#[test]
fn secrets_are_masked_in_the_log_and_printed_as_they_are() {
    let sandbox = Sandbox::new();
    sandbox.write("settings", "TOKEN=s3cret\nKEY=\"-----\nabcdef\n}\"\n");
    let script =
        "echo \"a $TOKEN b\"; echo \"$KEY\" >&2; printf %s \"$TOKEN\"; printf %s \"$INHERITED\"";
    let gate = "env:file=settings,secret=[TOKEN,KEY,INHERITED]";
    let gate = gate.replace("[TOKEN,KEY,INHERITED]", r#"["TOKEN","KEY","INHERITED"]"#);
    let (ended, log) = logged(&sandbox, &["-v", "-w", &gate], script);
    assert_eq!(ended.stdout, "a s3cret b\n-----\nabcdef\n}\ns3creth3irloom");
    assert_eq!(log.trim_end(), "a *** b\n***\n***\n}\n******");
    for secret in ["s3cret", "abcdef", "h3irloom"] {
        assert!(!ended.stderr.contains(secret), "{ended:?}");
    }
    let (_, log) = logged(&sandbox, &["--env-file", "settings"], "echo $TOKEN");
    assert_eq!(log, "s3cret\n");
}

#[test]
fn a_secret_is_masked_wherever_a_long_line_is_cut() {
    let sandbox = Sandbox::new();
    // More than a line's part, and not a multiple of the secret's length.
    let script = "i=0; s=$TOKEN$TOKEN$TOKEN$TOKEN; s=$s$s$s$s$s$s$s$s
        while [ $i -lt 8000 ]; do printf x%s $s; i=$((i + 1)); done";
    let gate = r#"env:set={TOKEN="s3cret"},secret=["TOKEN"]"#;
    let (ended, log) = logged(&sandbox, &["-w", gate], script);
    assert_eq!(ended.stdout.len(), 8000 * (1 + 32 * 6));
    let expected = format!("x{}", "***".repeat(32)).repeat(8000);
    assert!(log.trim_end() == expected, "{} bytes", log.len());
}

#[test]
fn secrets_are_masked_in_what_a_service_prints() {
    let sandbox = Sandbox::new();
    let service = r#"service:command=["sh","-c","echo h3irloom; exec sleep 60"],output=printed,ready={log="h3irloom"}"#;
    let gates = ["-w", r#"env:secret=["INHERITED"]"#, "-w", service];
    let _logged = logged(&sandbox, &gates, "true");
    assert_eq!(sandbox.read("printed"), "***\n");
}

#[test]
fn wrong_keys_are_refused_before_anything_is_acquired() {
    let sandbox = Sandbox::new();
    let check = |gate: &str, expected: &str| {
        let ended = sandbox.run(&["-t", "-w", gate, "--", "touch", "started"]);
        ended.check_code(125);
        assert_eq!(ended.stderr, format!("withal: --with env: {expected}\n"));
        assert!(!sandbox.has("started"));
    };
    check(
        "env",
        "no variables; write `name` and `value`, `set`, `file`, or `secret`",
    );
    check("env:name=A", "no `value`; write `value = …`");
    check("env:value=A", "no `name`; write `name = …`");
    check(
        "env:name=A,value=x,set={A='y'}",
        "`A` is in `name` and in `set`; leave one out",
    );
    check(
        "env:set={'A=B'='y'}",
        "`A=B`: not a variable's name; write one as `NAME`, without `=`",
    );
}
