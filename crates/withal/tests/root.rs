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

use withal::{AsyncContextManager, ExitCase, async_with};

fn main() -> ExitCode {
    if std::env::args()
        .nth(1)
        .is_some_and(|mode| !mode.starts_with('-'))
    {
        return child();
    }
    the_exit_code_is_that_of_main();
    a_signal_cancels_main_and_the_exits_are_awaited();
    later_signals_shorten_the_grace_and_end_it();
    println!("3 passed, 0 failed");
    ExitCode::SUCCESS
}

fn start(mode: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg(mode)
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
        assert_eq!(text, format!("exiting Signalled({number})\nexited\n"));
    }
}

fn later_signals_shorten_the_grace_and_end_it() {
    let (child, mut output) = start("stubborn");
    let mut lines = String::new();
    output.read_line(&mut lines).unwrap();
    signal(&child, "TERM");
    output.read_line(&mut lines).unwrap();
    assert_eq!(lines, "entered\nexiting Signalled(15)\n");
    signal(&child, "TERM");
    let (status, text) = finish(child, output);
    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(text, "");
}

struct Slow {
    stubborn: bool,
}

impl AsyncContextManager for Slow {
    type Resource = Slow;
    type Error = std::io::Error;

    async fn enter(self) -> std::io::Result<Slow> {
        Ok(self)
    }

    async fn exit(slow: Slow, case: ExitCase) -> std::io::Result<()> {
        println!("exiting {case:?}");
        if slow.stubborn {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        println!("exited");
        Ok(())
    }
}

#[withal::main]
async fn child() -> Result<(), withal::Error> {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let slow = Slow {
        stubborn: mode == "stubborn",
    };
    async_with(slow, async |_| match &*mode {
        "ok" => Ok(()),
        "error" => Err("as asked".into()),
        _ => {
            println!("entered");
            Ok(std::future::pending::<()>().await)
        }
    })
    .await
}
