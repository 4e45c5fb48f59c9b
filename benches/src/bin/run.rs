//! What `withal run` costs while its command runs: the log it keeps, the memory it takes; and what
//! `withal watch` takes of a core.
//!
//! A log is kept of 256 MiB of lines that `cat` prints, and all of it passed on to `/dev/null`; a
//! sample is from the start until all have ended. Memory is the proportional set size of all
//! processes but the command, a second after its start: of one run alone, and of one of ten at
//! once, which share what they read from files. Files stand below `TMPDIR`, which `cargo xtask
//! bench` sets to a folder on the disk; `withal` stands beside this program.

use std::collections::VecDeque;
use std::env;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use withal_benches::whole::{memory, processor_time, write_lines};
use withal_benches::{Measure, US};

const TEXT: u64 = 256 << 20;
const QUICK_TEXT: u64 = 1 << 20;
const ROUNDS: usize = 7;
/// How many descriptors are watched, for how many seconds.
const DESCRIPTORS: usize = 1000;
const SECONDS: u64 = 10;

/// After that long memory is measured.
const SETTLED: Duration = Duration::from_secs(1);

/// A way to do some work: who, and what `sh` runs; `withal` in front is ours.
type Way = (&'static str, &'static str);

/// `$TEXT` is the file.
const LOGGED: &[Way] = &[
    (US, r#"withal run --log log -- cat "$TEXT""#),
    ("tee", r#"cat "$TEXT" | tee log"#),
    ("cat, not passed on", r#"cat "$TEXT" | cat > log"#),
];

/// The command is `cat`, which says when it runs.
const HELD: &[Way] = &[
    (US, "withal run -- cat"),
    (
        "bash, mktemp and trap",
        r#"exec bash -c 'd=$(mktemp -d); trap "rm -rf $d" EXIT; cat; true'"#,
    ),
    ("timeout", "exec timeout 1000 cat"),
];

fn main() -> io::Result<()> {
    let is_quick = env::args().any(|argument| argument == "--quick");
    let folder = tempfile::tempdir()?;
    let rounds = if is_quick { 1 } else { ROUNDS };
    let bytes = if is_quick { QUICK_TEXT } else { TEXT };
    let text = write_lines(folder.path().join("text"), bytes)?;
    let bytes = fs::metadata(&text)?.len() as f64;
    measure(rounds, "log what a command prints", "B/s", LOGGED, |line| {
        Ok((bytes / logged(line, &text, &folder.path().join("work"))?).round())
    })?;
    measure(rounds, "memory while a command runs", "B", HELD, |line| {
        held(line, 1)
    })?;
    let work = "memory while a command runs, one of 10";
    measure(rounds, work, "B", HELD, |line| held(line, 10))?;
    let seconds = if is_quick { 1 } else { SECONDS };
    let share = watched(seconds)?;
    Measure {
        work: "watch 1000 descriptors, each second: of a core",
        who: US,
        unit: "%",
        samples: &[share],
    }
    .print()
}

/// Each way in turn, there and back, so that none always follows the same neighbour.
fn measure(
    rounds: usize,
    work: &str,
    unit: &'static str,
    ways: &[Way],
    mut sample: impl FnMut(&str) -> io::Result<f64>,
) -> io::Result<()> {
    let mut turns: VecDeque<(Way, Vec<f64>)> = ways.iter().map(|way| (*way, vec![])).collect();
    for _ in 0..rounds {
        for ((_, line), samples) in &mut turns {
            samples.push(sample(line)?);
        }
        turns.make_contiguous().reverse();
    }
    for ((who, _), samples) in &turns {
        Measure {
            work,
            who,
            unit,
            samples,
        }
        .print()?;
    }
    Ok(())
}

/// How many seconds it took.
fn logged(line: &str, text: &Path, folder: &Path) -> io::Result<f64> {
    fs::create_dir(folder)?;
    // What others have written is not ours to wait for.
    nix::unistd::sync();
    let mut command = shell(line)?;
    let command = command.env("TEXT", text).current_dir(folder);
    let began = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    let took = began.elapsed();
    fs::remove_dir_all(folder)?;
    match status?.success() {
        true => Ok(took.as_secs_f64()),
        false => Err(io::Error::other(format!("`{line}` failed"))),
    }
}

/// The bytes of all processes of a run but `cat`, while `runs` of them run.
fn held(line: &str, runs: usize) -> io::Result<f64> {
    let held = (0..runs).map(|_| Held::start(line));
    let held = held.collect::<io::Result<Vec<Held>>>()?;
    let began = Instant::now();
    while let Some(left) = SETTLED.checked_sub(began.elapsed()) {
        thread::park_timeout(left);
    }
    let sizes = held.iter().map(|held| proportional(held.child.id()));
    let sizes = sizes.sum::<io::Result<f64>>();
    held.into_iter().try_for_each(|held| held.end(line))?;
    Ok((sizes? / runs as f64).round())
}

/// A run whose command waits for the end of its stdin.
struct Held {
    child: Child,
    stdin: ChildStdin,
    _stdout: ChildStdout,
}

impl Held {
    fn start(line: &str) -> io::Result<Held> {
        let mut shell = shell(line)?;
        let mut child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (Some(mut stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("no pipes"));
        };
        // What comes back, the command has read: it runs.
        stdin.write_all(b"1")?;
        stdout.read_exact(&mut [0])?;
        Ok(Held {
            child,
            stdin,
            _stdout: stdout,
        })
    }

    fn end(mut self, line: &str) -> io::Result<()> {
        drop(self.stdin);
        let status = self.child.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("`{line}`: {status}"))),
        }
    }
}

/// The proportional set size of a process and those below it, but for `cat`.
fn proportional(process: u32) -> io::Result<f64> {
    let folder = PathBuf::from(format!("/proc/{process}"));
    if fs::read_to_string(folder.join("comm"))?.trim_end() == "cat" {
        return Ok(0.0);
    }
    let own = memory(&folder.join("smaps_rollup"), "Pss")?;
    let children = fs::read_to_string(folder.join(format!("task/{process}/children")))?;
    let children = children.split_whitespace().map(|id| match id.parse() {
        Ok(id) => proportional(id),
        Err(error) => Err(io::Error::other(error)),
    });
    Ok(own + children.sum::<io::Result<f64>>()?)
}

/// What `withal watch` takes of a core, in percent, while it watches this process.
fn watched(seconds: u64) -> io::Result<f64> {
    let _open = (0..DESCRIPTORS)
        .map(|_| File::open("/dev/null"))
        .collect::<io::Result<Vec<File>>>()?;
    let (me, took) = (std::process::id(), format!("{seconds}s"));
    let before = processor_time()?;
    let began = Instant::now();
    let line = format!("withal watch --json --for {took} {me}");
    let status = shell(&line)?.stdout(Stdio::null()).status()?;
    if !status.success() {
        return Err(io::Error::other(format!("`{line}`: {status}")));
    }
    let used = processor_time()?.saturating_sub(before);
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    Ok((share * 1e4).round() / 1e2)
}

/// `sh`, which runs `line`.
fn shell(line: &str) -> io::Result<Command> {
    let line = match line.strip_prefix(US) {
        Some(rest) => {
            let us = env::current_exe()?.with_file_name(US);
            format!("exec '{}'{rest}", us.display())
        }
        None => line.to_owned(),
    };
    let mut shell = Command::new("sh");
    let _ = shell.arg("-c").arg(line);
    Ok(shell)
}
