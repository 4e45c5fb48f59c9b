//! Counting a program's system calls, and spoiling one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What can change a log.
pub(crate) const CALLS: &[&str] = &[
    "write",
    "pwrite64",
    "writev",
    "fdatasync",
    "fsync",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "openat",
];

/// A program that hangs is bad; none of ours takes a tenth of this.
const LIMIT: Duration = Duration::from_secs(20);

/// How a program ended.
#[derive(Debug)]
pub(crate) enum Ended {
    With(ExitStatus),
    Never,
}

/// For each system call, which of its uses in a thread touch `folder`, counted from one.
pub(crate) fn uses(
    program: &Path,
    arguments: &[&str],
    input: File,
    folder: &Path,
    trace: &Path,
) -> Result<BTreeMap<&'static str, BTreeSet<u32>>> {
    let mut command = strace();
    let _ = command
        .args(["-y", "-s0", "-o"])
        .arg(trace)
        .arg(format!("--trace={}", CALLS.join(",")))
        .arg(program)
        .args(arguments)
        .stdin(input);
    let Ended::With(status) = wait(command.spawn().context("strace does not start")?)? else {
        bail!("the writer hangs under strace");
    };
    if !status.success() {
        bail!("the writer fails under strace, undisturbed: {status}");
    }
    let text = std::fs::read_to_string(trace)?;
    Ok(count(&text, &folder.to_string_lossy()))
}

fn count(trace: &str, folder: &str) -> BTreeMap<&'static str, BTreeSet<u32>> {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    let mut uses: BTreeMap<&'static str, BTreeSet<u32>> = BTreeMap::new();
    for line in trace.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((name, _)) = rest.trim_start().split_once('(') else {
            continue;
        };
        let Some(call) = CALLS.iter().find(|call| **call == name) else {
            continue;
        };
        let number = counts.entry((thread, call)).or_default();
        *number += 1;
        if line.contains(folder) {
            let _ = uses.entry(call).or_default().insert(*number);
        }
    }
    uses
}

/// Runs the program with one injection, `write:signal=SIGKILL:when=3` for example.
pub(crate) fn inject(
    program: &Path,
    arguments: &[&str],
    input: File,
    injection: &str,
) -> Result<Ended> {
    let call = injection.split(':').next().unwrap_or_default();
    let mut command = strace();
    let _ = command
        .args(["-o", "/dev/null"])
        .arg(format!("--trace={call}"))
        .arg(format!("--inject={injection}"))
        .arg(program)
        .args(arguments)
        .stdin(input);
    wait(command.spawn().context("strace does not start")?)
}

fn strace() -> Command {
    let mut command = Command::new("strace");
    let _ = command
        .args(["-f", "-qq", "--seccomp-bpf"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn wait(mut child: Child) -> Result<Ended> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::With(status));
        }
        if began.elapsed() > LIMIT {
            child.kill()?;
            let _ = child.wait()?;
            return Ok(Ended::Never);
        }
        park_timeout(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_counted_by_thread_and_kept_if_they_touch_the_folder() {
        let trace = "\
7  openat(AT_FDCWD, \"/lib/x\", O_RDONLY) = 3</lib/x>
7  openat(AT_FDCWD, \"/log/a\", O_RDWR) = 3</log/a>
8  write(3</log/a>, \"\"..., 9 <unfinished ...>
7  write(3</log/a>, \"\"..., 9) = 9
8  <... write resumed>) = 9
7  write(1</dev/null>, \"\"..., 9) = 9
7  write(3</log/a>, \"\"..., 9) = 9
7  +++ exited with 0 +++
";
        let uses = count(trace, "/log");
        assert_eq!(uses["openat"], BTreeSet::from([2]));
        assert_eq!(uses["write"], BTreeSet::from([1, 3]));
    }
}
