//! Loop devices and mounts, given back on every path.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// A loop device.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
}

impl Loop {
    pub(crate) fn over(file: &Path) -> Result<Loop> {
        let output = run(Command::new("losetup").args(["--find", "--show"]).arg(file))?;
        let device = String::from_utf8(output.stdout)?.trim().into();
        Ok(Loop { device })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.device));
    }
}

/// A mounted file system.
#[derive(Debug)]
pub(crate) struct Mounted<'p> {
    place: Option<&'p Path>,
}

impl<'p> Mounted<'p> {
    /// Mounts the file or device `what`.
    pub(crate) fn on(
        what: &Path,
        kind: &str,
        options: &str,
        place: &'p Path,
    ) -> Result<Mounted<'p>> {
        let _ = run(Command::new("mount")
            .args(["-t", kind, "-o", options])
            .args([what, place]))?;
        Ok(Mounted { place: Some(place) })
    }

    /// Unmounts, and says so if that fails.
    pub(crate) fn unmount(mut self) -> Result<()> {
        match self.place.take() {
            Some(place) => run(Command::new("umount").arg(place)).map(drop),
            None => Ok(()),
        }
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            let _ = run(Command::new("umount").arg("--lazy").arg(place));
        }
    }
}

/// Runs a command in silence; its errors are in ours.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?} does not start"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim_end());
    }
    Ok(output)
}
