//! Loop devices and mounts, given back on every path.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::park_timeout;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A loop device.
#[derive(Debug)]
pub(crate) struct Loop {
    pub(crate) device: PathBuf,
}

/// How often something is tried again that others are in the way of, 10 ms apart.
const TRIES: u32 = 500;

impl Loop {
    pub(crate) fn over(file: &Path) -> Result<Loop> {
        // Another may take the device that was found free.
        let output = again(|| run(Command::new("losetup").args(["--find", "--show"]).arg(file)))?;
        let device = String::from_utf8(output.stdout)?.trim().into();
        Ok(Loop { device })
    }

    /// Whether the file is still held: a device is given back once nobody looks at it.
    fn is_attached(&self) -> bool {
        let name = self.device.file_name().unwrap_or_default();
        let place = Path::new("/sys/block").join(name);
        place.join("loop/backing_file").exists()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = run(Command::new("losetup").arg("--detach").arg(&self.device));
        let _ = again(|| match self.is_attached() {
            true => bail!("{} is busy", self.device.display()),
            false => Ok(()),
        });
    }
}

/// Tries until it succeeds, for a while.
fn again<T>(mut operation: impl FnMut() -> Result<T>) -> Result<T> {
    let mut tries = 0;
    loop {
        match operation() {
            Err(_) if tries < TRIES => tries += 1,
            ended => return ended,
        }
        park_timeout(Duration::from_millis(10));
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
            Some(place) => again(|| run(Command::new("umount").arg(place))).map(drop),
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
