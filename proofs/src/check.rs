//! What must be true after a crash.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use withal_log::{Log, LogOptions, Reader, TailRule, Verdict, stats, verify};

use crate::submitted;

/// The program that writes, beside the one that runs.
///
/// # Errors
///
/// If this program does not know where it is.
pub fn writer() -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("proof-writer"))
}

/// How a log is kept beside being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kept {
    /// All of it, as it is
    Whole,
    /// Ended segments are compressed
    Compressed,
    /// Only the last segments
    Last,
}

/// How large a segment of such a log grows.
const ROTATE_SIZE: u64 = 150_000;
/// How much of it [`Kept::Last`] keeps, sidecars and all, and how large its segments grow.
const KEEP_SIZE: u64 = 300_000;
const KEPT_SIZE: u64 = KEEP_SIZE / 4;

impl Kept {
    /// How to open a log that is kept so.
    pub fn options(self, folder: &Path) -> LogOptions {
        let options = Log::open(folder).rotate_size(ROTATE_SIZE);
        match self {
            Kept::Whole => options,
            Kept::Compressed => options.compress(1),
            Kept::Last => options.rotate_size(KEPT_SIZE).keep_size(KEEP_SIZE),
        }
    }
}

/// Recovers the log in `folder` and checks it; gives the number of its lines.
///
/// What was submitted are the records of [`submitted::record`] in order, of which the first
/// `acknowledged` have to be there, or have been removed on purpose. What a crash has left of a
/// compression or a removal is then done again.
///
/// # Errors
///
/// Says what is wrong.
pub fn log(folder: &Path, acknowledged: u64, kept: Kept) -> Result<u64, String> {
    let lines = recovered(folder, acknowledged, kept)?;
    if kept != Kept::Whole {
        let log = kept
            .options(folder)
            .open()
            .map_err(|error| format!("it does not open to be kept so: {error:?}"))?;
        log.close()
            .map_err(|error| format!("it does not close: {error:?}"))?;
        compare(folder, lines, kept)?;
    }
    goes_on(folder, lines, kept)
}

/// Recovers a log and checks what is there; gives the number of its lines.
fn recovered(folder: &Path, acknowledged: u64, kept: Kept) -> Result<u64, String> {
    recover_and_die(folder)?;
    let log = Log::open(folder)
        .open()
        .map_err(|error| format!("recovered once, it does not open: {error:?}"))?;
    if let Some(recovery) = log.recovery() {
        return Err(format!("a second recovery found work: {recovery:?}"));
    }
    let lines = log.progress().written;
    log.close()
        .map_err(|error| format!("it does not close: {error:?}"))?;
    compare(folder, lines, kept)?;
    if lines < acknowledged {
        return Err(format!(
            "{acknowledged} records were acknowledged, {lines} are there"
        ));
    }
    Ok(lines)
}

/// Appends one more line to the `lines` there are.
fn goes_on(folder: &Path, lines: u64, kept: Kept) -> Result<u64, String> {
    let log = Log::open(folder)
        .open()
        .map_err(|error| format!("closed, it does not open: {error:?}"))?;
    let number = log
        .append_durable(submitted::record(lines))
        .map_err(|error| format!("it does not go on: {error:?}"))?;
    if number != lines + 1 {
        return Err(format!("after {lines} lines the next is number {number}"));
    }
    log.close()
        .map_err(|error| format!("it does not close: {error:?}"))?;
    compare(folder, lines + 1, kept)?;
    clean(folder)?;
    Ok(lines)
}

/// Recovers the log in a process that is killed at once, so that only recovery itself has written.
///
/// # Errors
///
/// If the log does not open.
pub fn recover_and_die(folder: &Path) -> Result<(), String> {
    let program = writer().map_err(|error| error.to_string())?;
    let output = Command::new(program)
        .arg("recover")
        .arg(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("the writer does not start: {error}"))?;
    // Killed, it has no exit code.
    match output.status.code() {
        None => Ok(()),
        Some(_) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("it does not open: {}", said.trim_end()))
        }
    }
}

/// Whether no byte contradicts a sidecar.
///
/// # Errors
///
/// Says what is wrong.
pub fn clean(folder: &Path) -> Result<(), String> {
    let report =
        verify(folder, |_| ()).map_err(|error| format!("it cannot be verified: {error:?}"))?;
    if report.verdict() != Verdict::Clean {
        let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        return Err(format!("verify says: {}", problems.join("; ")));
    }
    Ok(())
}

/// Compares the text with what was submitted, byte by byte.
fn compare(folder: &Path, lines: u64, kept: Kept) -> Result<(), String> {
    let text = read(folder)?;
    let count = text.iter().filter(|byte| **byte == b'\n').count() as u64;
    let removed = match kept {
        Kept::Whole | Kept::Compressed => 0,
        Kept::Last => lines.saturating_sub(count),
    };
    if removed > 0 && (text.len() as u64) < least_kept(folder)? {
        return Err(format!("{removed} lines are removed, and {count} left"));
    }
    let mut number = removed;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let mut expected = submitted::record(number);
        expected.push(b'\n');
        if line != expected {
            return Err(format!(
                "line {} is {:?}",
                number + 1,
                String::from_utf8_lossy(line)
            ));
        }
        number += 1;
    }
    if number != lines {
        return Err(format!("it counts {lines} lines and has {number}"));
    }
    Ok(())
}

/// How much text is kept at least where some was removed: a segment less than is to be kept, and less
/// the one that was written last, whose end a crash may take.
fn least_kept(folder: &Path) -> Result<u64, String> {
    let stats = stats(folder).map_err(|error| format!("it has no statistics: {error:?}"))?;
    Ok(match stats.tail_rule {
        // Here each line has an entry in the sidecar, more than half as long as itself.
        TailRule::Strict => KEPT_SIZE,
        _ => KEEP_SIZE - 2 * KEPT_SIZE,
    })
}

fn read(folder: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error| format!("it cannot be read: {error:?}");
    let mut reader = Reader::open(folder).map_err(cannot)?;
    let mut text = Vec::new();
    while let Some(chunk) = reader.next_chunk().map_err(cannot)? {
        text.extend_from_slice(chunk);
    }
    Ok(text)
}

/// How a version of a file is put in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Way {
    /// Over the one before
    Replace,
    /// Over the one before, which is kept
    Keep,
    /// As a new file, where none may be
    Make,
    /// Together with others
    Batch,
}

/// How many files a batch has.
const BATCH: u64 = 6;

impl Way {
    /// All of them.
    pub const ALL: [Way; 4] = [Way::Replace, Way::Keep, Way::Make, Way::Batch];

    /// What is tried, in words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Way::Replace => "atomic write",
            Way::Keep => "atomic write, old file kept",
            Way::Make => "atomic write, new file",
            Way::Batch => "atomic batch",
        }
    }

    /// The files that `version` goes to.
    #[must_use]
    pub fn paths(self, path: &Path, version: u64) -> Vec<PathBuf> {
        let with = |suffix: u64| path.with_extension(suffix.to_string());
        match self {
            Way::Replace | Way::Keep => vec![path.to_owned()],
            Way::Make => vec![with(version)],
            Way::Batch => (0..BATCH).map(with).collect(),
        }
    }
}

/// Checks files that were written version by version; gives the version that is there.
///
/// # Errors
///
/// Says what is wrong.
pub fn file(way: Way, path: &Path, acknowledged: u64) -> Result<u64, String> {
    match way {
        Way::Replace => version(path, acknowledged),
        Way::Batch => {
            let versions = way.paths(path, 0).into_iter();
            let mut versions = versions.map(|member| version(&member, acknowledged));
            versions.try_fold(u64::MAX, |least, found| found.map(|found| least.min(found)))
        }
        Way::Keep => {
            let found = version(path, acknowledged)?;
            check_kept(path, found)?;
            Ok(found)
        }
        Way::Make => {
            let mut made = 0;
            for number in 1.. {
                // That after the last acknowledged may be there or not, but not torn.
                let wanted = if number <= acknowledged { number } else { 0 };
                for path in way.paths(path, number) {
                    match version(&path, wanted)? {
                        0 => return Ok(made),
                        found if found == number => made = number,
                        found => return Err(format!("file {number} is version {found}")),
                    }
                }
            }
            Ok(made)
        }
    }
}

/// The version that is there, 0 if there is none.
fn version(path: &Path, acknowledged: u64) -> Result<u64, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound && acknowledged == 0 => return Ok(0),
        Err(error) => return Err(format!("version {acknowledged} was acknowledged: {error}")),
    };
    match submitted::parse_content(&bytes) {
        None => Err(format!("{} bytes that are no version", bytes.len())),
        Some(version) if version < acknowledged => Err(format!(
            "version {acknowledged} was acknowledged, and it is version {version}"
        )),
        Some(version) => Ok(version),
    }
}

/// The version before `found` is there: the backup, or on its way to be it.
fn check_kept(path: &Path, found: u64) -> Result<(), String> {
    if found < 2 {
        return Ok(());
    }
    let unreadable = |error: io::Error| format!("the folder cannot be read: {error}");
    let mut others = Vec::new();
    for entry in fs::read_dir(path.parent().unwrap_or(path)).map_err(unreadable)? {
        let other = entry.map_err(unreadable)?.path();
        let name = other.as_os_str().as_encoded_bytes();
        if name.ends_with(b"~") || name.ends_with(b".withal-old") {
            others.push(version(&other, 0)?);
        }
    }
    match others.contains(&(found - 1)) {
        true => Ok(()),
        false => Err(format!("version {found} is there, kept are {others:?}")),
    }
}
