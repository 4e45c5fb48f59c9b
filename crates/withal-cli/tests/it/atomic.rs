//! `withal atomic`: the old file or the new one.

#![allow(unused_results, reason = "the helpers check the status")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Sandbox, wait_until};

#[track_caller]
fn atomic(sandbox: &Sandbox, arguments: &[&str], input: &str, code: i32) -> Output {
    let output = sandbox.feed(&[&["atomic"], arguments].concat(), input.as_bytes());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    sandbox.check_nothing_is_left();
    output
}

fn has_temporary(sandbox: &Sandbox) -> bool {
    let entries = fs::read_dir(sandbox.path(".")).unwrap();
    let mut names = entries.map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_str().unwrap().ends_with(".withal-tmp"))
}

#[test]
fn a_command_that_succeeds_replaces_the_file() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "old\n");
    let output = atomic(&sandbox, &["f", "--", "sh", "-c", "echo new; cat f"], "", 0);
    assert_eq!(sandbox.read("f"), "new\nold\n");
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
    // Its stdin is the command's.
    atomic(&sandbox, &["f", "--", "cat"], "typed\n", 0);
    assert_eq!(sandbox.read("f"), "typed\n");
}

#[test]
fn a_command_that_fails_leaves_the_old_file_and_its_status() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "old\n");
    atomic(
        &sandbox,
        &["f", "--", "sh", "-c", "echo new; exit 7"],
        "",
        7,
    );
    atomic(&sandbox, &["f", "--", "no-such-command"], "", 127);
    assert_eq!(sandbox.read("f"), "old\n");
}

#[test]
fn a_pipe_replaces_the_file_when_it_ends() {
    let sandbox = Sandbox::new();
    let long = "0123456789\n".repeat(200_000);
    for content in ["", "new", &long] {
        for durability in ["full", "none"] {
            sandbox.write("f", "old\n");
            atomic(&sandbox, &["f", "--durability", durability], content, 0);
            assert!(sandbox.read("f") == content);
        }
    }
}

#[test]
fn an_existing_file_is_kept_if_that_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "old\n");
    for arguments in [&["-n", "f"][..], &["-n", "f", "--", "touch", "started"]] {
        let refused = atomic(&sandbox, arguments, "new\n", 125);
        let message = String::from_utf8(refused.stderr).unwrap();
        assert!(message.starts_with("withal: atomic: `f` "), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    assert!(!sandbox.has("started"));
    assert_eq!(sandbox.read("f"), "old\n");
    atomic(&sandbox, &["-n", "g"], "new\n", 0);
    assert_eq!(sandbox.read("g"), "new\n");
    // It comes between.
    let script = "echo mine; echo other > h";
    atomic(&sandbox, &["-n", "h", "--", "sh", "-c", script], "", 123);
    assert_eq!(sandbox.read("h"), "other\n");
}

#[test]
fn mode_backup_and_links_are_as_asked() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "old\n");
    std::os::unix::fs::symlink("f", sandbox.path("link")).unwrap();
    atomic(&sandbox, &["link", "--mode", "640", "--backup"], "new\n", 0);
    let mode = fs::metadata(sandbox.path("f"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert_eq!(
        (sandbox.read("f"), sandbox.read("f~")),
        ("new\n".into(), "old\n".into())
    );
    atomic(
        &sandbox,
        &["link", "--replace-link", "--backup=.bak"],
        "own\n",
        0,
    );
    assert!(
        !fs::symlink_metadata(sandbox.path("link"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        (sandbox.read("link"), sandbox.read("f")),
        ("own\n".into(), "new\n".into())
    );
    let check = |arguments: &[&str], message: &str| {
        let refused = atomic(&sandbox, arguments, "", 125);
        let told = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(told, format!("withal: {message}\n"));
    };
    check(
        &["f", "--mode", "rw"],
        "--mode: `rw`: not a mode; write it in octal, as `644` or `0600`",
    );
    check(
        &["f", "--backup=a/b"],
        "--backup: `a/b`: not a suffix; write some characters without `/`, as `.bak`",
    );
    check(
        &["/dev/null"],
        "atomic: `/dev/null`: not a regular file, so it cannot be replaced; redirect with `>`",
    );
    assert_eq!(sandbox.read("f"), "new\n");
}

#[test]
fn a_signal_or_a_kill_leaves_the_old_file() {
    for (signal, code) in [(Signal::SIGTERM, Some(143)), (Signal::SIGKILL, None)] {
        let sandbox = Sandbox::new();
        sandbox.write("f", "old\n");
        let mut writer = sandbox.pipe(&["atomic", "f"]);
        let mut stdin = writer.stdin.take().unwrap();
        stdin.write_all(b"new\n").unwrap();
        wait_until("the temporary file", || has_temporary(&sandbox));
        kill(Pid::from_raw(writer.id().cast_signed()), signal).unwrap();
        assert_eq!(writer.wait().unwrap().code(), code);
        assert_eq!(sandbox.read("f"), "old\n");
        // What a kill leaves is swept by the next one.
        assert_eq!(has_temporary(&sandbox), signal == Signal::SIGKILL);
        atomic(&sandbox, &["f"], "newer\n", 0);
        assert_eq!(sandbox.read("f"), "newer\n");
    }
}
