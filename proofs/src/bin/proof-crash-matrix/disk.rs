//! The file systems, and their empty images.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::device;

/// A file system.
#[derive(Debug)]
pub(crate) struct FileSystem {
    pub(crate) name: &'static str,
    megabytes: u64,
    make: &'static [&'static str],
    /// How the image of a crash is mounted.
    pub(crate) mount: &'static str,
}

pub(crate) const FILE_SYSTEMS: &[FileSystem] = &[
    FileSystem {
        name: "ext4",
        megabytes: 128,
        make: &["mkfs.ext4", "-q", "-F", "-J", "size=8", "-E", "nodiscard"],
        mount: "defaults",
    },
    FileSystem {
        name: "xfs",
        megabytes: 320,
        make: &["mkfs.xfs", "-q", "-f", "-K"],
        // The original may still be known under the same identity.
        mount: "nouuid",
    },
    FileSystem {
        name: "btrfs",
        megabytes: 128,
        make: &["mkfs.btrfs", "-q", "-f", "-K", "-m", "single"],
        mount: "defaults",
    },
];

impl FileSystem {
    /// Makes an empty one.
    pub(crate) fn make(&self, image: &Path) -> Result<()> {
        let new = image.with_extension("new");
        File::create(&new)?.set_len(self.megabytes << 20)?;
        if let [program, arguments @ ..] = self.make {
            let _ = device::run(Command::new(program).args(arguments).arg(&new))?;
        }
        copy(&new, image, "always")?;
        Ok(std::fs::remove_file(new)?)
    }

    /// What its program is in, for those who lack it.
    pub(crate) fn program(&self) -> &'static str {
        self.make.first().copied().unwrap_or_default()
    }
}

/// Copies an image, holes as holes.
pub(crate) fn copy(from: &Path, to: &Path, sparse: &str) -> Result<()> {
    let sparse = format!("--sparse={sparse}");
    let _ = device::run(Command::new("cp").arg(sparse).args([from, to]))?;
    Ok(())
}
