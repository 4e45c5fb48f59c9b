//! Whoever is killed, by `kill -9` or otherwise: nothing of a run is left, and its command may clean
//! up.

use std::fs;
use std::os::unix::process::CommandExt as _;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::support::{Sandbox, Started, WITHAL, wait_until};

/// A command that takes its time to clean up, with a child in its group and a daemon that has left
/// its session. Exits with what `end` holds once that is there.
const COMMAND: &str = "
    trap 'sleep 0.1; [ -d \"$TMPDIR\" ] && echo cleaned >> cleaned; exit 9' TERM INT HUP
    sleep 1000 &
    setsid sh -c 'setsid sleep 1000 & echo $! > daemon' &
    while ! [ -s daemon ]; do sleep 0.01; done
    echo new; echo $$ > pid; touch ready
    while ! [ -s end ]; do sleep 0.01; done
    exit $(cat end)";

/// Starts it with every gate that leaves something behind.
fn start<'a>(sandbox: &'a Sandbox, options: &[&str]) -> Started<'a> {
    sandbox.write("out", "old");
    sandbox.write("command.sh", COMMAND);
    let gates = ["-t", "-l", "lock", "-o", "out", "--", "sh", "command.sh"];
    let mut command = sandbox.run_command(&[options, &gates].concat());
    let started = sandbox.start(own_group(&mut command));
    started.wait_for("ready");
    started
}

/// What a shell does for a job, or a service manager.
fn own_group(command: &mut std::process::Command) -> std::process::Command {
    let _ = command.process_group(0);
    std::mem::replace(command, std::process::Command::new("true"))
}

/// Waits for the end of all processes, then looks for what is left.
#[track_caller]
fn check_gone(sandbox: &Sandbox) {
    wait_until("the end of all processes", || {
        sandbox.processes().is_empty()
    });
    sandbox.check_nothing_is_left();
    assert_eq!(sandbox.read("out"), "old");
    let lock = fs::File::open(sandbox.path("lock")).unwrap();
    // A process that ends loses its environment, by which it is found, before its files.
    wait_until("the lock", || lock.try_lock().is_ok());
}

#[test]
fn the_commands_status_is_kept_and_nothing_is_left() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox, &[]);
    sandbox.write("end", "7");
    started.finish().check_code(7);
    check_gone(&sandbox);
}

#[test]
fn the_front_is_terminated_and_the_command_cleans_up_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let sandbox = Sandbox::new();
        let started = start(&sandbox, &[]);
        started.send(signal);
        started.finish().check_code(9);
        assert_eq!(sandbox.read("cleaned"), "cleaned\n");
        check_gone(&sandbox);
    }
}

#[test]
fn the_front_is_killed_and_the_keeper_tears_down() {
    for options in [&[][..], &["--no-journal"]] {
        let sandbox = Sandbox::new();
        let started = start(&sandbox, options);
        started.send(Signal::SIGKILL);
        assert_eq!(started.finish_unchecked().signal(), Some(9));
        check_gone(&sandbox);
        assert_eq!(sandbox.read("cleaned"), "cleaned\n");
    }
}

#[test]
fn the_keeper_is_killed_and_the_front_tears_down_and_says_so() {
    for options in [&[][..], &["--no-journal"]] {
        let sandbox = Sandbox::new();
        let started = start(&sandbox, options);
        kill(started.keeper(), Signal::SIGKILL).unwrap();
        let ended = started.finish();
        ended.check_code(125);
        let said = "withal: the process that holds the gates was killed: stopping the command";
        assert!(ended.stderr.starts_with(said), "{ended:?}");
        check_gone(&sandbox);
        assert_eq!(sandbox.read("cleaned"), "cleaned\n");
    }
}

#[test]
fn a_lock_is_held_until_the_command_has_ended_though_its_holder_was_killed() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "command.sh",
        "trap 'touch asked; while ! [ -e end ]; do sleep 0.01; done; exit' TERM
         touch ready; while :; do sleep 0.01; done",
    );
    let started = sandbox.start_run(&["-k", "1h", "-l", "lock", "--", "sh", "command.sh"]);
    started.wait_for("ready");
    kill(started.keeper(), Signal::SIGKILL).unwrap();
    started.wait_for("asked");
    let lock = fs::File::open(sandbox.path("lock")).unwrap();
    assert!(lock.try_lock().is_err());
    sandbox.write("end", "");
    started.finish().check_code(125);
    lock.try_lock().unwrap();
}

#[test]
fn a_stubborn_command_is_killed_by_whoever_is_left() {
    let stubborn = "trap '' TERM; touch ready; while :; do sleep 0.01; done";
    for kills_front in [true, false] {
        let sandbox = Sandbox::new();
        let started = sandbox.start_run(&["-t", "-k", "50ms", "--", "sh", "-c", stubborn]);
        started.wait_for("ready");
        match kills_front {
            true => started.send(Signal::SIGKILL),
            false => kill(started.keeper(), Signal::SIGKILL).unwrap(),
        }
        let _ = started.finish_unchecked();
        wait_until("the end", || sandbox.processes().is_empty());
        sandbox.check_nothing_is_left();
        assert!(sandbox.stderr().contains("not ended within 50ms, killed: "));
    }
}

#[test]
fn the_process_group_is_killed_and_the_keeper_outlives_it() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox, &[]);
    killpg(started.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(started.finish_unchecked().signal(), Some(9));
    check_gone(&sandbox);
    assert_eq!(sandbox.read("cleaned"), "cleaned\n");
}

#[test]
fn a_signal_to_the_group_reaches_the_command_once() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox, &[]);
    killpg(started.pid(), Signal::SIGTERM).unwrap();
    started.finish().check_code(9);
    assert_eq!(sandbox.read("cleaned"), "cleaned\n");
    check_gone(&sandbox);
}

#[test]
fn both_are_killed_and_recover_ends_and_undoes_the_rest() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox, &[]);
    kill_both(started);
    assert!(!sandbox.processes().is_empty());
    assert_eq!(sandbox.journals().len(), 1);
    let rehearsed = sandbox.withal(&["recover", "--dry-run"]);
    rehearsed.check_code(0);
    for part in [
        "would end ",
        "would undo output out",
        "would undo tempdir TMPDIR",
    ] {
        assert!(rehearsed.stderr.contains(part), "{rehearsed:?}");
    }
    assert_eq!(sandbox.journals().len(), 1);
    let recovered = sandbox.withal(&["recover"]);
    recovered.check_code(0);
    assert!(
        recovered.stderr.starts_with("withal: recovered run "),
        "{recovered:?}"
    );
    check_gone(&sandbox);
    assert_eq!(sandbox.read("cleaned"), "cleaned\n");
    let again = sandbox.withal(&["recover"]);
    again.check_code(0);
    assert_eq!(again.stderr, "");
}

#[test]
fn both_are_killed_and_the_next_run_of_the_job_undoes_the_rest_first() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox, &[]);
    kill_both(started);
    let other = sandbox.start_run(&["--", "true"]).finish_unchecked();
    other.check_code(0);
    assert_eq!(sandbox.journals().len(), 1, "another job's is left alone");
    let arguments = ["-t", "-l", "lock", "-o", "out", "--", "sh", "command.sh"];
    sandbox.write("end", "0");
    let next = sandbox.run(&arguments);
    next.check_code(0);
    assert!(next.stderr.contains("recovered run "), "{next:?}");
    assert_eq!(sandbox.read("out"), "new\n");
}

#[test]
fn what_an_earlier_run_has_left_stays_if_that_is_asked_for() {
    let sandbox = Sandbox::new();
    let job = ["--name", "job"];
    let killed = start(&sandbox, &job);
    kill_both(killed);
    let next = |variable: &str| {
        let mut command = sandbox.run_command(&[&job[..], &["-t", "--", "true"]].concat());
        let _ = command.env("WITHAL_NO_RECOVER", variable);
        sandbox.start(command).finish_unchecked().check_code(0);
        sandbox.journals().len()
    };
    assert_eq!(next("1"), 1);
    assert_eq!(next("0"), 0);
    sandbox.check_nothing_is_left();
}

#[test]
fn one_process_alone_leaves_a_journal_too() {
    let sandbox = Sandbox::new();
    let started = start(&sandbox, &["--no-keeper"]);
    started.send(Signal::SIGKILL);
    let _ = started.finish_unchecked();
    sandbox.withal(&["recover"]).check_code(0);
    check_gone(&sandbox);
}

#[test]
fn a_command_without_an_environment_is_found_by_its_process_id() {
    let sandbox = Sandbox::new();
    let script = "exec env -i sh -c 'touch ready; while :; do sleep 0.01; done'";
    let started = sandbox.start_run(&["-t", "--", "sh", "-c", script]);
    started.wait_for("ready");
    let shown = sandbox.withal_json(&["ls", "--json"]);
    let command = i32::try_from(shown["command"].as_i64().unwrap()).unwrap();
    kill_both(started);
    assert_eq!(kill(Pid::from_raw(command), None), Ok(()));
    sandbox.withal(&["recover"]).check_code(0);
    let is_gone = || kill(Pid::from_raw(command), None).is_err();
    wait_until("the end of the command", is_gone);
    sandbox.check_nothing_is_left();
}

#[test]
fn a_killed_run_inside_a_killed_run_goes_with_it() {
    let sandbox = Sandbox::new();
    sandbox.write("command.sh", COMMAND);
    let inner = [
        WITHAL,
        "run",
        "-t",
        "-l",
        "lock",
        "-o",
        "out",
        "--",
        "sh",
        "command.sh",
    ];
    let started = sandbox.start_run(&[&["-t", "--"], &inner[..]].concat());
    started.wait_for("ready");
    started.send(Signal::SIGKILL);
    let _ = started.finish_unchecked();
    wait_until("the end of all processes", || {
        sandbox.processes().is_empty()
    });
    sandbox.check_nothing_is_left();
}

#[test]
fn killed_after_any_record_of_its_journal_a_run_is_recovered() {
    let script = "echo new; setsid sh -c 'setsid sleep 1000 &'; sleep 1000 &";
    let arguments = ["-t", "-l", "lock", "-o", "out", "--", "sh", "-c", script];
    for records in 1..=16 {
        let sandbox = Sandbox::new();
        sandbox.write("out", "old\n");
        let started = sandbox.start_run(&arguments);
        let (front, keeper) = (started.pid(), started.try_keeper());
        wait_until("the record, or the end", || {
            let journal = sandbox.journals().first().map(fs::read);
            let lines = |text: Vec<u8>| text.iter().filter(|byte| **byte == b'\n').count();
            let written = journal.and_then(Result::ok).map_or(0, lines);
            let is_over = fs::read_to_string(format!("/proc/{front}/stat"))
                .is_ok_and(|stat| stat.contains(") Z "));
            written >= records || is_over
        });
        let _ = kill(front, Signal::SIGKILL);
        if let Some(keeper) = keeper.or_else(|| started.try_keeper()) {
            let _ = kill(keeper, Signal::SIGKILL);
        }
        let _ = started.finish_unchecked();
        wait_until("the rest to be undone", || {
            sandbox.withal(&["recover"]).check_code(0);
            sandbox.processes().is_empty() && sandbox.journals().is_empty()
        });
        sandbox.check_nothing_is_left();
        let output = sandbox.read("out");
        assert!(output == "old\n" || output == "new\n", "{output:?}");
    }
}

/// Kills front and keeper, neither having the time to notice that the other is gone.
pub(crate) fn kill_both(started: Started<'_>) {
    let keeper = started.keeper();
    // Stopped, it notices nothing; a stopped process can be killed.
    kill(keeper, Signal::SIGSTOP).unwrap();
    kill(started.pid(), Signal::SIGKILL).unwrap();
    kill(keeper, Signal::SIGKILL).unwrap();
    let _ = started.finish_unchecked();
    let is_gone = || {
        let stat = fs::read_to_string(format!("/proc/{keeper}/stat")).unwrap_or_default();
        // Its first thread is a zombie before the others have let go of what they share.
        let threads = fs::read_dir(format!("/proc/{keeper}/task"));
        stat.is_empty() || (stat.contains(") Z ") && threads.is_ok_and(|it| it.count() == 1))
    };
    wait_until("the keeper's end", is_gone);
}
