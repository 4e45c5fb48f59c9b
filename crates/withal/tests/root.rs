//! `#[withal::main]` in real processes: without arguments this program starts itself with some, and
//! watches how that ends.
#![allow(
    clippy::print_stdout,
    clippy::unit_arg,
    clippy::unwrap_used,
    missing_docs,
    unused_results,
    reason = "a test"
)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use withal::{AsyncContextManager, ExitCase, Root, async_with};

fn main() -> ExitCode {
    let mode = std::env::args().nth(1);
    if let Some(mode) = mode.filter(|mode| !mode.starts_with('-')) {
        return child(&mode);
    }
    the_exit_code_is_that_of_main();
    a_signal_cancels_main_and_the_exits_are_awaited();
    signals_that_came_in_ignored_stay_ignored();
    the_second_signal_shortens_the_grace_and_the_first_gives_the_status();
    a_second_signal_leaves_the_hurry();
    a_third_signal_ends_the_wait_at_once();
    println!("6 passed, 0 failed");
    ExitCode::SUCCESS
}

/// Starts this program, with the signals at their defaults: a shell without job control starts what
/// it does not wait for with Ctrl-C ignored.
fn start(mode: &str) -> (Child, BufReader<ChildStdout>) {
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,INT,TERM");
    start_by(command.arg(std::env::current_exe().unwrap()).arg(mode))
}

fn start_by(command: &mut Command) -> (Child, BufReader<ChildStdout>) {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    (child, output)
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([format!("-{name}"), child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

fn finish(mut child: Child, mut output: BufReader<ChildStdout>) -> (ExitStatus, String) {
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    (child.wait().unwrap(), text)
}

fn the_exit_code_is_that_of_main() {
    for (mode, code) in [("ok", 0), ("error", 1)] {
        let (child, output) = start(mode);
        let (status, text) = finish(child, output);
        assert_eq!(status.code(), Some(code), "{mode}");
        assert!(text.ends_with("exited\n"), "{text}");
    }
}

fn a_signal_cancels_main_and_the_exits_are_awaited() {
    for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1)] {
        let (child, mut output) = start("wait");
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "entered\n");
        signal(&child, name);
        let (status, text) = finish(child, output);
        assert_eq!(status.code(), Some(128 + number), "{name}");
        assert_eq!(
            text,
            format!("body dropped\nexiting Signalled({number})\nexited\n")
        );
    }
}

fn signals_that_came_in_ignored_stay_ignored() {
    let program = std::env::current_exe().unwrap();
    let mut nohup = Command::new("nohup");
    nohup.arg(&program).arg("wait");
    let mut trap = Command::new("sh");
    trap.args(["-c", "trap '' HUP INT; exec \"$0\" wait"]);
    trap.arg(&program);
    let (hangup, interrupt) = (1 << 0, 1 << 1);
    for (mut command, ignored) in [(nohup, hangup), (trap, hangup | interrupt)] {
        let (child, mut output) = start_by(&mut command);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "entered\n");
        assert_eq!(signals_in(&child, "SigIgn:") & ignored, ignored);
        assert_eq!(signals_in(&child, "SigCgt:") & ignored, 0);
        signal(&child, "HUP");
        signal(&child, "TERM");
        let (status, text) = finish(child, output);
        assert_eq!(status.code(), Some(128 + 15));
        assert_eq!(text, "body dropped\nexiting Signalled(15)\nexited\n");
    }
}

/// A set of signals that the kernel tells of a process.
fn signals_in(child: &Child, set: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix(set));
    u64::from_str_radix(mask.unwrap().trim(), 16).unwrap()
}

/// Starts what never ends, and waits until a first signal has brought it to its exit.
fn start_stubborn(mode: &str, first: &str) -> (Child, BufReader<ChildStdout>) {
    let (child, mut output) = start(mode);
    let mut lines = String::new();
    output.read_line(&mut lines).unwrap();
    signal(&child, first);
    output.read_line(&mut lines).unwrap();
    output.read_line(&mut lines).unwrap();
    let start = "entered\nbody dropped\nexiting Signalled(";
    assert!(lines.starts_with(start), "{lines}");
    (child, output)
}

fn the_second_signal_shortens_the_grace_and_the_first_gives_the_status() {
    for (first, second, code) in [
        ("TERM", "INT", 143),
        ("INT", "INT", 130),
        ("HUP", "TERM", 129),
    ] {
        // The grace is an hour, and no time at all after a second signal.
        let (child, output) = start_stubborn("stubborn-no-hurry", first);
        signal(&child, second);
        check_abandoned(child, output, code);
    }
}

fn a_second_signal_leaves_the_hurry() {
    let (mut child, output) = start_stubborn("stubborn-for-a-while", "TERM");
    signal(&child, "TERM");
    let errors = child.stderr.take();
    let (status, text) = finish(child, output);
    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(text, "exited\n", "it had the time it needed");
    let mut said = String::new();
    errors.unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

fn a_third_signal_ends_the_wait_at_once() {
    // An hour, whichever way it is counted.
    let (mut child, output) = start_stubborn("stubborn-and-patient", "TERM");
    // Two that arrive together count as one, so it is told until it hears.
    while child.try_wait().unwrap().is_none() {
        signal(&child, "TERM");
    }
    check_abandoned(child, output, 128 + 15);
}

/// It ended without its exit, and says so.
fn check_abandoned(mut child: Child, output: BufReader<ChildStdout>, code: i32) {
    let errors = child.stderr.take();
    let (status, text) = finish(child, output);
    assert_eq!(status.code(), Some(code));
    assert_eq!(text, "");
    let mut said = String::new();
    errors.unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("withal: never closed: "), "{said}");
}

/// Says when the body is dropped.
struct Body;

impl Drop for Body {
    fn drop(&mut self) {
        println!("body dropped");
    }
}

struct Slow {
    exit: Duration,
}

impl AsyncContextManager for Slow {
    type Resource = Slow;
    type Error = std::io::Error;

    async fn enter(self) -> std::io::Result<Slow> {
        Ok(self)
    }

    async fn exit(slow: Slow, case: ExitCase) -> std::io::Result<()> {
        println!("exiting {case:?}");
        tokio::time::sleep(slow.exit).await;
        println!("exited");
        Ok(())
    }
}

const HOUR: Duration = Duration::from_secs(60 * 60);

fn child(mode: &str) -> ExitCode {
    let (hurry, exit) = match mode {
        "stubborn-no-hurry" => (Duration::ZERO, HOUR),
        "stubborn-for-a-while" => (HOUR, Duration::from_millis(200)),
        "stubborn-and-patient" => (HOUR / 2, HOUR),
        _ => return with_main(),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let root = Root::new().grace(HOUR).hurry(hurry);
    let outcome = runtime.block_on(root.run(body(exit)));
    for open in &outcome.open {
        eprintln!("withal: never closed: {open}");
    }
    // The exit that never ends is given up with the runtime.
    let code = outcome.exit_code();
    runtime.shutdown_background();
    code
}

#[withal::main]
async fn with_main() -> Result<(), withal::Error> {
    body(Duration::from_millis(50)).await
}

async fn body(exit: Duration) -> Result<(), withal::Error> {
    let mode = std::env::args().nth(1).unwrap_or_default();
    async_with(Slow { exit }, async |_| match &*mode {
        "ok" => Ok(()),
        "error" => Err("as asked".into()),
        _ => {
            let _body = Body;
            println!("entered");
            Ok(std::future::pending::<()>().await)
        }
    })
    .await
}
