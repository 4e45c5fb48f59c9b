//! A large log: opened after it was killed, verified, and what its sidecars take.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Signal, getpid, kill_process};
use withal_benches::{Bench, US, timed};
use withal_log::{Durability, Log, verify};

use crate::LINE;

const SIZE: u64 = 1 << 30;
const QUICK_SIZE: u64 = 8 << 20;
/// How much is written and not synced when the writer is killed.
const UNSYNCED: u64 = 8 << 20;

pub(crate) fn add(bench: &mut Bench<'_>, folder: &Path) -> io::Result<()> {
    let (size, name) = match bench.is_quick() {
        true => (QUICK_SIZE, "8 MiB"),
        false => (SIZE, "1 GiB"),
    };
    let killed = folder.join("killed");
    fill(&killed, size);
    let whole = folder.join("whole");
    fill(&whole, size);

    let (text, sidecars) = (bytes(&whole, "log")?, bytes(&whole, "idx")?);
    let percent = sidecars as f64 * 100.0 / text as f64;
    bench.share("sidecar bytes, of those of the text", US, percent);

    // The first one opens what was closed.
    let _ = killed_and_reopened(&killed);
    bench.case(
        format!("open a log of {name} after `kill -9`"),
        US,
        move |n| (0..n).map(|_| killed_and_reopened(&killed)).sum(),
    );

    let work = format!("verify a log of {name}");
    let log = whole.clone();
    bench.case(&work, US, move |n| {
        timed(n, |_| verify(&log, |_| ()).expect("the log can be read"))
    });
    let text = files(&whole, "log")?;
    bench.case(&work, "`cat > /dev/null`", move |n| {
        timed(n, |_| cat(&text).expect("the log can be read"))
    });
    Ok(())
}

/// Opens the log, says how long that took, writes more, and is killed.
pub(crate) fn reopen(folder: &Path) -> io::Result<()> {
    let options = Log::open(folder).durability(Durability::Interval(Duration::from_secs(3600)));
    let began = Instant::now();
    let log = options.open().map_err(io::Error::other)?;
    let took = began.elapsed();
    let record = vec![b'x'; 64 << 10];
    for _ in 0..UNSYNCED / record.len() as u64 {
        let _ = log.append(&record).map_err(io::Error::other)?;
    }
    // A whole line, as what is buffered dies with the process.
    writeln!(io::stdout(), "{}", took.as_nanos())?;
    kill_process(getpid(), Signal::KILL)?;
    Ok(())
}

fn killed_and_reopened(log: &Path) -> Duration {
    let program = std::env::current_exe().expect("this program has a file");
    let output = Command::new(program)
        .arg("--reopen")
        .arg(log)
        .output()
        .expect("this program can be started");
    let nanoseconds = String::from_utf8_lossy(&output.stdout).trim().parse();
    Duration::from_nanos(nanoseconds.expect("it says how long it took"))
}

fn fill(folder: &Path, size: u64) {
    let fill = || {
        let log = Log::open(folder).durability(Durability::Buffered).open()?;
        for _ in 0..size / (LINE.len() as u64 + 1) {
            let _ = log.append(LINE)?;
        }
        log.close()
    };
    fill().expect("the folder can be written");
}

fn files(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == extension) {
            files.push(path);
        }
    }
    Ok(files)
}

fn bytes(folder: &Path, extension: &str) -> io::Result<u64> {
    let mut sum = 0;
    for file in files(folder, extension)? {
        sum += fs::metadata(file)?.len();
    }
    Ok(sum)
}

fn cat(files: &[PathBuf]) -> io::Result<()> {
    let null = File::options().write(true).open("/dev/null")?;
    let status = Command::new("cat").args(files).stdout(null).status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other("`cat` failed")),
    }
}
