//! `cargo xtask tidy`: the repository's rules, as checks.
//!
//! Each rule reads files and gives findings; none changes anything.

mod architecture;
mod crates;
mod links;
mod named_tests;
mod sources;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::repository::{self, Metadata};
use sources::Source;

/// Checks everything and prints what it finds.
pub(crate) fn run() -> Result<()> {
    let findings = check(&repository::root(), &Metadata::load()?)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy"),
        many => bail!("{many} untidy places"),
    }
    Ok(())
}

/// Something that breaks a rule.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Finding {
    path: PathBuf,
    /// Counted from one; zero is the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: impl Into<PathBuf>, line: usize, message: impl Into<String>) -> Finding {
        Finding {
            path: path.into(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A text file of the repository.
struct Document {
    path: PathBuf,
    text: String,
}

fn check(root: &Path, metadata: &Metadata) -> Result<Vec<Finding>> {
    let files = repository::files(root)?;
    let sources: Vec<Source> = read(root, &files, "rs")?
        .into_iter()
        .map(|document| Source::new(document.path, document.text))
        .collect();
    let documents = read(root, &files, "md")?;

    let mut findings = architecture::check(metadata);
    findings.extend(crates::check(root, metadata)?);
    findings.extend(sources.iter().flat_map(sources::check));
    let lints = fs::read_to_string(root.join("clippy.toml")).context("clippy.toml")?;
    findings.extend(named_tests::check(&documents, &sources, &lints));
    findings.extend(links::check(root, &documents));
    Ok(findings)
}

fn read(root: &Path, files: &[PathBuf], extension: &str) -> Result<Vec<Document>> {
    files
        .iter()
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .map(|path| {
            let text = fs::read_to_string(root.join(path))
                .with_context(|| format!("{}", path.display()))?;
            Ok(Document {
                path: path.clone(),
                text,
            })
        })
        .collect()
}
