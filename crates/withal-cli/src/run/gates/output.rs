//! `--output`: the command's stdout in a file, replaced whole if the command succeeds.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::{AtomicFile, AtomicWriter, WriteErrorKind};

use super::keys::Bytes;
use super::{Equip, Kind, Planned, Recovery, Setting, Template, Undo};
use crate::message::shown;

/// The command's stdout in a file, replaced whole if the command succeeds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    path: Template,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Write stdout to FILE, which is replaced whole if the command succeeds, else left as it was
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,
}

impl Kind for Output {
    const NAME: &'static str = "output";
    type Options = Options;
    type Gate = Write;
    type Undo = RemoveTemporary;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Write> {
        Ok(Write {
            writer: AtomicWriter::create(setting.path(&self.path)?),
        })
    }

    fn intent(gate: &Write) -> Option<RemoveTemporary> {
        // Where there is no current directory nothing relative is found either.
        let path = std::path::absolute(gate.writer.path()).ok()?;
        Some(RemoveTemporary {
            path: (&path).into(),
        })
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "output";
    type Kind = Output;

    fn gates(self) -> anyhow::Result<Vec<Output>> {
        if let [first, second, ..] = self.output.as_slice() {
            let (first, second) = (shown(first), shown(second));
            anyhow::bail!("--output: `{first}` and `{second}`: there is one stdout; name one file");
        }
        let outputs = self.output.into_iter();
        let outputs = outputs.map(|path| Output {
            path: path.into_os_string().into(),
        });
        Ok(outputs.collect())
    }
}

/// The command's stdout as `writer` says; `option` is what asked for that.
pub(crate) fn gate(writer: AtomicWriter, option: &'static str) -> Planned {
    Planned::ready::<Output>(option, Write { writer })
}

/// Opens it.
pub(crate) fn open(writer: AtomicWriter) -> anyhow::Result<AtomicFile> {
    let path = writer.path().to_owned();
    writer.open().map_err(|error| match error.kind() {
        WriteErrorKind::WrongType => {
            let (name, is_directory) = (shown(&path), path.is_dir());
            let reason = match is_directory {
                true => "a directory; name a file in it",
                false => "not a regular file, so it cannot be replaced; redirect with `>`",
            };
            anyhow::anyhow!("`{name}`: {reason}")
        }
        _ => error.into(),
    })
}

pub(super) struct Write {
    writer: AtomicWriter,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "output {}", shown(self.writer.path()))
    }
}

impl AsyncContextManager for Write {
    type Resource = AtomicFile;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<AtomicFile> {
        open(self.writer)
    }

    /// Syncing may take long: off the main thread, which has signals to answer.
    async fn exit(file: AtomicFile, case: ExitCase) -> anyhow::Result<()> {
        let is_whole = has_succeeded(&case);
        let ended = spawn_blocking(move || match is_whole {
            true => file.commit(),
            false => file.abort(),
        });
        Ok(ended.await.context("the commit panicked")??)
    }
}

/// Whether the command itself succeeded, whatever became of the gates inside this one.
fn has_succeeded(case: &ExitCase) -> bool {
    match case {
        ExitCase::Succeeded => true,
        ExitCase::Errored(error) => error.body().is_none(),
        _ => false,
    }
}

impl Equip for AtomicFile {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let _ = command.stdout(self.file().try_clone()?);
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![("path", self.path().into())]
    }
}

/// Removes the temporary file of a writer that was killed in its commit; before that it has no name
/// and the kernel frees it. The lock that it is held under says that its writer is dead.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RemoveTemporary {
    /// The target.
    path: Bytes,
}

impl Undo for RemoveTemporary {
    async fn undo(self, _recovery: &Recovery) -> anyhow::Result<()> {
        let path = PathBuf::from(self.path);
        if !path.parent().is_some_and(Path::is_dir) {
            return Ok(()); // nothing can be left in what is gone
        }
        let removed = spawn_blocking(|| AtomicWriter::create(path).remove_stale()).await;
        Ok(removed.context("the removal panicked")??)
    }
}
