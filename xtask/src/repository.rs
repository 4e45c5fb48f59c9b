//! Where things stand: the root, its files, and what cargo knows about its packages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::shell;

/// The folder that holds the virtual manifest.
pub(crate) fn root() -> PathBuf {
    // At run time where cargo starts us, so that a binary shared by two clones serves both.
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or(here.clone(), Path::to_path_buf)
}

/// The files below `root` in a fixed order, relative to it; build output and hidden folders left out.
pub(crate) fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(root, Path::new(""), &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let here = root.join(folder);
    for entry in fs::read_dir(&here).with_context(|| format!("{}", here.display()))? {
        let entry = entry.with_context(|| format!("{}", here.display()))?;
        let name = entry.file_name();
        let path = folder.join(&name);
        let kind = entry
            .file_type()
            .with_context(|| format!("{}", path.display()))?;
        if kind.is_dir() {
            if !is_left_out(&entry.path(), &name.to_string_lossy()) {
                walk(root, &path, found)?;
            }
        } else if kind.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

fn is_left_out(folder: &Path, name: &str) -> bool {
    // Cargo tags every target folder, whatever its name.
    name.starts_with('.') || name == "target" || folder.join("CACHEDIR.TAG").is_file()
}

/// What `cargo metadata` says about the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
    pub(crate) workspace_root: PathBuf,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    /// The registries it may go to: `None` is any, an empty list is `publish = false`.
    pub(crate) publish: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) features: BTreeMap<String, Vec<String>>,
    pub(crate) rust_version: Option<String>,
}

/// An edge of the dependency graph, as the manifest has it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` is an ordinary dependency; otherwise `dev` or `build`.
    pub(crate) kind: Option<String>,
    pub(crate) optional: bool,
}

impl Metadata {
    /// Asks cargo.
    pub(crate) fn load() -> Result<Metadata> {
        let text =
            shell::output(shell::cargo().args(["metadata", "--format-version=1", "--no-deps"]))?;
        serde_json::from_str(&text).context("`cargo metadata` has another form than expected")
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

impl Package {
    /// The folder of the package, relative to the root.
    pub(crate) fn folder<'a>(&'a self, metadata: &Metadata) -> &'a Path {
        let folder = self.manifest_path.parent().unwrap_or(&self.manifest_path);
        folder
            .strip_prefix(&metadata.workspace_root)
            .unwrap_or(folder)
    }

    pub(crate) fn is_published(&self) -> bool {
        self.publish.as_ref().is_none_or(|to| !to.is_empty())
    }
}
