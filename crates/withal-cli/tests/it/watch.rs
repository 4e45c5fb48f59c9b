//! `withal watch` with real processes, sockets and terminals.
#![allow(clippy::indexing_slicing, reason = "a test")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::tcgetattr;
use nix::unistd::{Pid, gettid, getuid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::support::{Sandbox, Started, WITHAL, wait_until};

/// Samples as fast as tests want them, each of them full.
const FAST: [&str; 3] = ["--interval=20ms", "--cpu=100", "--json"];

/// A shell that does what it is told, so that descriptors come and go when a test wants it.
struct Shell {
    child: Child,
    commands: Option<ChildStdin>,
}

impl Shell {
    fn new(sandbox: &Sandbox) -> Shell {
        let mut command = sandbox.command("bash", &["--norc"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let commands = child.stdin.take();
        let mut shell = Shell { child, commands };
        shell.tell("touch ready");
        wait_until("the shell", || sandbox.has("ready"));
        shell
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }

    fn tell(&mut self, command: &str) {
        writeln!(self.commands.as_mut().unwrap(), "{command}").unwrap();
    }

    fn open_file(&mut self) {
        self.tell("exec {fd}</etc/passwd");
    }

    fn end(&mut self) {
        drop(self.commands.take());
        let _ = self.child.wait().unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A watch whose lines of JSON are read as they come.
struct Watch {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(sandbox: &Sandbox, arguments: &[&str]) -> Watch {
        Watch::start_with(sandbox, &[&FAST[..], arguments].concat())
    }

    fn start_with(sandbox: &Sandbox, arguments: &[&str]) -> Watch {
        let mut child = sandbox.pipe(&[&["watch"], arguments].concat());
        let stdout = child.stdout.take().unwrap();
        Watch {
            child,
            lines: BufReader::new(stdout).lines(),
        }
    }

    fn next(&mut self) -> Value {
        let line = self.lines.next().expect("withal still writes").unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The first sample that is so.
    #[track_caller]
    fn wait_for(&mut self, what: &str, mut is_so: impl FnMut(&Value) -> bool) -> Value {
        for _ in 0..1_000 {
            let sample = self.next();
            assert_eq!(sample["event"], "sample", "waited in vain: {what}");
            if is_so(&sample) {
                return sample;
            }
        }
        panic!("waited in vain: {what}")
    }

    fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// The last line, and the exit status.
    fn end(mut self) -> (Value, i32) {
        let end = loop {
            let line = self.next();
            if line["event"] == "end" {
                break line;
            }
        };
        assert!(self.lines.next().is_none(), "the last line is the last");
        (end, code(&mut self.child))
    }
}

fn code(child: &mut Child) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let status = child.wait().unwrap();
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap()
}

fn is_leaking(sample: &Value) -> bool {
    sample["verdict"] == "leaking"
}

#[test]
fn a_process_that_keeps_its_files_leaks_until_the_end() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let mut watch = Watch::start(&sandbox, &["--fail", &shell.pid()]);
    let sample = watch.wait_for("the leak", |sample| {
        shell.open_file();
        is_leaking(sample)
    });
    let files = &sample["kinds"]["file"];
    assert_eq!(files["verdict"], "leaking", "{sample}");
    assert!(files["slope_per_minute"].as_f64().unwrap() > 0.5);
    assert!(files["z"].as_f64().unwrap() >= 3.3);
    assert!(files["seconds_to_limit"].is_u64());
    assert_eq!(sample["name"], "bash");
    shell.end();
    let (end, code) = watch.end();
    assert_eq!(end["verdict"], "leaking", "{end}");
    assert_eq!(end["kind"], "file");
    assert_eq!(end["ended"], "process");
    let sentence = end["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("LEAKING: file went from"),
        "{sentence}"
    );
    assert_eq!(code, 1);
}

#[test]
fn what_a_process_closes_at_its_end_does_not_hide_its_leak() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let mut watch = Watch::start(&sandbox, &["--fail", &shell.pid()]);
    let _ = watch.wait_for("the leak", |sample| {
        shell.open_file();
        is_leaking(sample)
    });
    let before = watch.next()["fds"].as_u64().unwrap();
    shell.tell("for fd in {10..99}; do eval \"exec $fd<&-\"; done");
    let _ = watch.wait_for("the fall", |sample| {
        sample["fds"].as_u64().unwrap() < before / 2
    });
    shell.end();
    let (end, code) = watch.end();
    assert_eq!((&end["verdict"], code), (&"leaking".into(), 1), "{end}");
}

#[test]
fn a_process_that_closes_what_it_opens_is_steady() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let mut watch = Watch::start(&sandbox, &["--fail", &shell.pid()]);
    let mut samples = 0;
    let sample = watch.wait_for("60 samples", |_| {
        samples += 1;
        shell.tell(match samples % 5 {
            0 | 1 | 3 => "exec {fd}</etc/passwd",
            _ => "for fd in {10..20}; do eval \"exec $fd<&-\"; done",
        });
        samples == 60
    });
    assert_ne!(sample["verdict"], "leaking", "{sample}");
    assert!(sample["kinds"]["file"]["max"].as_u64() > Some(0));
    watch.send(Signal::SIGTERM);
    let (end, code) = watch.end();
    assert_eq!(end["ended"], "asked");
    assert_ne!(end["verdict"], "leaking", "{end}");
    assert_eq!(code, 0);
}

#[test]
fn sockets_whose_peer_has_closed_are_counted_with_that_peer() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let mut watch = Watch::start(&sandbox, &["--fail", &shell.pid()]);
    let connect = format!("exec {{fd}}<>/dev/tcp/127.0.0.1/{}", address.port());
    let sample = watch.wait_for("the leak", |sample| {
        shell.tell(&connect);
        drop(server.accept().unwrap());
        is_leaking(sample)
    });
    assert_eq!(sample["kinds"]["tcp"]["verdict"], "leaking", "{sample}");
    let group = &sample["tcp"][0];
    assert_eq!(group["state"], "CLOSE_WAIT");
    assert_eq!(group["peer"], address.to_string());
    assert_eq!(group["incoming"], false);
    assert_eq!(group["left_in_window"], 0);
    assert!(group["count"].as_u64() >= Some(15), "{group}");
    assert!(
        group["oldest_seconds"].as_f64() >= Some(0.02 * 15.0),
        "{group}"
    );
    shell.end();
    let (end, code) = watch.end();
    let sentence = end["sentence"].as_str().unwrap();
    let cause = format!("of them → {address} wait in CLOSE_WAIT: the other side has closed");
    assert!(sentence.contains(&cause), "{sentence}");
    assert_eq!(code, 1);
}

#[test]
fn each_kind_of_descriptor_is_known() {
    use rustix::event::{EventfdFlags, epoll, eventfd};
    use rustix::fs::{MemfdFlags, inotify, memfd_create};
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    use rustix::time::{TimerfdClockId, TimerfdFlags, timerfd_create};

    let sandbox = Sandbox::new();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let (accepted, _) = server.accept().unwrap();
    // More of each than other tests, which run in this process, too, may have.
    let many = 20;
    let mut held: Vec<OwnedFd> = Vec::new();
    for _ in 0..many {
        held.push(UdpSocket::bind("127.0.0.1:0").unwrap().into());
        held.push(UnixDatagram::unbound().unwrap().into());
        held.push(std::io::pipe().unwrap().0.into());
        held.push(tempfile::tempfile().unwrap().into());
        held.push(File::open("/etc/passwd").unwrap().into());
        held.push(File::open("/").unwrap().into());
        held.push(File::open("/dev/zero").unwrap().into());
        held.push(eventfd(0, EventfdFlags::CLOEXEC).unwrap());
        held.push(epoll::create(epoll::CreateFlags::CLOEXEC).unwrap());
        held.push(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).unwrap());
        held.push(inotify::init(inotify::CreateFlags::CLOEXEC).unwrap());
        held.push(memfd_create("test", MemfdFlags::CLOEXEC).unwrap());
        held.push(pidfd_open(getpid(), PidfdFlags::empty()).unwrap());
    }
    let mut watch = Watch::start(&sandbox, &[&std::process::id().to_string()]);
    let sample = watch.next();
    for kind in [
        "udp",
        "unix",
        "pipe",
        "deleted",
        "file",
        "dir",
        "chr",
        "eventfd",
        "eventpoll",
        "timerfd",
        "inotify",
        "memfd",
        "pidfd",
    ] {
        let count = sample["kinds"][kind]["now"].as_u64();
        assert!(count >= Some(many), "{kind}: {sample}");
    }
    let groups = sample["tcp"].as_array().unwrap();
    let has = |state: &str, peer: Value, incoming: bool| {
        let is_it = |group: &Value| {
            group["state"] == state && group["peer"] == peer && group["incoming"] == incoming
        };
        assert!(groups.iter().any(is_it), "{state} {peer}: {sample}");
    };
    has("LISTEN", Value::Null, false);
    has("ESTABLISHED", address.to_string().into(), false);
    has("ESTABLISHED", "127.0.0.1".into(), true);
    drop((client, accepted, held));
    watch.send(Signal::SIGTERM);
    let (_, code) = watch.end();
    assert_eq!(code, 128 + 15);
}

#[test]
fn descriptors_of_the_processes_below_are_summed_for_a_tree() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    shell.tell("for n in 1 2 3; do (exec {a}</etc/passwd {b}</etc/passwd; exec sleep 1000) & done");
    let mut tree = Watch::start(&sandbox, &["--tree", &shell.pid()]);
    let sample = tree.wait_for("the files", |sample| {
        sample["kinds"]["file"]["now"].as_u64() >= Some(6) && sample["processes"] == 4
    });
    assert_eq!(sample["limit"], Value::Null);
    // One that comes later counts, too, and still does when its parent has ended.
    shell.tell("(sleep 1000 & while ! [ -e go ]; do sleep 0.01; done) &");
    let _ = tree.wait_for("the late ones", |sample| {
        sample["processes"].as_u64() >= Some(6)
    });
    sandbox.write("go", "");
    let _ = tree.wait_for("the end of its parent", |sample| sample["processes"] == 5);
    for _ in 0..5 {
        assert_eq!(tree.next()["processes"], 5);
    }
    shell.end();
    let (end, _) = tree.end();
    assert_eq!(end["ended"], "process");
}

#[test]
fn where_looking_costs_too_much_only_the_number_is_read_in_between() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let arguments = ["--cpu=0.5", "--interval=5ms", "--json", &shell.pid()];
    let mut watch = Watch::start_with(&sandbox, &arguments);
    let first = watch.next();
    assert_eq!(first["full"], true);
    let files = first["kinds"]["file"]["now"].clone();
    let sample = watch.wait_for("a cheap sample", |sample| sample["full"] == false);
    assert_eq!(sample["kinds"], Value::Null);
    assert!(sample["full_every"].as_u64() > Some(1), "{sample}");
    assert!(sample["fds"].as_u64() >= files.as_u64(), "{sample}");
    shell.end();
}

#[test]
fn who_is_not_there_or_may_not_be_seen_is_3_and_wrong_usage_is_2() {
    let sandbox = Sandbox::new();
    let check = |arguments: &[&str], code: i32, message: &str| {
        let arguments = [&["watch"], arguments].concat();
        let ended = sandbox.start(sandbox.command(WITHAL, &arguments)).finish();
        ended.check_code(code);
        assert_eq!(
            ended.stderr,
            format!("withal: {message}\n"),
            "{arguments:?}"
        );
        assert_eq!(ended.stdout, "");
    };
    let not_one = "not a process id; they are numbers from 1 on";
    for wrong in ["0", "-1", "-4711", "99999999999"] {
        check(&[wrong], 2, &format!("`{wrong}`: {not_one}"));
    }
    check(
        &["make"],
        2,
        "`make`: not a process id; write a number as `pidof` prints it, or, to start and watch a \
         command, `withal watch -- make`",
    );
    check(
        &["--plain"],
        2,
        "nothing to watch: write a process id, as in `withal watch 4711`, or a command, as in \
         `withal watch -- ./server`",
    );
    check(
        &["1", "--", "true"],
        2,
        "a process and a command: watch one of them; to watch a command, write `withal watch -- \
         COMMAND`",
    );
    check(
        &["--interval", "0", "1"],
        2,
        "--interval: `0`: too short; write at least `1ms`",
    );
    check(
        &["--window", "10", "1"],
        2,
        "--window: a verdict takes 20 samples; write at least `20s`, or a shorter `--interval`",
    );
    check(
        &["--fail", "--for", "10", "1"],
        2,
        "--for: a verdict takes 20 samples; write at least `20s`, or a shorter `--interval`",
    );
    check(
        &["--cpu", "0", "1"],
        2,
        "--cpu: `0`: not a share of a core; write percent, as `0.5` or `5`",
    );
    let gone = i32::MAX.to_string();
    check(
        &[&gone],
        3,
        &format!("{gone}: no such process; `ps -e` lists those that are there"),
    );
    let thread = std::thread::spawn(gettid).join();
    drop(thread);
    std::thread::scope(|scope| {
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let _ = scope.spawn(move || {
            tell.send(gettid().to_string()).unwrap();
            let _ = ended.recv();
        });
        let thread = told.recv().unwrap();
        let process = std::process::id();
        check(
            &[&thread],
            3,
            &format!("{thread}: a thread of process {process}; watch that"),
        );
        drop(end);
    });
    check(
        &["-o", "/no/such/file", "1"],
        125,
        "watch: --output: cannot write `/no/such/file`: No such file or directory (os error 2)",
    );
}

#[test]
fn a_process_of_somebody_else_needs_permission() {
    // As root, look at ourselves as nobody; else, at the first process, which is root's.
    let mut command = Command::new(WITHAL);
    let pid = match getuid().is_root() {
        true => {
            let _ = command.uid(65_534).gid(65_534);
            std::process::id()
        }
        false => 1,
    };
    let _ = command.args(["watch", &pid.to_string()]).current_dir("/");
    let output = command.output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let expected = format!(
        "withal: {pid}: no permission to see its descriptors; run withal as the user it runs as, \
         or as root\n"
    );
    assert_eq!(stderr, expected);
}

#[test]
fn a_process_that_ends_is_told_with_its_last_verdict() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let pid = shell.pid();
    let arguments = ["watch", "--interval=20ms", "--cpu=100", &pid];
    let mut child = sandbox.pipe(&arguments);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains(" fds  "), "{first}");
    assert!(first.contains("  file "), "{first}");
    for _ in 0..20 {
        let _ = lines.next().unwrap().unwrap();
    }
    shell.end();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let [.., verdict, last] = &rest[..] else {
        panic!("{rest:?}");
    };
    assert!(verdict.starts_with(" verdict: steady: over "), "{rest:?}");
    let words = format!(" {pid} (bash) has ended; this is how it was last");
    assert_eq!(*last, words);
    let header = format!("withal watch {pid}  (bash, up ");
    assert!(
        rest.iter().any(|line| line.starts_with(&header)),
        "{rest:?}"
    );
    assert_eq!(code(&mut child), 0);
}

#[test]
fn too_few_samples_are_no_verdict() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let mut watch = Watch::start(&sandbox, &["--fail", &shell.pid()]);
    let _ = watch.next();
    shell.end();
    let (end, code) = watch.end();
    assert_eq!((&end["verdict"], code), (&"unknown".into(), 3), "{end}");
}

#[test]
fn time_ends_a_watch() {
    let sandbox = Sandbox::new();
    let shell = Shell::new(&sandbox);
    let watch = Watch::start(&sandbox, &["--fail", "--for=2s", &shell.pid()]);
    let (end, code) = watch.end();
    assert_eq!((&end["ended"], code), (&"time".into(), 0), "{end}");
    assert_eq!(end["verdict"], "steady");
}

fn watch_command<'a>(sandbox: &'a Sandbox, arguments: &[&str]) -> Started<'a> {
    let arguments = [&["watch", "--interval=20ms", "--cpu=100"], arguments].concat();
    sandbox.start(sandbox.command(WITHAL, &arguments))
}

#[test]
fn a_command_has_our_streams_and_gives_its_status() {
    let sandbox = Sandbox::new();
    for code in [0, 1, 2, 3, 77] {
        let script = format!("echo out; echo err >&2; exit {code}");
        let ended = watch_command(&sandbox, &["--", "sh", "-c", &script]).finish();
        ended.check_code(code);
        assert_eq!(ended.stdout, "out\n");
        assert!(ended.stderr.contains("err\n"), "{ended:?}");
        assert!(ended.stderr.contains("(sh) has ended"), "{ended:?}");
    }
    let killed = watch_command(&sandbox, &["--", "sh", "-c", "kill -9 $$"]).finish();
    assert_eq!(killed.signal(), Some(9), "{killed:?}");
    let missing = watch_command(&sandbox, &["--", "no-such-command"]).finish();
    missing.check_code(127);
    assert_eq!(
        missing.stderr,
        "withal: no-such-command: command not found\n"
    );
}

#[test]
fn a_command_that_leaks_fails() {
    let sandbox = Sandbox::new();
    let script = "for n in {1..60}; do exec {fd}</etc/passwd; sleep 0.02; done; exit 0";
    let leaks = watch_command(&sandbox, &["--fail", "--", "bash", "-c", script]).finish();
    leaks.check_code(1);
    assert!(
        leaks.stderr.contains("withal: LEAKING: file went from"),
        "{leaks:?}"
    );
    assert_eq!(leaks.stdout, "");
    let tolerated = watch_command(&sandbox, &["--", "bash", "-c", script]).finish();
    tolerated.check_code(0);
    let steady = "for n in {1..60}; do exec 9</etc/passwd; exec 9<&-; sleep 0.02; done; exit 5";
    let steady = watch_command(&sandbox, &["--fail", "--", "bash", "-c", steady]).finish();
    steady.check_code(5);
}

#[test]
fn a_command_gets_the_signals() {
    let sandbox = Sandbox::new();
    let script = "trap 'exit 7' TERM; touch ready; while :; do sleep 0.01; done";
    let started = watch_command(&sandbox, &["--", "sh", "-c", script]);
    started.wait_for("ready");
    started.send(Signal::SIGTERM);
    started.finish().check_code(7);
}

#[test]
fn a_command_is_stopped_when_its_time_is_over() {
    let sandbox = Sandbox::new();
    let script = "trap 'touch asked; exit 7' TERM; while :; do sleep 0.01; done";
    let ended = watch_command(&sandbox, &["--for=2s", "--fail", "--", "sh", "-c", script]).finish();
    ended.check_code(0);
    assert!(sandbox.has("asked"));
}

#[test]
fn samples_go_to_a_file_while_a_command_runs() {
    let sandbox = Sandbox::new();
    let arguments = [
        "--json",
        "-o",
        "samples",
        "--",
        "sh",
        "-c",
        "sleep 0.2; echo done",
    ];
    let ended = watch_command(&sandbox, &arguments).finish();
    ended.check_code(0);
    assert_eq!((&ended.stdout[..], &ended.stderr[..]), ("done\n", ""));
    let lines = sandbox.read("samples");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() >= 2, "{lines:?}");
    assert_eq!(lines.last().unwrap()["event"], "end");
}

#[test]
fn a_reader_that_has_gone_ends_the_watch() {
    let sandbox = Sandbox::new();
    let script = "$W watch --interval=20ms $$ | head -n 1 > line; echo ${PIPESTATUS[0]} > code";
    let mut command = sandbox.command("bash", &["-c", script]);
    let _ = command.env("W", WITHAL);
    let ended = sandbox.start(command).finish();
    ended.check_code(0);
    assert_eq!(ended.stderr, "");
    assert_eq!(sandbox.read("code"), "141\n");
}

/// How long a terminal may show nothing, and how much it may show instead of what is waited for.
const DEADLINE: Timespec = Timespec {
    tv_sec: 30,
    tv_nsec: 0,
};
const LONGEST: usize = 30_000;

/// `withal watch` on a terminal of its own.
struct Terminal<'a> {
    started: Started<'a>,
    master: File,
    slave: OwnedFd,
    shown: Vec<u8>,
    /// Its modes before withal had it.
    before: String,
}

impl<'a> Terminal<'a> {
    fn start(sandbox: &'a Sandbox, variables: &[(&str, &str)], pid: &str) -> Terminal<'a> {
        Terminal::start_with(sandbox, variables, &[pid])
    }

    fn start_with(
        sandbox: &'a Sandbox,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Terminal<'a> {
        let size = Winsize {
            ws_row: 30,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let before = modes(&pty.slave);
        let fast = ["--ctty", WITHAL, "watch", "--interval=20ms", "--cpu=100"];
        let arguments = [&fast[..], arguments].concat();
        let mut command = sandbox.command("setsid", &arguments);
        let _ = command
            .stdin(pty.slave.try_clone().unwrap())
            .stdout(pty.slave.try_clone().unwrap())
            .env_remove("NO_COLOR")
            .env("TERM", "xterm-256color")
            .envs(variables.iter().copied());
        Terminal {
            started: sandbox.start(command),
            master: File::from(pty.master),
            slave: pty.slave,
            shown: Vec::new(),
            before,
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }

    /// Reads what is shown until it holds `text` behind `from`; what is behind that.
    ///
    /// Only cells that differ are drawn, and a blank one mostly does not: words are looked for
    /// without the blanks and the moves between them.
    #[track_caller]
    fn wait_for(&mut self, text: &str, from: usize) -> usize {
        let find = |shown: &[u8]| {
            let rest = String::from_utf8_lossy(&shown[from..]);
            match text.strip_prefix('\x1b') {
                Some(_) => rest.find(text).map(|at| from + at + text.len()),
                None => words(&rest).contains(&words(text)).then_some(shown.len()),
            }
        };
        let before = self.shown.len();
        loop {
            if let Some(at) = find(&self.shown) {
                return at;
            }
            let mut polled = [PollFd::new(&self.master, PollFlags::IN)];
            let ready = poll(&mut polled, Some(&DEADLINE)).unwrap();
            let shown = String::from_utf8_lossy(&self.shown[from..]);
            let is_late = self.shown.len() > before + LONGEST;
            assert!(
                ready > 0 && !is_late,
                "waited in vain: {text:?} in {shown:?}"
            );
            let mut buffer = [0; 4_096];
            let read = self.master.read(&mut buffer).unwrap();
            self.shown.extend(&buffer[..read]);
        }
    }
}

fn modes(terminal: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(terminal).unwrap())
}

/// A text without blanks and without what moves the cursor or changes colours.
fn words(shown: &str) -> String {
    let mut pieces = shown.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    let rest = pieces.map(|piece| piece.trim_start_matches(|c: char| !c.is_ascii_alphabetic()));
    let rest = rest.map(|piece| piece.get(1..).unwrap_or_default());
    let mut text: String = std::iter::once(first.as_str()).chain(rest).collect();
    text.retain(|c| c != ' ');
    text
}

const ENTER_SCREEN: &str = "\x1b[?1049h";
const LEAVE_SCREEN: &str = "\x1b[?1049l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// A chart is shown, `end` ends it, and the terminal is as it was; the exit status, and all that was
/// shown.
#[track_caller]
fn check_given_back(end: impl FnOnce(&mut Terminal<'_>, &mut Shell)) -> (i32, String) {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let mut terminal = Terminal::start(&sandbox, &[], &shell.pid());
    let shown = terminal.wait_for(ENTER_SCREEN, 0);
    let _ = terminal.wait_for("⠤", shown);
    assert_ne!(modes(&terminal.slave), terminal.before);
    end(&mut terminal, &mut shell);
    let left = terminal.wait_for(LEAVE_SCREEN, shown);
    let _ = terminal.wait_for(SHOW_CURSOR, shown);
    // The table is printed where it stays.
    let _ = terminal.wait_for("verdict: ", left);
    let code = terminal.started.finish_unchecked().code();
    assert_eq!(modes(&terminal.slave), terminal.before);
    (code, String::from_utf8_lossy(&terminal.shown).into_owned())
}

#[test]
fn the_terminal_is_given_back_however_the_watch_ends() {
    let (code, shown) = check_given_back(|terminal, _| terminal.press(b"q"));
    assert_eq!(code, 0);
    let is_braille = |c: char| ('\u{2801}'..='\u{28ff}').contains(&c);
    assert!(shown.contains(is_braille), "{shown}");
    let (code, _) = check_given_back(|terminal, _| terminal.press(b"\x03"));
    assert_eq!(code, 0);
    let (code, _) = check_given_back(|terminal, _| terminal.started.send(Signal::SIGTERM));
    assert_eq!(code, 143);
    let (code, shown) = check_given_back(|_, shell| shell.end());
    assert_eq!(code, 0);
    assert!(shown.contains("has ended"), "{shown}");
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_takes_it_again() {
    let (code, _) = check_given_back(|terminal, _| {
        let from = terminal.shown.len();
        terminal.press(b"\x1a");
        let left = terminal.wait_for(LEAVE_SCREEN, from);
        // A process group without a shell is not stopped by that; it goes on at once.
        let again = terminal.wait_for(ENTER_SCREEN, left);
        let _ = terminal.wait_for("k next kind", again);
        terminal.press(b"q");
    });
    assert_eq!(code, 0);
}

#[test]
fn no_colour_is_used_where_none_is_wanted() {
    let is_coloured = |variables: &[(&str, &str)]| {
        let sandbox = Sandbox::new();
        let shell = Shell::new(&sandbox);
        let mut terminal = Terminal::start(&sandbox, variables, &shell.pid());
        let shown = terminal.wait_for("slope/min", 0);
        terminal.press(b"q");
        let _ = terminal.wait_for(LEAVE_SCREEN, shown);
        let _ = terminal.started.finish_unchecked();
        let shown = String::from_utf8_lossy(&terminal.shown).into_owned();
        shown.contains("\x1b[38;5;")
    };
    assert!(is_coloured(&[]));
    assert!(!is_coloured(&[("NO_COLOR", "1")]));
}

#[test]
fn plain_is_plain_on_a_terminal_too() {
    let sandbox = Sandbox::new();
    let mut shell = Shell::new(&sandbox);
    let mut terminal = Terminal::start_with(&sandbox, &[], &["--plain", &shell.pid()]);
    let shown = terminal.wait_for(" fds  ", 0);
    shell.end();
    let _ = terminal.wait_for("has ended", shown);
    terminal.started.finish_unchecked().check_code(0);
    assert!(!terminal.shown.contains(&b'\x1b'));
}
