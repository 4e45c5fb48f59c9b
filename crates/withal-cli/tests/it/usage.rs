//! The command line and what is said about it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use crate::support::{Sandbox, WITHAL};

#[test]
fn wrong_usage_is_125_and_one_line_that_says_what_to_write() {
    let sandbox = Sandbox::new();
    let check = |arguments: &[&str], message: &str| {
        let ended = sandbox.run(arguments);
        ended.check_code(125);
        assert_eq!(
            ended.stderr,
            format!("withal: {message}\n"),
            "{arguments:?}"
        );
        assert_eq!(ended.stdout, "");
    };
    let twice = "--lock: locks the same file, as `lock a` does before it; it would wait for itself; \
                 leave one of them out";
    let remedy = "not a duration; write `500ms`, `5s`, `10m`, `1h` or plain seconds";
    check(
        &["-T", "5x", "--", "true"],
        &format!("--timeout: `5x`: {remedy}"),
    );
    check(
        &["--timeout=-1", "--", "true"],
        &format!("--timeout: `-1`: {remedy}"),
    );
    check(
        &["-k", "soon", "--", "true"],
        &format!("--grace: `soon`: {remedy}"),
    );
    check(
        &["-l", "x", "--lock-wait", "1 day of rest", "--", "true"],
        &format!("--lock-wait: `1 day of rest`: {remedy}"),
    );
    check(
        &["-T", "0", "--", "true"],
        "--timeout: `0`: no time at all; leave the option out for no limit",
    );
    check(
        &["-s", "NAP", "--", "true"],
        "--signal: `NAP`: not a signal; write a name or number, as `TERM`, `INT` or `9`",
    );
    check(
        &["--busy-code", "256", "--", "true"],
        "--busy-code: `256`: not an exit status; write a number from 0 to 255",
    );
    check(&["-T"], "--timeout: a value is required");
    check(
        &["-t"],
        "no command: write it after `--`, as in `withal run --tempdir -- make`",
    );
    check(
        &["--tempdir", "--"],
        "no command: write it after `--`, as in `withal run --tempdir -- make`",
    );
    check(
        &["-t", "make", "test"],
        "`make`: a command and its arguments stand after `--`",
    );
    check(
        &["--tempdir=A=B", "--", "true"],
        "--tempdir: `A=B`: not a variable's name; write `--tempdir=VAR`",
    );
    check(
        &["-o", "a", "-o", "b", "--", "true"],
        "--output: takes stdout, as `output a` does before it; leave one of them out, or give a \
         log the other of `streams`",
    );
    check(&["-l", "a", "-l", "a", "--", "true"], twice);
    check(&["-l", "a", "-l", "./a", "--", "true"], twice);
    check(
        &["-k", "-5", "--", "true"],
        &format!("--grace: `-5`: {remedy}"),
    );
    check(
        &["--lock-wait", "5", "--", "true"],
        "--lock-wait: no lock to wait for; write `--lock PATH`, too",
    );
    check(
        &["--lease", "5s", "--", "true"],
        "--lease: no lease; write `--pg-lock KEY` or `--redis-lock KEY`, too",
    );
    check(
        &["--keep-partial", "--", "true"],
        "--keep-partial: no output to keep; write `--output FILE`, too",
    );
    check(
        &["--orphans", "bogus", "--", "true"],
        "--orphans: `bogus`: no such value; there are kill, wait, detach",
    );
    check(
        &["--keep", "on_failure", "--", "true"],
        "--keep: `on_failure`: no such value; did you mean `on-failure`?",
    );
    check(
        &["--timout", "5", "--", "true"],
        "--timout: no such option; did you mean `--timeout`?",
    );
    check(
        &["-T", "5\n\x1b[1m", "--", "true"],
        &format!("--timeout: `5\\n\\u{{1b}}[1m`: {remedy}"),
    );
    check(
        &["--nonsense", "--", "true"],
        "unexpected argument '--nonsense' found; see `withal run --help`",
    );
}

#[test]
fn what_is_not_there_is_told_in_one_line_with_its_remedy() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.path("folder")).unwrap();
    let check = |arguments: &[&OsStr], code: i32, message: &str| {
        let mut command = sandbox.run_command(&[]);
        let _ = command.args(arguments);
        let ended = sandbox.start(command).finish();
        ended.check_code(code);
        assert_eq!(ended.stderr, format!("withal: {message}\n"));
    };
    let run = |program: &str, code: i32, message: &str| {
        check(&["--".as_ref(), program.as_ref()], code, message);
    };
    run("", 127, "the command's name is empty; write it after `--`");
    run("no\nsuch", 127, "no\\nsuch: command not found");
    let gate = |option: &str, path: &[u8], message: &str| {
        let path = OsStr::from_bytes(path);
        check(
            &[option.as_ref(), path, "--".as_ref(), "true".as_ref()],
            125,
            message,
        );
    };
    gate(
        "-l",
        b"no/lock",
        "--lock: cannot open the lock file `no/lock`: its directory does not exist; make it first",
    );
    gate(
        "-o",
        b"no\n\xff/out",
        "--output: `no\\n\\xff/out` was not written: cannot open the directory `no\\n\\xff/`; make \
         it first: No such file or directory (os error 2)",
    );
    gate(
        "-o",
        b"folder",
        "--output: `folder`: a directory; name a file in it",
    );
    gate(
        "-o",
        b"/dev/null",
        "--output: `/dev/null`: not a regular file, so it cannot be replaced; redirect with `>`",
    );
    let mut command = sandbox.run_command(&["-t", "--", "true"]);
    let _ = command.env("TMPDIR", "/no/such");
    let ended = sandbox.start(command).finish();
    ended.check_code(125);
    assert_eq!(
        ended.stderr,
        "withal: --tempdir: cannot make a temporary directory in `/no/such`, where `$TMPDIR` \
         points: No such file or directory (os error 2)\n"
    );
    let mut command = sandbox.run_command(&["-t", "--", "sh", "-c", "echo $TMPDIR"]);
    let _ = command.env("TMPDIR", "");
    let ended = sandbox.start(command).finish();
    assert!(ended.stdout.starts_with("/tmp/withal-"), "{ended:?}");
    let ended = sandbox.start(sandbox.command(WITHAL, &["make"])).finish();
    assert_eq!(
        ended.stderr,
        "withal: `make`: no subcommand; to run it, write `withal run -- make`\n"
    );
}

#[test]
fn durations_have_units_or_are_seconds() {
    let sandbox = Sandbox::new();
    for duration in [
        "10000ms", "10s", "10m", "1h", "1h 30m", "10", "10.5", "999999y",
    ] {
        sandbox
            .run(&["-T", duration, "-k", duration, "--", "true"])
            .check_code(0);
    }
}

#[test]
fn values_of_variables_are_never_said() {
    let sandbox = Sandbox::new();
    let secret = "hunter2";
    let pair = format!("PASSWORD={secret}");
    let cases: &[&[&str]] = &[
        &["-e", secret, "--", "true"],
        &["-e", "=hunter2", "--", "true"],
        &["-v", "-e", &pair, "--", "true"],
        &["-v", "-e", &pair, "--", "no-such-command"],
        &["-v", "-e", &pair, "-o", "/", "--", "true"],
        &["-e", &pair, "--nonsense", "--", "true"],
    ];
    for arguments in cases {
        let ended = sandbox.run(arguments);
        assert!(!ended.stderr.contains(secret), "{ended:?}");
    }
}

#[test]
fn help_is_no_failure_and_goes_to_stdout() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["run", "--help"][..],
        &["run", "-h"],
        &["--help"],
        &["--version"],
    ] {
        let ended = sandbox.start(sandbox.command(WITHAL, arguments)).finish();
        ended.check_code(0);
        assert!(ended.stdout.contains("withal"), "{ended:?}");
        assert_eq!(ended.stderr, "");
    }
    let help = sandbox.run(&["--help"]).stdout;
    for part in [
        "Usage: withal run [GATES]",
        "Examples:",
        "Exit status:",
        "124",
        "TMPDIR",
    ] {
        assert!(help.contains(part), "{part}");
    }
}

#[test]
fn what_follows_the_dashes_is_the_commands() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["--", "echo", "--tempdir", "-h", "--", "-x"]);
    assert_eq!(ended.stdout, "--tempdir -h -- -x\n");
}

#[test]
fn quiet_says_only_why_withal_failed() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["-q", "-T", "20ms", "--", "sleep", "60"]);
    ended.check_code(124);
    assert_eq!(ended.stderr, "");
    let ended = sandbox.run(&["-q", "--", "no-such-command"]);
    assert_eq!(ended.stderr, "withal: no-such-command: command not found\n");
}

#[test]
fn a_closed_stderr_disturbs_nothing() {
    let sandbox = Sandbox::new();
    let ended = sandbox.shell("$W run -v -t -- sh -c 'exit 6' 2>&-");
    ended.check_code(6);
    let ended = sandbox.shell("{ $W run -v -t -- sh -c 'exit 6'; echo $? > code; } 2>&1 | true");
    ended.check_code(0);
    assert_eq!(sandbox.read("code"), "6\n");
}

#[test]
fn pages_of_the_manual_have_the_sections_of_one() {
    let sandbox = Sandbox::new();
    let ended = sandbox.start(sandbox.command(WITHAL, &["man", "pages"]));
    ended.finish().check_code(0);
    let page = sandbox.read("pages/withal-run.1");
    let sections = page.lines().filter_map(|line| line.strip_prefix(".SH "));
    let sections: Vec<&str> = sections.map(|title| title.trim_matches('"')).collect();
    let expected = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "OPTIONS",
        "GATES",
        "JOB FILES",
        "EXIT STATUS",
        "ENVIRONMENT",
        "FILES",
        "EXAMPLES",
        "SEE ALSO",
    ];
    let mut found = sections.into_iter();
    for title in expected {
        assert!(found.any(|section| section == title), "{title}");
    }
    for name in [
        "withal",
        "withal-check",
        "withal-log-write",
        "withal-migrate-status",
    ] {
        let page = sandbox.read(&format!("pages/{name}.1"));
        assert!(page.contains(".SH NAME\nwithal"), "{name}: {page}");
        assert!(page.contains(".SH SYNOPSIS"), "{name}");
    }
    let ended = sandbox.start(sandbox.command(WITHAL, &["man"])).finish();
    assert_eq!(ended.stdout, page);
}

#[test]
fn shells_are_told_the_options() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        let ended = sandbox.start(sandbox.command(WITHAL, &["completions", shell]));
        let ended = ended.finish();
        ended.check_code(0);
        assert!(ended.stdout.contains("timeline"), "{shell}");
    }
    let script =
        "$W completions bash > script && bash -n script && . ./script && complete -p withal";
    let mut command = sandbox.command("bash", &["-c", script]);
    let _ = command.env("W", WITHAL);
    let ended = sandbox.start(command).finish();
    ended.check_code(0);
    assert!(ended.stdout.contains("withal"), "{ended:?}");
}

#[test]
fn a_variable_in_place_of_an_option_without_a_value_is_yes_or_no() {
    let sandbox = Sandbox::new();
    let run = |option: &str, value: &str| {
        let variable = option.to_uppercase().replace('-', "_");
        let mut command = sandbox.run_command(&["--", "true"]);
        let _ = command.env(format!("WITHAL_{variable}"), value);
        sandbox.start(command).finish()
    };
    for option in [
        "no-keeper",
        "no-journal",
        "no-recover",
        "quiet",
        "clear-env",
        "preserve-status",
    ] {
        for value in ["", "0", "1", "yes", "No", "true"] {
            run(option, value).check_code(0);
        }
        let ended = run(option, "maybe");
        ended.check_code(125);
        let expected = format!("withal: --{option}: `maybe`: neither yes nor no; write 1 or 0\n");
        assert_eq!(ended.stderr, expected);
    }
    let mut command = sandbox.run_command(&["--", "sh", "-c", "echo ${KEPT-cleared}"]);
    let _ = command.env("KEPT", "kept").env("WITHAL_CLEAR_ENV", "no");
    assert_eq!(sandbox.start(command).finish().stdout, "kept\n");
}

#[test]
fn what_is_no_shell_and_no_subcommand_is_told_with_what_there_is() {
    let sandbox = Sandbox::new();
    let check = |words: &[&str], expected: &str| {
        let ended = sandbox.withal(words);
        ended.check_code(125);
        assert_eq!(ended.stderr, format!("withal: {expected}\n"));
    };
    check(
        &["completions", "foo"],
        "`foo`: no such value; there are bash, zsh, fish",
    );
    check(&["help"], "`help`: no subcommand; write `withal --help`");
}
