//! `--env`: a variable of the command's environment.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt as _;
use std::process::Command;

use withal_core::{AsyncContextManager, ExitCase};

use super::{Equip, Kind};
use crate::message::shown;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// Set a variable for the command
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = clap::builder::OsStringValueParser::new())]
    env: Vec<OsString>,
}

impl Kind for Arguments {
    const OPTION: &'static str = "env";
    type Gate = Env;

    fn gates(self) -> anyhow::Result<Vec<Env>> {
        self.env.into_iter().map(Env::parse).collect()
    }
}

/// A variable. It is never shown: its value may be a secret.
pub(super) struct Env {
    name: OsString,
    value: OsString,
}

impl Env {
    /// The argument is not repeated in the message: it may be all secret.
    fn parse(argument: OsString) -> anyhow::Result<Env> {
        let bytes = argument.into_vec();
        let split = bytes.iter().position(|byte| *byte == b'=');
        match split.map(|at| bytes.split_at(at)) {
            Some((name, [_, value @ ..])) if !name.is_empty() => Ok(Env {
                name: OsString::from_vec(name.to_vec()),
                value: OsString::from_vec(value.to_vec()),
            }),
            _ => {
                anyhow::bail!("--env: a value is not of the form NAME=VALUE; write `-e NAME=VALUE`")
            }
        }
    }
}

impl fmt::Display for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "env {}", shown(&self.name))
    }
}

impl AsyncContextManager for Env {
    type Resource = Env;
    type Error = anyhow::Error;

    async fn enter(self) -> anyhow::Result<Env> {
        Ok(self)
    }

    /// The environment is the command's own and has gone with it.
    async fn exit(_env: Env, _case: ExitCase) -> anyhow::Result<()> {
        Ok(())
    }

    fn name(&self) -> Cow<'static, str> {
        Cow::Borrowed("--env")
    }
}

impl Equip for Env {
    fn equip(&mut self, command: &mut Command) -> anyhow::Result<()> {
        let _ = command.env(&self.name, &self.value);
        Ok(())
    }
}
