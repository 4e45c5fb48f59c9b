//! What every crate has, and what no crate is called.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Finding;
use crate::repository::{Metadata, Package};

pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        findings.extend(check_name(package, package.folder(metadata)));
        findings.extend(check_files(root, package, package.folder(metadata))?);
    }
    Ok(findings)
}

pub(super) fn check_name(package: &Package, folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let manifest = folder.join("Cargo.toml");
    let is_in_crates = folder.parent() == Some(Path::new("crates"));
    if is_in_crates && !folder.ends_with(&package.name) {
        let message = format!("the crate is called `{}`, its folder is not", package.name);
        findings.push(Finding::new(&manifest, 0, message));
    }
    let is_drawer = |word| ["common", "helpers", "util", "utils"].contains(&word);
    if package.name.split(['-', '_']).any(is_drawer) {
        let message = "a helper lives in the crate that owns its data, not in a drawer";
        findings.push(Finding::new(&manifest, 0, message));
    }
    findings
}

fn check_files(root: &Path, package: &Package, folder: &Path) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let manifest = folder.join("Cargo.toml");
    let text = fs::read_to_string(root.join(&manifest))
        .with_context(|| format!("{}", manifest.display()))?;
    if !text.contains("[lints]\nworkspace = true") {
        let message = "the workspace's lints are not on: `[lints]`, `workspace = true`";
        findings.push(Finding::new(&manifest, 0, message));
    }
    if package.is_published() {
        for file in ["README.md", "CHANGELOG.md"] {
            if !root.join(folder).join(file).is_file() {
                let message = "missing; every published crate has one";
                findings.push(Finding::new(folder.join(file), 0, message));
            }
        }
    }
    Ok(findings)
}
