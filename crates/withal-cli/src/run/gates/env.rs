//! `--env`: variables of the command's environment.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Command;

use serde::Deserialize;
use withal_core::{AsyncContextManager, ExitCase};

use super::{Equip, Kind, NoUndo, Setting, Template, Variable};

/// A variable of the command's environment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Env {
    name: Variable,
    value: Template,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Set a variable for the command
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = clap::builder::OsStringValueParser::new())]
    env: Vec<OsString>,
}

impl Kind for Env {
    const NAME: &'static str = "env";
    type Options = Options;
    type Gate = Set;
    type Undo = NoUndo;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Set> {
        Ok(Set {
            name: self.name,
            value: setting.text(&self.value)?,
        })
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "env";
    type Kind = Env;

    fn gates(self) -> anyhow::Result<Vec<Env>> {
        self.env.into_iter().map(Env::parse).collect()
    }
}

impl Env {
    /// The argument is not repeated in the message: it may be all secret.
    fn parse(argument: OsString) -> anyhow::Result<Env> {
        const REMEDY: &str = "--env: a value is not of the form NAME=VALUE; write `-e NAME=VALUE`";
        let bytes = argument.into_vec();
        let split = bytes.iter().position(|byte| *byte == b'=');
        let (name, value) = match split.map(|at| bytes.split_at(at)) {
            Some((name, [_, value @ ..])) => (name, value),
            _ => anyhow::bail!(REMEDY),
        };
        let name = Variable::try_from(OsString::from_vec(name.to_vec()));
        Ok(Env {
            name: name.map_err(|_| anyhow::anyhow!(REMEDY))?,
            value: OsString::from_vec(value.to_vec()).into(),
        })
    }
}

/// A variable. Its value is never shown: it may be a secret.
pub(super) struct Set {
    name: Variable,
    value: OsString,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "env {}", self.name)
    }
}

impl AsyncContextManager for Set {
    type Resource = Set;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Set> {
        Ok(self)
    }

    /// The environment is the command's own and has gone with it.
    async fn exit(_set: Set, _case: ExitCase) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Equip for Set {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let _ = command.env(&self.name, &self.value);
        Ok(())
    }
}
