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
    /// Builds the programs of packages.
    pub(super) fn build(self, packages: &[&str]) -> Result<()> {
        const BUILD: [&str; 3] = ["build", "--quiet", "--bins"];
        match self {
            // Each by itself: together they would ask for each other's features.
            Mode::Measure => packages.iter().try_for_each(|package| {
                let cargo = &mut shell::cargo();
                shell::run(cargo.args(BUILD).args(["--release", "--package", package]))
            }),
            Mode::Try => {
                let cargo = &mut shell::cargo();
                shell::run(cargo.args(BUILD).args(["--workspace", "--all-features"]))
            }
        }
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
