//! Where the kernel, or a sandbox around withal, lacks something: all is closed, and what cannot be
//! promised is said.

use std::process::Command;
use std::thread;

use nix::libc;
use nix::sys::signal::{Signal, kill};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, apply_filter,
};

use crate::kill_matrix::kill_both;
use crate::support::{Ended, Sandbox, Started, WITHAL, wait_until};

/// What a kernel may lack.
#[derive(Clone, Copy, Debug)]
enum Lack {
    /// Handles of processes, as before Linux 5.3.
    Handles,
    /// Subreapers.
    Reapers,
}

impl Lack {
    fn filter(self) -> BpfProgram {
        let (call, rules, errno) = match self {
            Lack::Handles => (libc::SYS_pidfd_open, Vec::new(), libc::ENOSYS),
            Lack::Reapers => {
                let option = u64::try_from(libc::PR_SET_CHILD_SUBREAPER).unwrap();
                let (length, equals) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
                let is_it = SeccompCondition::new(0, length, equals, option).unwrap();
                let rule = SeccompRule::new(vec![is_it]).unwrap();
                (libc::SYS_prctl, vec![rule], libc::EINVAL)
            }
        };
        let refused = SeccompAction::Errno(errno.unsigned_abs());
        let arch = std::env::consts::ARCH.try_into().unwrap();
        let rules = [(call, rules)].into_iter().collect();
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, arch);
        filter.unwrap().try_into().unwrap()
    }
}

/// Starts `command` where all of `lacks` is missing: a filter is its thread's and its children's.
fn start<'s>(sandbox: &'s Sandbox, lacks: &[Lack], command: Command) -> Started<'s> {
    thread::scope(|scope| {
        let starting = scope.spawn(move || {
            for lack in lacks {
                apply_filter(&lack.filter()).unwrap();
            }
            sandbox.start(command)
        });
        starting.join().unwrap()
    })
}

fn run(sandbox: &Sandbox, lacks: &[Lack], arguments: &[&str]) -> Ended {
    start(sandbox, lacks, sandbox.run_command(arguments)).finish()
}

/// Gates with processes of their own, and one that leaves something behind.
const GATES: [&str; 7] = [
    "-t",
    "-w",
    "service:command=['sleep','1000']",
    "-w",
    "hook:acquire=['touch','held'],release=['rm','held']",
    "-l",
    "lock",
];

/// A command with a daemon that has left its session, and nobody waits for.
const DAEMON: &str = "setsid sh -c 'setsid sleep 1000 & echo $! > daemon' &
    while ! [ -s daemon ]; do sleep 0.01; done; touch ready";

const NO_HANDLES: &str = "withal: there are no handles of processes here, so if withal is killed, \
    both of its processes at once, `withal recover` ends none of the command's: Function not \
    implemented (os error 38)\n";

const NO_REAPERS: &str = "withal: no process can adopt orphans here, so of what leaves the \
    command's tree only that is ended which has kept its environment: Invalid argument (os error \
    22)\n";

#[test]
fn without_handles_of_processes_all_is_closed_and_what_recovery_cannot_do_is_said() {
    let sandbox = Sandbox::new();
    for (script, code) in [("exit 3", 3), ("kill -TERM $$", 143)] {
        let script = format!("{DAEMON}; {script}");
        let command = ["--", "sh", "-c", &script];
        let ended = run(&sandbox, &[Lack::Handles], &[&GATES[..], &command].concat());
        ended.check_code(code);
        assert_eq!(ended.stderr, NO_HANDLES);
        assert!(!sandbox.has("held"));
    }
}

/// Starts a command that goes on, with `GATES`.
fn start_long<'s>(sandbox: &'s Sandbox, lacks: &[Lack]) -> Started<'s> {
    let script = format!("{DAEMON}; exec sleep 1000");
    let arguments = [&GATES[..], &["--", "sh", "-c", &script]].concat();
    let started = start(sandbox, lacks, sandbox.run_command(&arguments));
    started.wait_for("ready");
    started
}

#[test]
fn without_handles_recovery_signals_nobody_and_says_so_and_another_kernel_does_it() {
    let sandbox = Sandbox::new();
    let started = start_long(&sandbox, &[Lack::Handles]);
    kill_both(started);
    let recover = || sandbox.command(WITHAL, &["recover"]);
    let ended = start(&sandbox, &[Lack::Handles], recover()).finish_unchecked();
    ended.check_code(1);
    let why = "no handle of a process can be had";
    assert!(ended.stderr.contains(why), "{ended:?}");
    assert!(sandbox.has("held") && sandbox.journals().len() == 1);
    sandbox.start(recover()).finish().check_code(0);
    assert!(!sandbox.has("held"));
}

#[test]
fn without_handles_recovery_undoes_what_no_process_uses_any_more() {
    let sandbox = Sandbox::new();
    let started = start_long(&sandbox, &[Lack::Handles]);
    kill_both(started);
    for pid in sandbox.processes() {
        kill(pid, Signal::SIGKILL).unwrap();
    }
    wait_until("the end", || sandbox.processes().is_empty());
    let recover = sandbox.command(WITHAL, &["recover"]);
    let ended = start(&sandbox, &[Lack::Handles], recover).finish_unchecked();
    ended.check_code(0);
    sandbox.check_nothing_is_left();
    assert!(!sandbox.has("held"));
}

#[test]
fn without_subreapers_all_is_closed_daemons_too() {
    let sandbox = Sandbox::new();
    let command = ["--", "sh", "-c", &format!("{DAEMON}; exit 3")];
    let ended = run(&sandbox, &[Lack::Reapers], &[&GATES[..], &command].concat());
    ended.check_code(3);
    assert_eq!(ended.stderr, NO_REAPERS);
    assert!(!sandbox.has("held"));
}

#[test]
fn without_subreapers_either_process_is_killed_and_all_is_closed() {
    for kills_keeper in [true, false] {
        let sandbox = Sandbox::new();
        let started = start_long(&sandbox, &[Lack::Reapers]);
        match kills_keeper {
            true => kill(started.keeper(), Signal::SIGKILL).unwrap(),
            false => started.send(Signal::SIGKILL),
        }
        let _ended = started.finish_unchecked();
        wait_until("the end of all", || sandbox.processes().is_empty());
        wait_until("the undoing", || sandbox.journals().is_empty());
        sandbox.check_nothing_is_left();
        assert!(!sandbox.has("held"), "keeper: {kills_keeper}");
    }
}

#[test]
fn without_both_what_may_be_left_is_said_and_the_rest_is_closed() {
    let sandbox = Sandbox::new();
    let lacks = [Lack::Handles, Lack::Reapers];
    let command = ["--", "sh", "-c", &format!("{DAEMON}; exit 3")];
    let arguments = [&GATES[..], &command].concat();
    let started = start(&sandbox, &lacks, sandbox.run_command(&arguments));
    let ended = started.finish_unchecked();
    ended.check_code(3);
    let daemon = sandbox.read("daemon");
    let left = format!(
        "withal: the command may have left something: {} (sleep): no handle",
        daemon.trim()
    );
    assert!(ended.stderr.contains(&left), "{ended:?}");
    assert!(!sandbox.has("held") && sandbox.journals().is_empty());
    assert_eq!(sandbox.processes().len(), 1);
}

#[test]
fn without_handles_there_is_no_private_server_and_nothing_of_it() {
    let sandbox = Sandbox::new();
    let arguments = [&GATES[..], &["-w", "postgres-server", "--", "touch", "ran"]].concat();
    let ended = run(&sandbox, &[Lack::Handles], &arguments);
    ended.check_code(125);
    let why = "no handle of its process can be had (`pidfd_open`, Linux 5.3)";
    assert!(ended.stderr.contains(why), "{ended:?}");
    assert!(!sandbox.has("ran") && !sandbox.has("held"));
}

/// `withal run ARGUMENTS` as process 1 of a namespace of its own.
fn as_first(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    sandbox.command(
        "unshare",
        &[&namespace()[..], &[WITHAL, "run"], arguments].concat(),
    )
}

fn namespace() -> Vec<&'static str> {
    let mut options = vec!["--pid", "--fork", "--mount-proc"];
    if !nix::unistd::geteuid().is_root() {
        options.insert(0, "-Ur");
    }
    options
}

/// Whether this machine lets us have a namespace of process ids; some sandboxes do not.
fn can_be_first() -> bool {
    let tried = Command::new("unshare")
        .args(namespace())
        .arg("true")
        .output();
    let can = tried.as_ref().is_ok_and(|tried| tried.status.success());
    if !can {
        eprintln!("not tried, as `unshare` makes no namespace of process ids here: {tried:?}");
    }
    can
}

#[test]
fn as_process_1_all_is_closed_on_every_path_and_signals_are_statuses() {
    if !can_be_first() {
        return;
    }
    for (options, script, code) in [
        (&[][..], "exit 3", 3),
        (&[], "kill -KILL $$", 137),
        (&["-T", "50ms"], "sleep 1000", 124),
        (
            &["-k", "10ms"],
            "trap '' TERM; kill -TERM 1; sleep 1000",
            137,
        ),
    ] {
        let sandbox = Sandbox::new();
        let script = format!("{DAEMON}; {script}");
        let arguments = [options, &GATES, &["--", "sh", "-c", &script]].concat();
        let ended = sandbox.start(as_first(&sandbox, &arguments)).finish();
        ended.check_code(code);
        assert!(sandbox.has("ready") && !sandbox.has("held"), "{ended:?}");
    }
}

#[test]
fn process_1_that_is_killed_is_recovered_from_outside() {
    if !can_be_first() {
        return;
    }
    let sandbox = Sandbox::new();
    let script = format!("{DAEMON}; echo $$ > inner; exec sleep 1000");
    let arguments = [&GATES[..], &["--", "sh", "-c", &script]].concat();
    let started = sandbox.start(as_first(&sandbox, &arguments));
    started.wait_for("inner");
    // The child of `unshare`.
    kill(started.keeper(), Signal::SIGKILL).unwrap();
    let _ended = started.finish_unchecked();
    wait_until("the namespace to end", || sandbox.processes().is_empty());
    assert!(sandbox.has("held") && sandbox.journals().len() == 1);
    let recover = sandbox.command(WITHAL, &["recover"]);
    sandbox.start(recover).finish().check_code(0);
    assert!(!sandbox.has("held"));
}

#[test]
fn a_file_that_may_not_grow_is_an_error_like_any_other() {
    let sandbox = Sandbox::new();
    let check = |blocks: u32, options: &str, script: &str, code: i32, expected: &str| {
        sandbox.write("script", script);
        // Whoever has started the tests may ignore the signal.
        let run = "env --default-signal=XFSZ $W run -t";
        let run = format!("ulimit -f {blocks}; {run} {options} -- sh script; echo $? >&2");
        let ended = sandbox.shell(&format!("({run}) 2>&1 >/dev/null | cat"));
        let (said, status) = ended
            .stdout
            .trim_end()
            .rsplit_once('\n')
            .unwrap_or_default();
        assert_eq!(status, code.to_string(), "{script}: {ended:?}");
        assert!(said.contains(expected), "{script}: {ended:?}");
    };
    let too_large = "File too large";
    check(0, "-l lock", "touch started", 125, too_large);
    check(0, "--no-keeper", "touch started", 125, too_large);
    check(0, "--no-journal", "touch started", 125, too_large);
    check(1, "-e A=1", "touch started", 125, too_large);
    assert!(!sandbox.has("started"));
    // Its writes are refused as ours are, if it says so; else it dies of them, as without us.
    let write = "head -c 1000000 /dev/zero > zeros";
    let script = format!("trap '' XFSZ; {write} || exit 7");
    check(64, "", &script, 7, too_large);
    check(64, "", &format!("exec {write}"), 128 + libc::SIGXFSZ, "");
}

#[test]
fn a_log_whose_files_may_not_grow_goes_on_in_others() {
    let sandbox = Sandbox::new();
    let script = "yes line | head -n 20000";
    let run = format!("ulimit -f 64; exec $W run --log log -- sh -c '{script}' >/dev/null 2>&1");
    sandbox.shell(&run).check_code(0);
    let log = sandbox.feed(&["log", "cat", "log"], b"");
    assert_eq!(log.stdout, "line\n".repeat(20_000).into_bytes());
}

#[test]
fn a_run_that_cannot_begin_for_want_of_descriptors_says_so_and_leaves_nothing() {
    for options in ["", "--no-keeper", "--no-journal"] {
        let mut codes = Vec::new();
        // With fewer the libraries of the program itself cannot be opened.
        for most in 4..41 {
            let sandbox = Sandbox::new();
            let run = format!("ulimit -n {most}; exec $W run -l lock {options} -- true");
            let ended = sandbox.shell(&run);
            let is_told = ended
                .stderr
                .lines()
                .all(|line| line.starts_with("withal: "));
            assert!(is_told, "{most}: {ended:?}");
            assert!(ended.code() == 0 || !ended.stderr.is_empty(), "{most}");
            if ended.code() != 0 {
                let is_clear = ended.stderr.contains("raise the limit with `ulimit -n`\n");
                assert!(is_clear, "{most}: {ended:?}");
            }
            codes.push(ended.code());
        }
        assert_eq!((codes[0], codes[codes.len() - 1]), (125, 0), "{codes:?}");
        let is_known = |code: &i32| [0, 125].contains(code);
        assert!(codes.iter().all(is_known), "{codes:?}");
    }
}

#[test]
fn gates_in_want_of_descriptors_say_so_and_leave_nothing() {
    for gates in [
        "-t -l lock -o out",
        "--log log",
        "--sqlite DB",
        "-w hook:acquire='[\"true\"]'",
    ] {
        let mut codes = Vec::new();
        for most in 4..41 {
            let sandbox = Sandbox::new();
            let run = format!("ulimit -n {most}; exec $W run {gates} -- true");
            let ended = sandbox.shell(&run);
            let is_clear = ended.code() == 0 || ended.stderr.contains("raise the limit with");
            assert!(is_clear, "{gates}, {most}: {ended:?}");
            codes.push(ended.code());
        }
        assert_eq!((codes[0], codes[codes.len() - 1]), (125, 0), "{codes:?}");
        let is_known = |code: &i32| [0, 125].contains(code);
        assert!(codes.iter().all(is_known), "{gates}: {codes:?}");
    }
}

#[test]
fn a_gate_that_was_not_begun_for_want_of_descriptors_is_not_left_to_be_undone() {
    let mut times = 0;
    for most in 5..40 {
        let sandbox = Sandbox::new();
        let run = format!("ulimit -n {most}; exec $W run -t -- true");
        let ended = sandbox.start_shell(&run).finish_unchecked();
        if ended.stderr.contains("cannot sync the journal") {
            times += 1;
            ended.check_code(125);
            sandbox.check_nothing_is_left();
        }
    }
    assert!(times > 0);
}
