//! Log lines through a pipe into a log: `withal log write` beside cat and the loggers of
//! supervisors.
//!
//! A sample is `cat TEXT | LOGGER`, from its start until both have ended, with the processor time
//! that both took. Peers that are not installed are left out. Files stand below `TMPDIR`, which
//! `cargo xtask bench` sets to a folder on the disk; `withal` stands beside this program.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use withal_benches::whole::{processor_time, write_lines};
use withal_benches::{Measure, US};

/// Large against what starting and ending takes, small against what a disk takes at once.
const TEXT: u64 = 256 << 20;
/// The same for those that need seconds for that: their rate does not depend on it.
const SLOW_TEXT: u64 = 32 << 20;
const QUICK_TEXT: u64 = 1 << 20;
const ROUNDS: usize = 7;
const MIB: f64 = (1 << 20) as f64;

/// A logger that reads stdin, in a folder of its own.
struct Logger {
    work: &'static str,
    who: &'static str,
    /// For `sh`; `withal` in front is ours.
    line: &'static str,
    is_slow: bool,
}

const PLAIN: &str = "pipe log lines";
const STAMPED: &str = "pipe log lines, stamped";
const BUFFERED: &str = "pipe log lines, buffered";
const BUFFERED_STAMPED: &str = "pipe log lines, stamped, buffered";

const LOGGERS: &[Logger] = &[
    fast(PLAIN, US, "withal log write log"),
    fast(PLAIN, "cat", "cat > log"),
    fast(PLAIN, "cat, then `sync`", "sh -c 'cat > log && sync log'"),
    slow(PLAIN, "s6-log", "s6-log s268435455 n9 ./log"),
    slow(PLAIN, "multilog", "multilog s16777215 n99 ./log"),
    slow(PLAIN, "svlogd", "svlogd log"),
    fast(STAMPED, US, "withal log write --stamp log"),
    fast(STAMPED, "cat, not stamped", "cat > log"),
    slow(STAMPED, "s6-log T", "s6-log T s268435455 n9 ./log"),
    slow(STAMPED, "multilog t", "multilog t s16777215 n99 ./log"),
    slow(STAMPED, "svlogd -ttt", "svlogd -ttt log"),
    fast(BUFFERED, US, "withal log write --durability buffered log"),
    fast(BUFFERED, "cat", "cat > log"),
    slow(BUFFERED, "s6-log", "s6-log s268435455 n9 ./log"),
    slow(BUFFERED, "svlogd", "svlogd log"),
    fast(
        BUFFERED_STAMPED,
        US,
        "withal log write --durability buffered --stamp log",
    ),
    fast(BUFFERED_STAMPED, "cat, not stamped", "cat > log"),
    slow(BUFFERED_STAMPED, "s6-log T", "s6-log T s268435455 n9 ./log"),
];

const fn fast(work: &'static str, who: &'static str, line: &'static str) -> Logger {
    Logger {
        work,
        who,
        line,
        is_slow: false,
    }
}

const fn slow(work: &'static str, who: &'static str, line: &'static str) -> Logger {
    Logger {
        is_slow: true,
        ..fast(work, who, line)
    }
}

fn main() -> io::Result<()> {
    let is_quick = env::args().any(|argument| argument == "--quick");
    let folder = tempfile::tempdir()?;
    let (text, slow_text) = match is_quick {
        true => (QUICK_TEXT, QUICK_TEXT),
        false => (TEXT, SLOW_TEXT),
    };
    let text = write_lines(folder.path().join("text"), text)?;
    let slow_text = write_lines(folder.path().join("slow-text"), slow_text)?;
    let loggers: Vec<&Logger> = LOGGERS.iter().filter(|logger| logger.is_here()).collect();
    let mut samples = vec![(Vec::new(), Vec::new()); loggers.len()];
    for round in 0..if is_quick { 1 } else { ROUNDS } {
        for step in 0..loggers.len() {
            // There and back, so that no one always follows the same neighbour.
            let index = match round % 2 {
                0 => step,
                _ => loggers.len() - 1 - step,
            };
            let (Some(logger), Some((rates, costs))) = (loggers.get(index), samples.get_mut(index))
            else {
                continue;
            };
            // Their samples are long, and few will do.
            if logger.is_slow && round % 3 > 0 {
                continue;
            }
            let text = if logger.is_slow { &slow_text } else { &text };
            let (took, cpu) = pipe(text, logger, &folder.path().join("work"))?;
            let bytes = fs::metadata(text)?.len() as f64;
            rates.push((bytes / took.as_secs_f64()).round());
            costs.push((cpu.as_secs_f64() * 1e9 / (bytes / MIB)).round());
        }
    }
    for (logger, (rates, costs)) in loggers.iter().zip(&samples) {
        let measure = |work, unit, samples| Measure {
            work,
            who: logger.who,
            unit,
            samples,
        };
        measure(logger.work, "B/s", rates).print()?;
        let cpu = format!("{}: processor time for a MiB", logger.work);
        measure(&cpu, "ns", costs).print()?;
    }
    Ok(())
}

impl Logger {
    fn is_here(&self) -> bool {
        let program = self.line.split(' ').next().unwrap_or_default();
        let paths = env::var_os("PATH").unwrap_or_default();
        self.who == US || env::split_paths(&paths).any(|folder| folder.join(program).is_file())
    }

    /// What `sh` runs.
    fn script(&self) -> io::Result<String> {
        Ok(match self.line.strip_prefix(US) {
            Some(rest) => {
                let us = env::current_exe()?.with_file_name(US);
                format!("exec '{}'{rest}", us.display())
            }
            None if self.who == "svlogd" || self.who == "svlogd -ttt" => {
                format!("mkdir log && exec {}", self.line)
            }
            None => format!("exec {}", self.line),
        })
    }
}

/// How long it took, and how much processor time.
fn pipe(text: &Path, logger: &Logger, folder: &Path) -> io::Result<(Duration, Duration)> {
    fs::create_dir(folder)?;
    // What others have written is not ours to wait for.
    nix::unistd::sync();
    let (cpu, began) = (processor_time()?, Instant::now());
    let mut cat = Command::new("cat")
        .arg(text)
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = cat.stdout.take().map_or(Stdio::null(), Stdio::from);
    let mut sh = Command::new("sh");
    let sh = sh
        .arg("-c")
        .arg(logger.script()?)
        .current_dir(folder)
        .stdin(lines);
    let logged = sh.stdout(Stdio::null()).stderr(Stdio::null()).status();
    let fed = cat.wait()?;
    let took = (began.elapsed(), processor_time()?.saturating_sub(cpu));
    fs::remove_dir_all(folder)?;
    if !fed.success() || !logged?.success() {
        return Err(io::Error::other(format!("`{}` failed", logger.line)));
    }
    Ok(took)
}
