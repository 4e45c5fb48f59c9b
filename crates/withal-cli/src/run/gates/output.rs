//! `--output`: what the command writes, to stdout or to a file that a variable names, in a file that is
//! replaced whole if the command succeeds.

use std::ffi::OsString;
use std::fmt;
use std::io::Seek as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::task::spawn_blocking;
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::{AtomicFile, AtomicWriter, Durability, WriteErrorKind};

use super::directory::check_of;
use super::keys::Bytes;
use super::{
    Equip, Kind, Planned, Recovery, Setting, Taken, Template, Undo, Variable, has_succeeded,
    is_known, taken,
};
use crate::atomic;
use crate::message::shown;

/// What the command writes in a file, replaced whole if the command succeeds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Output {
    path: Template,
    /// The variable with the path that the command is to write to, in place of stdout.
    env: Option<Variable>,
    /// The file's mode, whatever it was.
    #[serde(default, deserialize_with = "mode_key")]
    mode: Option<u32>,
    /// Whether to leave what a command that failed has written, in `FILE.partial`.
    #[serde(default)]
    keep_partial: bool,
    #[serde(default)]
    sync: Sync,
}

/// What a power loss leaves.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sync {
    /// The old file or the new one, and the new one once withal has ended.
    #[default]
    Full,
    /// The old file or the new one.
    File,
    /// Perhaps neither.
    None,
}

impl Sync {
    fn durability(self) -> Durability {
        match self {
            Sync::Full => Durability::Durable,
            Sync::File => Durability::Content,
            Sync::None => Durability::Atomic,
        }
    }
}

/// `"640"`, `640` or `0o640`: [`described`](super::described()) has made a text of a number.
fn mode_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    const WHY: &str = "not a mode; write it in octal, as 640, \"640\" or 0o640";
    let text = String::deserialize(deserializer).map_err(|_| serde::de::Error::custom(WHY))?;
    let mode = atomic::mode(&text).map_err(|_| serde::de::Error::custom(WHY));
    mode.map(Some)
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Write stdout to FILE, which is replaced whole if the command succeeds, else left as it was
    #[arg(short, long, value_name = "FILE")]
    output: Vec<PathBuf>,

    /// If the command fails, leave what it has written in FILE.partial
    #[arg(long, requires = "output")]
    keep_partial: bool,
}

impl Kind for Output {
    const NAME: &'static str = "output";
    const ATTRIBUTES: &'static [&'static str] = &["path"];
    type Options = Options;
    type Gate = Write;
    type Undo = RemoveTemporary;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Write> {
        let writer = AtomicWriter::create(setting.path(&self.path)?);
        let writer = writer.durability(self.sync.durability());
        Ok(Write {
            writer: match self.mode {
                Some(mode) => writer.mode(mode),
                None => writer,
            },
            variable: self.env,
            keeps_partial: self.keep_partial,
        })
    }

    fn takes_stdout(keys: Option<&Output>) -> bool {
        keys.is_none_or(|keys| keys.env.is_none())
    }

    fn takes(&self, gate: &Self::Gate) -> Vec<Taken> {
        let place = self.env.clone().map_or(Taken::Stdout, Taken::Variable);
        vec![place, Taken::File(taken::place(gate.writer.path()))]
    }

    fn check(write: &Write) -> anyhow::Result<()> {
        let path = write.writer.path();
        check_of(path, |directory, why| {
            format!(
                "`{}` was not written: cannot open the directory `{}/`; {}: {}",
                shown(path),
                shown(directory),
                why.remedy,
                why.error
            )
        })?;
        match is_known(path) && path.exists() && !path.is_file() {
            true => Err(not_replaceable(path)),
            false => Ok(()),
        }
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
        let outputs = self.output.into_iter();
        let outputs = outputs.map(|path| Output {
            path: path.into_os_string().into(),
            env: None,
            mode: None,
            keep_partial: self.keep_partial,
            sync: Sync::default(),
        });
        Ok(outputs.collect())
    }
}

/// The command's stdout as `writer` says; `option` is what asked for that.
pub(crate) fn gate(writer: AtomicWriter, option: &'static str) -> Planned {
    let write = Write {
        writer,
        variable: None,
        keeps_partial: false,
    };
    Planned::ready::<Output>(option, write)
}

/// Opens it.
pub(crate) fn open(writer: AtomicWriter) -> anyhow::Result<AtomicFile> {
    let path = writer.path().to_owned();
    writer.open().map_err(|error| match error.kind() {
        WriteErrorKind::WrongType => not_replaceable(&path),
        _ => error.into(),
    })
}

fn not_replaceable(path: &Path) -> anyhow::Error {
    let reason = match path.is_dir() {
        true => "a directory; name a file in it",
        false => "not a regular file, so it cannot be replaced; redirect with `>`",
    };
    anyhow::anyhow!("`{}`: {reason}", shown(path))
}

pub(super) struct Write {
    writer: AtomicWriter,
    variable: Option<Variable>,
    keeps_partial: bool,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "output {}", shown(self.writer.path()))
    }
}

pub(super) struct Written {
    file: AtomicFile,
    variable: Option<Variable>,
    keeps_partial: bool,
}

impl AsyncContextManager for Write {
    type Resource = Written;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Written> {
        Ok(Written {
            file: open(self.writer)?,
            variable: self.variable,
            keeps_partial: self.keeps_partial,
        })
    }

    /// Syncing may take long: off the main thread, which has signals to answer.
    async fn exit(written: Written, case: ExitCase) -> anyhow::Result<()> {
        let is_whole = has_succeeded(&case);
        let ended = spawn_blocking(move || match is_whole {
            true => Ok(written.file.commit()?),
            false => written.abort(),
        });
        ended.await.context("the commit panicked")?
    }
}

impl Written {
    fn abort(mut self) -> anyhow::Result<()> {
        let kept = match self.keeps_partial {
            true => self.keep_partial(),
            false => Ok(()),
        };
        self.file.abort()?;
        kept
    }

    /// Copies what is written into `FILE.partial`, which is replaced whole, too.
    fn keep_partial(&mut self) -> anyhow::Result<()> {
        let mut path = self.file.path().as_os_str().to_owned();
        path.push(".partial");
        let mut partial = AtomicWriter::create(path)
            .durability(Durability::Atomic)
            .open()?;
        let mut written = self.file.file();
        // The command had the same file description, with its position.
        written.rewind()?;
        let mut copy = partial.file();
        let copied = std::io::copy(&mut written, &mut copy);
        let _length = copied.with_context(|| shown(partial.path()))?;
        Ok(partial.commit()?)
    }
}

impl Equip for Written {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let file = self.file.file();
        let _ = match &self.variable {
            // It has no name before it is whole. By this path it can be opened from anywhere.
            Some(variable) => {
                let (process, descriptor) = (std::process::id(), file.as_raw_fd());
                command.env(variable, format!("/proc/{process}/fd/{descriptor}"))
            }
            None => command.stdout(file.try_clone()?),
        };
        Ok(())
    }

    fn attributes(&self) -> Vec<(&'static str, OsString)> {
        vec![("path", self.file.path().into())]
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
