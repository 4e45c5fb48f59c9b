//! `--tempdir`: a private directory, its path in a variable.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::process::Command;

use anyhow::Context as _;
use tokio::task::spawn_blocking;
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::OpenTempDir;

use super::{Equip, Kind};
use crate::message::shown;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Make a private directory, its path in $VAR [default VAR: TMPDIR]
    #[arg(short, long, value_name = "VAR", num_args = 0..=1, require_equals = true, default_missing_value = "TMPDIR")]
    tempdir: Vec<OsString>,
}

impl Kind for Arguments {
    const OPTION: &'static str = "tempdir";
    type Gate = TempDir;

    fn gates(self) -> anyhow::Result<Vec<TempDir>> {
        let gates = self.tempdir.into_iter().map(|variable| {
            let name = shown(&variable);
            let is_name = !name.is_empty() && !name.contains('=');
            anyhow::ensure!(
                is_name,
                "--tempdir: `{name}`: not a variable's name; write `--tempdir=VAR`"
            );
            Ok(TempDir { variable })
        });
        gates.collect()
    }
}

pub(super) struct TempDir {
    variable: OsString,
}

impl fmt::Display for TempDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tempdir {}", shown(&self.variable))
    }
}

pub(super) struct Open {
    directory: OpenTempDir,
    variable: OsString,
}

impl AsyncContextManager for TempDir {
    type Resource = Open;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Open> {
        Ok(Open {
            directory: withal_os::TempDir::new().open()?,
            variable: self.variable,
        })
    }

    /// Removal may take long: off the main thread, which has signals to answer.
    async fn exit(open: Open, _case: ExitCase) -> anyhow::Result<()> {
        let closed = spawn_blocking(|| open.directory.close()).await;
        Ok(closed.context("the removal panicked")??)
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("--tempdir")
    }
}

impl Equip for Open {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let _ = command.env(&self.variable, self.directory.path());
        Ok(())
    }

    fn detail(&self) -> Option<String> {
        Some(shown(self.directory.path()))
    }
}
