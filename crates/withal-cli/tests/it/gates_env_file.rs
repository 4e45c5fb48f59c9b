//! Variables from a file.

use crate::support::Sandbox;

#[test]
fn variables_of_a_file_reach_the_command_and_later_gates_win() {
    let sandbox = Sandbox::new();
    let file = "# settings\nA=1\nexport B=\"x  y\"\nC='two\nlines'\nD=\"<${A}>\"\n";
    sandbox.write("settings", file);
    let show = ["--", "sh", "-c", "echo \"$A|$B|$C|$D\""];
    let ended = sandbox.run(&[&["--env-file", "settings"], &show[..]].concat());
    ended.check_code(0);
    assert_eq!(ended.stdout, "1|x  y|two\nlines|<1>\n");
    let gates = ["-w", "env-file:path=settings", "-e", "A=2"];
    let ended = sandbox.run(&[&gates, &show[..]].concat());
    assert_eq!(ended.stdout, "2|x  y|two\nlines|<1>\n");
    let gates = ["-e", "A=2", "--env-file", "settings"];
    let ended = sandbox.run(&[&gates, &show[..]].concat());
    assert_eq!(ended.stdout, "1|x  y|two\nlines|<1>\n");
}

#[test]
fn values_are_never_shown() {
    let sandbox = Sandbox::new();
    sandbox.write("settings", "TOKEN=s3cret\n");
    let ended = sandbox.run(&["-v", "--env-file", "settings", "--", "true"]);
    assert!(
        ended.stderr.contains("env-file settings (TOKEN)"),
        "{ended:?}"
    );
    assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
    sandbox.write("settings", "TOKEN=s3cret more\n");
    let ended = sandbox.run(&["-v", "--env-file", "settings", "--", "true"]);
    ended.check_code(125);
    assert!(!ended.stderr.contains("s3cret"), "{ended:?}");
}

#[test]
fn what_is_wrong_with_a_file_is_said_before_anything_is_acquired() {
    let sandbox = Sandbox::new();
    sandbox.write("settings", "A=1\nB 2\n");
    let check = |file: &str, expected: &str| {
        let ended = sandbox.run(&["-v", "-t", "--env-file", file, "--", "touch", "started"]);
        ended.check_code(125);
        assert_eq!(ended.stderr, format!("withal: --env-file: {expected}\n"));
        assert!(!sandbox.has("started"));
    };
    check("settings", "settings:2:3: not of the form NAME=VALUE");
    check(
        "none",
        "`none` cannot be read: No such file or directory (os error 2)",
    );
    check(".", "`.` cannot be read: Is a directory (os error 21)");
    let ended = sandbox.run(&["-w", "env-file:file=settings", "--", "true"]);
    ended.check_code(125);
    let expected = "withal: --with env-file: a gate `env-file` has no key `file`; there are path, id, timeout, \
                    teardown_timeout, when\n";
    assert_eq!(ended.stderr, expected);
}
