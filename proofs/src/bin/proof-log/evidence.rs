//! States that are kept because they are bad.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Where they are kept.
#[derive(Debug)]
pub(crate) struct Evidence {
    folder: PathBuf,
    kept: u32,
}

/// More than this would say nothing new.
const MOST: u32 = 20;

impl Evidence {
    pub(crate) fn new(folder: PathBuf) -> Evidence {
        Evidence { folder, kept: 0 }
    }

    /// Keeps the state as it was before it was checked, and says how to check it again.
    pub(crate) fn keep(&mut self, state: &Path, acknowledged: u64, how: &str) -> Result<()> {
        println!("BAD: {how}");
        self.kept += 1;
        if self.kept > MOST {
            return Ok(());
        }
        let place = (0..)
            .map(|number| self.folder.join(format!("bad-{number}")))
            .find(|place| !place.exists())
            .context("there are more numbers")?;
        fs::create_dir_all(&place)?;
        let log = place.join("log");
        copy(state, &log)?;
        fs::write(place.join("how"), format!("{how}\n"))?;
        let program = std::env::current_exe()?;
        println!(
            "  replay: {} replay {} --acknowledged {acknowledged}",
            program.display(),
            log.display()
        );
        Ok(())
    }
}

/// Copies a folder, symbolic links as such.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    fs::create_dir(to).with_context(|| format!("{}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("{}", from.display()))? {
        let entry = entry?;
        let (kind, copied) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &copied)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, copied)?;
        } else {
            let _ = fs::copy(entry.path(), copied)?;
        }
    }
    Ok(())
}

/// Copies a folder, or makes an empty one if there is none.
pub(crate) fn copy_if_there(from: &Path, to: &Path) -> Result<()> {
    if from.exists() {
        return copy(from, to);
    }
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    Ok(fs::create_dir(to)?)
}

/// Removes a folder if it is there.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}
