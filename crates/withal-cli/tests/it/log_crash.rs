//! `withal log write` killed at any moment: what it acknowledged is there, and nothing else.

use std::io::{BufRead as _, BufReader, Write as _};

use crate::support::Sandbox;

const RUNS: u64 = 50;

fn line(run: u64, number: u64) -> String {
    format!(
        "run {run}, line {number}, {}\n",
        "x".repeat((number % 97) as usize)
    )
}

/// Lets a writer of endless input acknowledge `enough` lines, kills it, and gives how many it had
/// acknowledged by then.
fn kill_writer(sandbox: &Sandbox, run: u64, durability: &str, enough: u64) -> u64 {
    let arguments = [
        "log",
        "write",
        "d",
        "--ack",
        "-d",
        durability,
        "--rotate-size",
        "50KiB",
    ];
    let mut writer = sandbox.pipe(&arguments);
    let mut stdin = writer.stdin.take().unwrap();
    let stdout = writer.stdout.take().unwrap();
    std::thread::scope(|scope| {
        let feeding = scope.spawn(move || {
            let mut number = 0;
            while stdin.write_all(line(run, number).as_bytes()).is_ok() {
                number += 1;
            }
        });
        let mut acknowledged = 0;
        for ack in BufReader::new(stdout).lines() {
            // The last line of a killed process may be cut.
            let Ok(Ok(ack)) = ack.map(|ack| ack.parse::<u64>()) else {
                break;
            };
            if acknowledged < enough && ack >= enough {
                writer.kill().unwrap();
            }
            assert!(ack > acknowledged, "{ack} after {acknowledged}");
            acknowledged = ack;
        }
        let _ = writer.wait().unwrap();
        feeding.join().unwrap();
        acknowledged
    })
}

#[test]
fn a_killed_writer_loses_no_acknowledged_line_and_invents_none() {
    let sandbox = Sandbox::new();
    let mut known = String::new();
    for run in 0..RUNS {
        let durability = ["always", "batch=1ms,64KiB", "interval=2ms"][(run % 3) as usize];
        let acknowledged = kill_writer(&sandbox, run, durability, run * 37 % 400 + 1);
        let read = sandbox.feed(&["log", "cat", "d"], b"");
        assert_eq!(read.status.code(), Some(0), "{read:?}");
        let text = String::from_utf8(read.stdout).unwrap();
        let new = text.strip_prefix(&known).expect("what was there stays");
        let mut count = 0;
        for (number, found) in new.split_inclusive('\n').enumerate() {
            assert_eq!(found, line(run, number as u64), "run {run}");
            count += 1;
        }
        assert!(
            count >= acknowledged,
            "run {run}: {count} of {acknowledged}"
        );
        known = text;
    }
    // The next writer mends what the last one left.
    let last = sandbox.feed(&["log", "write", "d"], b"the end\n");
    assert_eq!(last.status.code(), Some(0), "{last:?}");
    let read = sandbox.feed(&["log", "cat", "d"], b"");
    assert!(read.stdout == (known + "the end\n").as_bytes());
    let verified = sandbox.feed(&["log", "verify", "d"], b"");
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
}
