//! On a terminal the command shares withal's process group and gets Ctrl-C from the kernel.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;

use nix::pty::openpty;
use nix::sys::signal::{Signal, killpg};

use crate::support::{Sandbox, Started, WITHAL, wait_until};

const CTRL_C: &[u8] = b"\x03";
const CTRL_BACKSLASH: &[u8] = b"\x1c";

/// `withal run ARGUMENTS` with a controlling terminal, and the other end of it.
fn start_on_terminal<'a>(sandbox: &'a Sandbox, arguments: &[&str]) -> (Started<'a>, File) {
    let pty = openpty(None, None).unwrap();
    let arguments = [&["--ctty", WITHAL, "run"], arguments].concat();
    let mut command = sandbox.command("setsid", &arguments);
    let _ = command.stdin(pty.slave);
    (sandbox.start(command), File::from(pty.master))
}

/// A command that writes down each Ctrl-C, and exits with 7 once there is a file `end`.
const NOTES_CTRL_C: &str = "
    trap 'echo INT >> got' INT
    touch ready
    while ! [ -e end ]; do sleep 0.01; done
    exit 7";

#[test]
fn ctrl_c_reaches_the_command_once_and_starts_no_clock() {
    let sandbox = Sandbox::new();
    let arguments = ["-t", "-k", "10ms", "--", "sh", "-c", NOTES_CTRL_C];
    let (started, mut terminal) = start_on_terminal(&sandbox, &arguments);
    started.wait_for("ready");
    for presses in 1..=3 {
        terminal.write_all(CTRL_C).unwrap();
        wait_until("the Ctrl-C", || {
            sandbox.read("got") == "INT\n".repeat(presses)
        });
    }
    sandbox.write("end", "");
    started.finish().check_code(7);
    assert_eq!(sandbox.read("got"), "INT\n".repeat(3));
}

#[test]
fn withal_dies_with_a_command_that_ctrl_c_killed() {
    for (key, signal) in [(CTRL_C, Signal::SIGINT), (CTRL_BACKSLASH, Signal::SIGQUIT)] {
        let sandbox = Sandbox::new();
        let script = "ulimit -c 0; touch ready; exec sleep 60";
        let (started, mut terminal) =
            start_on_terminal(&sandbox, &["-t", "-o", "out", "--", "sh", "-c", script]);
        started.wait_for("ready");
        terminal.write_all(key).unwrap();
        assert_eq!(started.finish().signal(), Some(signal as i32));
        assert!(!sandbox.has("out"));
    }
}

#[test]
fn a_sent_signal_reaches_a_command_on_a_terminal_once() {
    let sandbox = Sandbox::new();
    let (started, _terminal) =
        start_on_terminal(&sandbox, &["-k", "1h", "--", "sh", "-c", NOTES_CTRL_C]);
    started.wait_for("ready");
    started.send(Signal::SIGINT);
    started.wait_for("got");
    sandbox.write("end", "");
    started.finish().check_code(7);
    assert_eq!(sandbox.read("got"), "INT\n");
}

#[test]
fn a_signal_to_the_group_reaches_a_command_on_a_terminal_once() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1] {
        let sandbox = Sandbox::new();
        let name = signal.as_str();
        let script = NOTES_CTRL_C.replace("INT", name.trim_start_matches("SIG"));
        let arguments = ["-k", "1h", "--", "sh", "-c", &script];
        let (started, _terminal) = start_on_terminal(&sandbox, &arguments);
        started.wait_for("ready");
        killpg(started.pid(), signal).unwrap();
        started.wait_for("got");
        // What comes after it is delivered after it, were it passed on, too.
        started.send(Signal::SIGWINCH);
        sandbox.write("end", "");
        started.finish().check_code(7);
        assert_eq!(sandbox.read("got").lines().count(), 1, "{signal}");
    }
}

#[test]
fn the_group_is_killed_on_a_terminal_and_recover_does_the_rest() {
    let sandbox = Sandbox::new();
    let script = "setsid sh -c 'setsid sleep 1000 & echo $! > daemon' &
        while ! [ -s daemon ]; do sleep 0.01; done; touch ready; exec sleep 1000";
    let arguments = ["-t", "-o", "out", "--", "sh", "-c", script];
    let (started, _terminal) = start_on_terminal(&sandbox, &arguments);
    started.wait_for("ready");
    killpg(started.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(started.finish_unchecked().signal(), Some(9));
    wait_until("the rest to be undone", || {
        sandbox.withal(&["recover"]).check_code(0);
        sandbox.processes().is_empty() && sandbox.journals().is_empty()
    });
    sandbox.check_nothing_is_left();
}

#[test]
fn ctrl_c_while_acquiring_kills_withal_so_that_loops_end() {
    let sandbox = Sandbox::new();
    let lock = File::create(sandbox.path("lock")).unwrap();
    lock.lock().unwrap();
    let arguments = ["-v", "-t", "-l", "lock", "--", "touch", "started"];
    let (started, mut terminal) = start_on_terminal(&sandbox, &arguments);
    started.wait_for_message("acquiring lock");
    terminal.write_all(CTRL_C).unwrap();
    assert_eq!(started.finish().signal(), Some(2));
    assert!(!sandbox.has("started"));
}

/// Prints the process groups of withal and of the command.
const SHOW_GROUPS: &str = "cut -d ' ' -f 5 /proc/$PPID/stat /proc/$$/stat";

#[test]
fn the_command_shares_the_process_group_if_there_is_a_terminal() {
    let groups = |text: &str| {
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 2, "{text}");
        lines
    };
    let sandbox = Sandbox::new();
    let (started, _terminal) = start_on_terminal(&sandbox, &["--", "sh", "-c", SHOW_GROUPS]);
    let shown = groups(&started.finish().stdout);
    assert_eq!(shown[0], shown[1]);

    let arguments = ["-w", WITHAL, "run", "--", "sh", "-c", SHOW_GROUPS];
    let alone = sandbox
        .start(sandbox.command("setsid", &arguments))
        .finish();
    let shown = groups(&alone.stdout);
    assert_ne!(shown[0], shown[1]);
}

#[test]
fn a_terminal_of_another_session_is_none() {
    let sandbox = Sandbox::new();
    let pty = openpty(None, None).unwrap();
    let arguments = ["-w", WITHAL, "run", "--", "sh", "-c", SHOW_GROUPS];
    let mut command = sandbox.command("setsid", &arguments);
    let _ = command.stdin(pty.slave);
    let shown = sandbox.start(command).finish().stdout;
    let groups: Vec<_> = shown.lines().collect();
    assert_eq!(groups.len(), 2, "{shown}");
    assert_ne!(groups[0], groups[1]);
}

#[test]
fn a_terminal_that_no_stream_is_connected_to_counts() {
    let sandbox = Sandbox::new();
    sandbox.write("notes.sh", NOTES_CTRL_C);
    let script = "exec </dev/null 2>/dev/null; exec $W run -- sh notes.sh";
    let pty = openpty(None, None).unwrap();
    let (slave, master): (OwnedFd, OwnedFd) = (pty.slave, pty.master);
    let mut command = sandbox.command("setsid", &["--ctty", "sh", "-c", script]);
    let _ = command.stdin(slave).env("W", WITHAL);
    let started = sandbox.start(command);
    started.wait_for("ready");
    let mut terminal = File::from(master);
    terminal.write_all(CTRL_C).unwrap();
    started.wait_for("got");
    sandbox.write("end", "");
    started.finish().check_code(7);
    assert_eq!(sandbox.read("got"), "INT\n");
}

#[test]
fn the_command_may_read_the_terminal_and_write_to_it() {
    let sandbox = Sandbox::new();
    let script = "touch ready; read line; echo \"got $line\" > /dev/tty; exit 4";
    let (started, mut terminal) = start_on_terminal(&sandbox, &["-t", "--", "sh", "-c", script]);
    started.wait_for("ready");
    terminal.write_all(b"hello\n").unwrap();
    started.finish().check_code(4);
    let mut shown = [0; 256];
    let length = terminal.read(&mut shown).unwrap();
    let shown = String::from_utf8_lossy(&shown[..length]).into_owned();
    assert!(
        shown.contains("got hello") || shown.starts_with("hello"),
        "{shown:?}"
    );
}

#[test]
fn ctrl_z_stops_the_job_and_it_goes_on_when_continued() {
    let sandbox = Sandbox::new();
    let (started, mut terminal) =
        start_on_terminal(&sandbox, &["-t", "--", "sh", "-c", NOTES_CTRL_C]);
    started.wait_for("ready");
    // An orphaned process group, as this one is, is not stopped by the terminal; withal must not
    // have changed what Ctrl-Z means.
    terminal.write_all(b"\x1a").unwrap();
    started.send(Signal::SIGSTOP);
    let is_stopped = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", started.pid())).unwrap();
        stat.contains(") T ")
    };
    wait_until("the stop", is_stopped);
    started.send(Signal::SIGCONT);
    wait_until("the continuation", || !is_stopped());
    sandbox.write("end", "");
    started.finish().check_code(7);
}

#[test]
fn ctrl_c_twice_while_gates_are_undone_abandons_them_to_recover() {
    let sandbox = Sandbox::new();
    let release = "touch releasing; while ! [ -e go ]; do sleep 0.01; done; touch released";
    let gate = format!(r#"hook:release=["sh","-c","{release}"]"#);
    let arguments = ["-t", "-w", &gate, "--", "true"];
    let (started, mut terminal) = start_on_terminal(&sandbox, &arguments);
    started.wait_for("releasing");
    terminal.write_all(CTRL_C).unwrap();
    started.wait_for_message("undoing hook sh, tempdir TMPDIR");
    assert!(!sandbox.has("released"));
    terminal.write_all(CTRL_C).unwrap();
    let ended = started.finish_unchecked();
    assert_eq!(ended.signal(), Some(2), "{ended:?}");
    let id = sandbox.withal_json(&["ls", "--json"])["id"].to_string();
    let id = id.trim_matches('"').split_at(16).0.to_owned();
    let expected = format!("not all is undone: `withal recover {id}` tries again");
    assert!(ended.stderr.contains(&expected), "{ended:?}");
    // What was begun is ended with the run.
    assert_eq!(sandbox.processes(), []);
    sandbox.write("go", "");
    let recovering = sandbox.start(sandbox.command(WITHAL, &["recover", &id]));
    recovering.finish().check_code(0);
    assert!(sandbox.has("released"));
}
