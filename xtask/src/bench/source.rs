//! Where samples come from: a program of ours, a peer's script, or whole commands.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::measure::{Measure, US, Unit, parse};
use super::mode::Mode;
use crate::repository::Metadata;
use crate::shell;

/// A program to run once per pass.
#[derive(Debug)]
pub(super) enum Source {
    /// A program of the package `withal-benches`, which prints a [`Measure`] per line.
    Rust(&'static str),
    /// A script in benches/python, which prints the same.
    Python(&'static str),
    /// Commands that do the same work, timed whole by hyperfine.
    Commands {
        work: &'static str,
        commands: &'static [WholeCommand],
    },
}

/// Who, and the command line; `withal` in front is ours as just built.
#[derive(Debug)]
pub(super) struct WholeCommand {
    pub(super) who: &'static str,
    pub(super) line: &'static str,
}

/// Whether a source can run on this machine.
pub(super) enum Available {
    Yes,
    Missing {
        program: &'static str,
        install: &'static str,
    },
}

impl Source {
    pub(super) fn available(&self) -> Available {
        let (program, install) = match self {
            Source::Rust(_) => return Available::Yes,
            Source::Python(_) => ("python3", "apt-get install python3"),
            Source::Commands { .. } => ("hyperfine", "apt-get install hyperfine"),
        };
        if shell::is_installed(program) {
            Available::Yes
        } else {
            Available::Missing { program, install }
        }
    }

    /// One pass.
    pub(super) fn run(&self, metadata: &Metadata, mode: Mode) -> Result<Vec<Measure>> {
        let target = &metadata.target_directory;
        let quick = (mode == Mode::Try).then_some("--quick");
        match self {
            Source::Rust(name) => {
                let program = mode.program(metadata, name);
                print_measures(program, None, target, quick)
            }
            Source::Python(name) => {
                let script = format!("benches/python/{name}");
                print_measures("python3", Some(&script), target, quick)
            }
            Source::Commands { work, commands } => hyperfine(work, commands, metadata, mode),
        }
    }

    /// What one would type to run it alone.
    pub(super) fn command(&self) -> String {
        match self {
            Source::Rust(name) => format!("cargo run --release -p withal-benches --bin {name}"),
            Source::Python(name) => format!("python3 benches/python/{name}"),
            Source::Commands { commands, .. } => {
                let lines: Vec<String> = commands
                    .iter()
                    .map(|command| shell::quote(OsStr::new(command.line)))
                    .collect();
                format!(
                    "hyperfine --shell=none --warmup=3 --runs=20 {}",
                    lines.join(" ")
                )
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Rust(name) => write!(f, "benches/src/bin/{name}"),
            Source::Python(name) => write!(f, "benches/python/{name}"),
            Source::Commands { work, .. } => write!(f, "{work}"),
        }
    }
}

fn print_measures(
    program: impl AsRef<OsStr>,
    script: Option<&str>,
    target: &Path,
    quick: Option<&str>,
) -> Result<Vec<Measure>> {
    let mut command = shell::at_root(program);
    // A folder on the disk that also holds the build, for those that write files.
    let _ = command
        .env("TMPDIR", scratch(target)?)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    parse(&shell::output(command.args(script).args(quick))?)
}

fn scratch(target: &Path) -> Result<PathBuf> {
    let folder = target.join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    Ok(folder)
}

/// The part of hyperfine's report that we read.
#[derive(Deserialize)]
struct Exported {
    results: Vec<Timed>,
}

#[derive(Deserialize)]
struct Timed {
    /// In seconds.
    times: Vec<f64>,
}

fn hyperfine(
    work: &str,
    commands: &[WholeCommand],
    metadata: &Metadata,
    mode: Mode,
) -> Result<Vec<Measure>> {
    let scratch = scratch(&metadata.target_directory)?;
    let export = scratch.join("hyperfine.json");
    let (warmup, runs) = match mode {
        Mode::Measure => (3, 20),
        Mode::Try => (0, 1),
    };
    let mut command = shell::at_root("hyperfine");
    let _ = command
        .args(["--shell=none", "--style=none"])
        .args([format!("--warmup={warmup}"), format!("--runs={runs}")])
        .arg("--export-json")
        .arg(&export);
    let ours = installed(&mode.program(metadata, US), &scratch)?;
    for whole in commands {
        let _ = command.arg(as_installed(whole.line, &ours));
    }
    let _ = shell::output(&mut command)?;
    let text = fs::read_to_string(&export).with_context(|| format!("{}", export.display()))?;
    measures(work, commands, &text)
}

/// Hyperfine keeps the order of the commands.
pub(super) fn measures(
    work: &str,
    commands: &[WholeCommand],
    exported: &str,
) -> Result<Vec<Measure>> {
    let exported: Exported =
        serde_json::from_str(exported).context("hyperfine's report has another form")?;
    let timed = commands.iter().zip(exported.results);
    Ok(timed
        .map(|(command, timed)| Measure {
            work: work.to_owned(),
            who: command.who.to_owned(),
            unit: Unit::Nanoseconds,
            samples: timed.times.iter().map(|seconds| seconds * 1e9).collect(),
        })
        .collect())
}

/// Our program, copied as `cargo install` copies it: what the linker wrote lies in memory in small
/// pieces, and starts slower.
fn installed(built: &Path, scratch: &Path) -> Result<PathBuf> {
    let copy = scratch.join(US);
    let _bytes = fs::copy(built, &copy).with_context(|| format!("{}", built.display()))?;
    Ok(copy)
}

/// The command line with our program's path in place of its name.
fn as_installed(line: &str, ours: &Path) -> String {
    match line.strip_prefix(US) {
        Some(rest) => format!("{}{rest}", ours.display()),
        None => line.to_owned(),
    }
}
