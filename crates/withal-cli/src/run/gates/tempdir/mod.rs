//! `--tempdir`: a private directory, its path in a variable.

mod usage;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::task::{JoinSet, spawn_blocking};
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::{FileId, OpenTempDir, TempDir, remove_temp_dir};

use super::directory::{self, Why};
use super::keys::{self, Bytes};
use super::{
    Equip, Kind, Recovery, Setting, Taken, Template, Undo, Variable, Warnings, has_succeeded,
};
use crate::message::shown;
use crate::run::{Alarms, Keep};

/// A private directory, its path in a variable.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tempdir {
    #[serde(default = "tmpdir")]
    env: Variable,
    /// Where it is made; `$TMPDIR` or `/tmp` if nothing is said.
    parent: Option<Template>,
    keep: Option<Keep>,
    /// With how much in it the command is stopped, in bytes.
    #[serde(default, deserialize_with = "keys::size")]
    size_limit: Option<u64>,
}

fn tmpdir() -> Variable {
    Variable::named("TMPDIR")
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Make a private directory, its path in $VAR [default VAR: TMPDIR]
    #[arg(short, long, value_name = "VAR", num_args = 0..=1, require_equals = true, default_missing_value = "TMPDIR")]
    tempdir: Vec<OsString>,
}

impl Kind for Tempdir {
    const NAME: &'static str = "tempdir";
    const ATTRIBUTES: &'static [&'static str] = &["path"];
    type Options = Options;
    type Gate = Make;
    type Undo = Remove;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Make> {
        let parent = self.parent.as_ref().map(|parent| setting.path(parent));
        let parent = parent.transpose()?;
        let directory = parent.clone().map_or_else(TempDir::new, TempDir::new_in);
        Ok(Make {
            parent,
            directory: directory.choose()?,
            variable: self.env,
            keep: self.keep.unwrap_or(setting.ties.keep),
            size_limit: self.size_limit,
            alarms: setting.ties.alarms.clone(),
            warnings: setting.ties.warnings.clone(),
        })
    }

    fn check(make: &Make) -> anyhow::Result<()> {
        let Some(parent) = &make.parent else {
            return Ok(());
        };
        directory::check(parent, |why| {
            let (parent, Why { error, remedy }) = (shown(parent), why);
            format!("cannot make a temporary directory in `{parent}`; {remedy}: {error}")
        })
    }

    fn takes(&self, _gate: &Self::Gate) -> Vec<Taken> {
        vec![Taken::Variable(self.env.clone())]
    }

    fn intent(gate: &Make) -> Option<Remove> {
        gate.directory.path().map(|path| Remove::new(path, None))
    }

    fn acquired(open: &Open) -> Option<Remove> {
        let directory = &open.directory;
        Some(Remove::new(directory.path(), Some(directory.id())))
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "tempdir";
    type Kind = Tempdir;

    fn gates(self) -> anyhow::Result<Vec<Tempdir>> {
        let gates = self.tempdir.into_iter().map(|name| {
            let variable = Variable::try_from(name);
            let variable =
                variable.map_err(|why| anyhow::anyhow!("--tempdir: {why}; write `--tempdir=VAR`"));
            Ok(Tempdir {
                env: variable?,
                parent: None,
                keep: None,
                size_limit: None,
            })
        });
        gates.collect()
    }
}

pub(super) struct Make {
    /// Where it is to be made, if that is said.
    parent: Option<PathBuf>,
    directory: TempDir,
    variable: Variable,
    keep: Keep,
    size_limit: Option<u64>,
    alarms: Alarms,
    warnings: Warnings,
}

impl fmt::Display for Make {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tempdir {}", self.variable)
    }
}

pub(super) struct Open {
    directory: OpenTempDir,
    variable: Variable,
    keep: Keep,
    /// Who looks how much is in it, if there is a limit.
    watcher: JoinSet<()>,
    warnings: Warnings,
}

impl AsyncContextManager for Make {
    type Resource = Open;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Open> {
        let name = self.to_string();
        let directory = self.directory.open()?;
        let mut watcher = JoinSet::new();
        if let Some(limit) = self.size_limit {
            let path = directory.path().to_owned();
            let _task = watcher.spawn(usage::watch(path, limit, name, self.alarms));
        }
        Ok(Open {
            directory,
            watcher,
            variable: self.variable,
            keep: self.keep,
            warnings: self.warnings,
        })
    }

    /// Removal may take long: off the main thread, which has signals to answer.
    async fn exit(mut open: Open, case: ExitCase) -> anyhow::Result<()> {
        open.watcher.shutdown().await;
        if open.keep.applies(has_succeeded(&case)) {
            let path = open.directory.into_path();
            open.warnings.warn(format_args!("kept {}", shown(&path)));
            return Ok(());
        }
        let closed = spawn_blocking(|| open.directory.close()).await;
        Ok(closed.context("the removal panicked")??)
    }
}

impl Equip for Open {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let _ = command.env(&self.variable, self.directory.path());
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![("path", self.directory.path().into())]
    }

    fn detail(&self) -> Option<String> {
        Some(shown(self.directory.path()))
    }
}

/// Removes the directory, if it is the one that was made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Remove {
    path: Bytes,
    /// Device and inode, once it is made.
    id: Option<(u64, u64)>,
}

impl Remove {
    pub(super) fn new(path: &Path, id: Option<FileId>) -> Remove {
        Remove {
            path: path.into(),
            id: id.map(|id| (id.device, id.inode)),
        }
    }
}

impl Undo for Remove {
    async fn undo(self, recovery: &Recovery) -> anyhow::Result<()> {
        let path = PathBuf::from(self.path);
        let is_named_so = path.file_name().is_some_and(is_chosen);
        anyhow::ensure!(
            path.is_absolute() && is_named_so,
            "`{}`: no name that a run chooses for a directory; it is left alone",
            shown(&path)
        );
        let mut id = self.id.map(|(device, inode)| FileId { device, inode });
        if !recovery.is_same_boot
            && let (Some(id), Some(found)) = (&mut id, FileId::of(&path)?)
        {
            // Devices may be numbered anew when a machine starts.
            id.device = found.device;
        }
        let removed = spawn_blocking(move || remove_temp_dir(&path, id)).await;
        Ok(removed.context("the removal panicked")??)
    }
}

/// Whether it is a name that is chosen here: nothing else is ever removed, whatever a journal says.
fn is_chosen(name: &OsStr) -> bool {
    let random = name.as_bytes().strip_prefix(b"withal-");
    random.is_some_and(|random| random.len() == 32 && random.iter().all(u8::is_ascii_hexdigit))
}
