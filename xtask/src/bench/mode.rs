//! What the programs are run for.

use std::path::PathBuf;

use anyhow::Result;

use crate::repository::Metadata;
use crate::shell;

/// What they are run for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mode {
    /// To be measured.
    Measure,
    /// To see that they run: as the tests have built them, and with as little to do as can be.
    Try,
}

impl Mode {
    /// Builds the programs of a package.
    pub(super) fn build(self, package: &str) -> Result<()> {
        let mut cargo = shell::cargo();
        let _ = cargo.args(["build", "--quiet", "--bins"]);
        let _ = match self {
            Mode::Measure => cargo.args(["--release", "--package", package]),
            Mode::Try => cargo.args(["--workspace", "--all-features"]),
        };
        shell::run(&mut cargo)
    }

    /// Where a program lies that was built.
    pub(super) fn program(self, metadata: &Metadata, name: &str) -> PathBuf {
        let folder = match self {
            Mode::Measure => "release",
            Mode::Try => "debug",
        };
        metadata.target_directory.join(folder).join(name)
    }
}
