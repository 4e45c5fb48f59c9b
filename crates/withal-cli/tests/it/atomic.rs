//! `withal atomic`: the old file or the new one.

#![allow(unused_results, reason = "the helpers check the status")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Sandbox, WITHAL, wait_until};

#[track_caller]
fn atomic(sandbox: &Sandbox, arguments: &[&str], input: &str, code: i32) -> Output {
    let output = sandbox.feed(&[&["atomic"], arguments].concat(), input.as_bytes());
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    sandbox.check_nothing_is_left();
    output
}

/// Whether the process has a file without a name open here: the new content.
fn has_new_content(sandbox: &Sandbox, pid: u32) -> bool {
    let beginning = sandbox.path("#").into_os_string().into_string().unwrap();
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        target.to_str().unwrap().starts_with(&beginning)
    })
}

fn names(sandbox: &Sandbox) -> Vec<String> {
    let entries = fs::read_dir(sandbox.path(".")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
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
fn what_the_new_file_is_without_is_told_with_its_cause_and_no_place_in_the_source() {
    if !nix::unistd::geteuid().is_root() {
        return eprintln!("skipped: only root can make a file of somebody else's");
    }
    let sandbox = Sandbox::new();
    sandbox.write("f", "old\n");
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(sandbox.path("."), everybody).unwrap();
    let mut command = sandbox.command(WITHAL, &["atomic", "f", "--mode", "666"]);
    let output = command.uid(65534).gid(65534).stdin(Stdio::null()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        sandbox.stderr(),
        "withal: failed, and was worked around: `AtomicFile`: `f` was written, but not with all \
         attributes: cannot keep the owner of the old file: Operation not permitted (os error 1)\n"
    );
}

#[test]
fn a_command_that_is_nothing_is_no_pipe() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "old\n");
    let refused = atomic(&sandbox, &["f", "--"], "", 125);
    let message = String::from_utf8(refused.stderr).unwrap();
    assert!(
        message.contains("no command: name it after `--`"),
        "{message}"
    );
    assert_eq!(sandbox.read("f"), "old\n");
}

#[test]
fn a_pipe_replaces_the_file_when_it_ends() {
    let sandbox = Sandbox::new();
    let long = "0123456789\n".repeat(200_000);
    for content in ["", "new", &long] {
        for durability in ["full", "file", "none"] {
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
    let late = atomic(&sandbox, &["-n", "h", "--", "sh", "-c", script], "", 123);
    // There is nothing that could be tried again.
    let message = String::from_utf8(late.stderr).unwrap();
    assert!(
        message.contains("`h`") && !message.contains("recover"),
        "{message}"
    );
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
    // What was replaced is the link.
    let kept = fs::read_link(sandbox.path("link.bak")).unwrap();
    assert_eq!(kept.to_str(), Some("f"));
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
fn a_link_is_followed_or_replaced_as_asked() {
    for (options, stays) in [
        (&[][..], true),
        (&["--follow"], true),
        (&["--replace-link"], false),
    ] {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path("d")).unwrap();
        sandbox.write("d/f", "old\n");
        std::os::unix::fs::symlink("d/f", sandbox.path("link")).unwrap();
        atomic(&sandbox, &[options, &["link"]].concat(), "new\n", 0);
        assert_eq!(sandbox.path("link").is_symlink(), stays);
        assert_eq!(sandbox.read("link"), "new\n");
        assert_eq!(sandbox.read("d/f"), if stays { "new\n" } else { "old\n" });
    }
    let sandbox = Sandbox::new();
    atomic(&sandbox, &["--follow", "--replace-link", "f"], "", 125);
    assert_eq!(names(&sandbox), [""; 0]);
}

#[test]
fn the_mode_is_that_of_the_old_file_or_as_asked_or_any_new_ones() {
    let sandbox = Sandbox::new();
    let mode = |name: &str| {
        fs::metadata(sandbox.path(name))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    sandbox.write("any", "");
    atomic(&sandbox, &["f"], "", 0);
    assert_eq!(mode("f"), mode("any"));
    atomic(&sandbox, &["-m", "0751", "f", "--", "echo"], "", 0);
    assert_eq!(mode("f"), 0o751);
    atomic(&sandbox, &["f"], "", 0);
    assert_eq!(mode("f"), 0o751);
    atomic(&sandbox, &["--mode", "600", "key"], "", 0);
    assert_eq!(mode("key"), 0o600);
}

#[test]
fn the_old_file_is_kept_if_there_is_one_and_only_if_it_is_replaced() {
    let sandbox = Sandbox::new();
    atomic(&sandbox, &["--backup", "f"], "1\n", 0);
    assert_eq!(names(&sandbox), ["f"]);
    atomic(&sandbox, &["-b", "f", "--", "false"], "", 1);
    assert_eq!(names(&sandbox), ["f"]);
    for (new, old) in [("2\n", "1\n"), ("3\n", "2\n")] {
        atomic(&sandbox, &["-b", "f", "--", "cat"], new, 0);
        assert_eq!(
            (sandbox.read("f"), sandbox.read("f~")),
            (new.into(), old.into())
        );
        assert_eq!(names(&sandbox), ["f", "f~"]);
    }
    atomic(&sandbox, &["--no-clobber", "--backup", "g"], "", 125);
    assert_eq!(names(&sandbox), ["f", "f~"]);
}

#[test]
fn a_backup_that_would_take_the_place_of_the_file_is_refused_before_the_command() {
    let sandbox = Sandbox::new();
    sandbox.write("f", "old\n");
    std::os::unix::fs::symlink("f", sandbox.path("f~")).unwrap();
    std::os::unix::fs::symlink("link~", sandbox.path("link")).unwrap();
    sandbox.write("link~", "old\n");
    let check = |arguments: &[&str], want: &str| {
        for command in [&[][..], &["--", "touch", "started"]] {
            let refused = atomic(&sandbox, &[arguments, command].concat(), "new\n", 125);
            let told = String::from_utf8(refused.stderr).unwrap();
            assert_eq!(told, format!("withal: atomic: {want}\n"));
        }
        assert_eq!(names(&sandbox), ["f", "f~", "link", "link~"]);
        assert_eq!(
            (sandbox.read("f~"), sandbox.read("link")),
            ("old\n".into(), "old\n".into())
        );
    };
    check(
        &["--backup", "f~"],
        "`f~` was not written: cannot keep the old file as `./f~`: it is a symbolic link by which \
         the target is reached; choose another name",
    );
    check(
        &["--backup", "--replace-link", "link"],
        "`link` was not written: cannot keep the old file as `link~`: the symbolic link that is \
         replaced leads there; choose another name",
    );
}

#[test]
fn as_much_is_synced_as_was_asked_for() {
    let check = |options: &[&str], content: usize, directory: usize| {
        let sandbox = Sandbox::new();
        let trace = sandbox.path("trace");
        let mut command = sandbox.command("strace", &["-f", "-qq", "-y", "-e", "trace=fsync"]);
        let _ = command.arg("-o").arg(&trace).arg(WITHAL).arg("atomic");
        let status = command
            .args(options)
            .args(["f", "--", "echo", "new"])
            .status();
        assert!(
            status.expect("apt-get install strace").success(),
            "{}",
            sandbox.stderr()
        );
        assert_eq!(sandbox.read("f"), "new\n");
        let trace = fs::read_to_string(trace).unwrap();
        let synced: Vec<&str> = trace
            .lines()
            .filter(|line| line.contains("fsync("))
            .collect();
        let is_directory = |line: &&&str| line.contains("/work>)");
        assert_eq!(
            synced.iter().filter(is_directory).count(),
            directory,
            "{trace}"
        );
        assert_eq!(synced.len(), content + directory, "{trace}");
    };
    check(&[], 1, 1);
    check(&["--durability", "full"], 1, 1);
    check(&["--durability", "file"], 1, 0);
    check(&["-d", "none"], 0, 0);
}

#[test]
fn a_signal_or_a_kill_leaves_the_old_file() {
    for (signal, code) in [(Signal::SIGTERM, Some(143)), (Signal::SIGKILL, None)] {
        let sandbox = Sandbox::new();
        sandbox.write("f", "old\n");
        let mut writer = sandbox.pipe(&["atomic", "f"]);
        let mut stdin = writer.stdin.take().unwrap();
        stdin.write_all(b"new\n").unwrap();
        wait_until("the new content", || has_new_content(&sandbox, writer.id()));
        kill(Pid::from_raw(writer.id().cast_signed()), signal).unwrap();
        assert_eq!(writer.wait().unwrap().code(), code);
        assert_eq!(sandbox.read("f"), "old\n");
        assert_eq!(names(&sandbox), ["f"]);
        atomic(&sandbox, &["f"], "newer\n", 0);
        assert_eq!(sandbox.read("f"), "newer\n");
    }
}
