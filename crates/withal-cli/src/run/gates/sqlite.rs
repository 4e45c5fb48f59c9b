//! `--sqlite`: a database file of the command's own, empty or a copy, its path in a variable.

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::Deserialize;
use tokio::task::spawn_blocking;
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::{OpenTempDir, TempDir};
use withal_scope::cancellable;

use super::tempdir::Remove;
use super::{
    Equip, Kind, Resource, Setting, Taken, Template, Variable, Warnings, has_succeeded, is_known,
    keys,
};
use crate::message::shown;
use crate::migrate::needs_writing;
use crate::run::Keep;

/// What the file is called in its directory.
const NAME: &str = "db.sqlite";

/// How many pages are copied before somebody is asked whether the copy is still wanted.
const PAGES: i32 = 4096;

/// How long a writer of the seed is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// A database file of the command's own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sqlite {
    env: Option<Variable>,
    /// What it is a copy of; empty if nothing is said.
    seed: Option<Template>,
    keep: Option<Keep>,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Make a SQLite database, empty or a copy of SEED, its path in $VAR
    #[arg(long, value_name = "VAR[=SEED]", value_parser = clap::builder::OsStringValueParser::new())]
    sqlite: Vec<OsString>,
}

impl Kind for Sqlite {
    const NAME: &'static str = "sqlite";
    const ATTRIBUTES: &'static [&'static str] = &["path", "url"];
    type Options = Options;
    type Gate = Make;
    type Undo = Remove;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Make> {
        let seed = self.seed.map(|seed| setting.path(&seed));
        Ok(Make {
            directory: TempDir::new().choose()?,
            variable: self.env,
            seed: seed.transpose()?,
            keep: self.keep.unwrap_or(setting.ties.keep),
            warnings: setting.ties.warnings.clone(),
        })
    }

    fn check(make: &Make) -> anyhow::Result<()> {
        let known = make.seed.iter().filter(|seed| is_known(seed));
        known.map(PathBuf::as_path).try_for_each(check)
    }

    fn takes(&self, _gate: &Self::Gate) -> Vec<Taken> {
        self.env.clone().map(Taken::Variable).into_iter().collect()
    }

    fn intent(make: &Make) -> Option<Remove> {
        make.directory.path().map(|path| Remove::new(path, None))
    }

    fn acquired(open: &Resource<Sqlite>) -> Option<Remove> {
        let directory = &open.directory;
        Some(Remove::new(directory.path(), Some(directory.id())))
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "sqlite";
    type Kind = Sqlite;

    fn gates(self) -> anyhow::Result<Vec<Sqlite>> {
        let gates = self.sqlite.into_iter().map(|argument| {
            let (name, seed) = keys::split(&argument);
            let variable = Variable::try_from(name.to_owned());
            let variable =
                variable.map_err(|why| anyhow::anyhow!("--sqlite: {why}; write `--sqlite VAR`"))?;
            Ok(Sqlite {
                env: Some(variable),
                seed: seed.map(|seed| seed.to_owned().into()),
                keep: None,
            })
        });
        gates.collect()
    }
}

pub(super) struct Make {
    directory: TempDir,
    variable: Option<Variable>,
    seed: Option<PathBuf>,
    keep: Keep,
    warnings: Warnings,
}

impl fmt::Display for Make {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sqlite")?;
        if let Some(variable) = &self.variable {
            write!(f, " {variable}")?;
        }
        match &self.seed {
            Some(seed) => write!(f, " from {}", shown(seed)),
            None => Ok(()),
        }
    }
}

pub(super) struct Open {
    directory: OpenTempDir,
    path: PathBuf,
    variable: Option<Variable>,
    keep: Keep,
    warnings: Warnings,
}

impl AsyncContextManager for Make {
    type Resource = Open;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Open> {
        let directory = self.directory.open()?;
        let path = directory.path().join(NAME);
        let wanted = Wanted::default();
        let mut filling = spawn_blocking({
            let (path, wanted) = (path.clone(), wanted.0.clone());
            move || fill(&path, self.seed.as_deref(), &wanted)
        });
        let filled = match cancellable(&mut filling).await {
            Some(filled) => filled,
            None => {
                drop(wanted);
                filling.await
            }
        };
        filled.context("the copy panicked")??;
        Ok(Open {
            directory,
            path,
            variable: self.variable,
            keep: self.keep,
            warnings: self.warnings,
        })
    }

    /// Removal may take long: off the main thread, which has signals to answer.
    async fn exit(open: Open, case: ExitCase) -> anyhow::Result<()> {
        if open.keep.applies(has_succeeded(&case)) {
            let _kept = open.directory.into_path();
            open.warnings
                .warn(format_args!("kept {}", shown(&open.path)));
            return Ok(());
        }
        let closed = spawn_blocking(|| open.directory.close()).await;
        Ok(closed.context("the removal panicked")??)
    }
}

impl Equip for Open {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        if let Some(variable) = &self.variable {
            let _ = command.env(variable, &self.path);
        }
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("path", self.path.clone().into()),
            ("url", url(&self.path).into()),
        ]
    }

    fn detail(&self) -> Option<String> {
        Some(shown(&self.path))
    }
}

/// What a path has that would mean something in a URL.
const IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'?').add(b'#');

/// With four slashes: behind three, SQLAlchemy and Django look for a relative path. To others the
/// second of two slashes means nothing.
fn url(path: &Path) -> String {
    let path = percent_encode(path.as_os_str().as_bytes(), IN_PATH);
    format!("sqlite:///{path}")
}

/// Says so when it is dropped.
struct Wanted(Arc<AtomicBool>);

impl Default for Wanted {
    fn default() -> Wanted {
        Wanted(Arc::new(AtomicBool::new(true)))
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Refuses what cannot be a seed, without opening it as a database.
fn check(seed: &Path) -> anyhow::Result<()> {
    let name = shown(seed);
    let found = fs::metadata(seed).with_context(|| format!("the seed `{name}`"))?;
    anyhow::ensure!(found.is_file(), "the seed `{name}` is not a file");
    Ok(())
}

/// Makes the database; `wanted` says whether to go on.
fn fill(path: &Path, seed: Option<&Path>, wanted: &AtomicBool) -> anyhow::Result<()> {
    let mut options = OpenOptions::new();
    let _ = options.write(true).create_new(true).mode(0o600);
    let _empty = options.open(path).context("cannot make the file")?;
    let Some(seed) = seed else {
        // No bytes are an empty database.
        return Ok(());
    };
    check(seed)?;
    copy(seed, path, wanted).with_context(|| format!("cannot copy the seed `{}`", shown(seed)))
}

/// Copies what the seed holds at one moment, what stands in its write-ahead log included, while
/// others may write to it.
fn copy(seed: &Path, path: &Path, wanted: &AtomicBool) -> anyhow::Result<()> {
    let source = open(seed, wanted)?;
    let mut target = Connection::open(path)?;
    // Who finds it half made after a crash removes it.
    target.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
    let backup = Backup::new(&source, &mut target)?;
    loop {
        match backup.step(PAGES)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _busy => thread::park_timeout(PAUSE),
        }
        anyhow::ensure!(wanted.load(Ordering::Relaxed), "cancelled");
    }
}

/// Opens a seed, with a transaction that keeps it as it is now.
fn open(seed: &Path, wanted: &AtomicBool) -> anyhow::Result<Connection> {
    let access = match needs_writing(seed) {
        true => OpenFlags::SQLITE_OPEN_READ_WRITE,
        false => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let connection = Connection::open_with_flags(seed, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // SQLite's own way to wait asks nobody whether it is still wanted.
    connection.busy_timeout(Duration::ZERO)?;
    connection.execute_batch("BEGIN")?;
    let start = Instant::now();
    loop {
        match connection.execute_batch("SELECT count(*) FROM sqlite_schema") {
            Ok(()) => return Ok(connection),
            Err(error) if !is_busy(&error) || start.elapsed() >= BUSY => return Err(error.into()),
            Err(_busy) => thread::park_timeout(PAUSE),
        }
        anyhow::ensure!(wanted.load(Ordering::Relaxed), "cancelled");
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}
