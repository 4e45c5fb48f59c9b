//! `--env-file`: variables of the command's environment, from a file.

use std::path::PathBuf;

use serde::Deserialize;

use super::env::{Set, Variables};
use super::{Kind, NoUndo, SearchPath, Setting, Template};

/// Variables of the command's environment, from a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EnvFile {
    path: Template,
}

#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Options {
    /// Set the variables in FILE, lines of NAME=VALUE as dotenv has them, for the command
    #[arg(id = "env-file", long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
}

impl Kind for EnvFile {
    const NAME: &'static str = "env-file";
    const CAN_BE_OUTLIVED: bool = true;
    type Options = Options;
    type Gate = Set;
    type Undo = NoUndo;

    fn gate(self, setting: &Setting<'_>) -> anyhow::Result<Set> {
        let file = setting.path(&self.path)?;
        Ok(Set::new(Self::NAME, Variables::of_file(file), setting))
    }

    fn check(gate: &Set) -> anyhow::Result<()> {
        gate.check()
    }

    fn search_path(gate: &Set) -> SearchPath {
        gate.search_path()
    }
}

impl super::Options for Options {
    const OPTION: &'static str = "env-file";
    type Kind = EnvFile;

    fn gates(self) -> anyhow::Result<Vec<EnvFile>> {
        let paths = self.env_file.into_iter().map(PathBuf::into_os_string);
        Ok(paths.map(|path| EnvFile { path: path.into() }).collect())
    }
}
