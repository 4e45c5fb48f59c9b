//! `--tempdir`: a private directory, its path in a variable.

use std::ffi::OsString;
use std::fmt;
use std::process::Command;

use anyhow::Context as _;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::OpenTempDir;

use super::{Equip, Kind, Setting, Variable};
use crate::message::shown;

/// A private directory, its path in a variable.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TempDir {
    #[serde(default = "tmpdir")]
    env: Variable,
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

impl Kind for TempDir {
    const NAME: &'static str = "tempdir";
    type Options = Options;
    type Gate = Make;

    fn gate(self, _setting: &Setting<'_>) -> anyhow::Result<Make> {
        Ok(Make { variable: self.env })
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "tempdir";
    type Kind = TempDir;

    fn gates(self) -> anyhow::Result<Vec<TempDir>> {
        let gates = self.tempdir.into_iter().map(|name| {
            let variable = Variable::try_from(name);
            let variable =
                variable.map_err(|why| anyhow::anyhow!("--tempdir: {why}; write `--tempdir=VAR`"));
            Ok(TempDir { env: variable? })
        });
        gates.collect()
    }
}

pub(super) struct Make {
    variable: Variable,
}

impl fmt::Display for Make {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tempdir {}", self.variable)
    }
}

pub(super) struct Open {
    directory: OpenTempDir,
    variable: Variable,
}

impl AsyncContextManager for Make {
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
