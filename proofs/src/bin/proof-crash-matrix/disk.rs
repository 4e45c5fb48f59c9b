//! The file systems, and their empty images.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::device;

/// A file system, and how it is mounted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileSystem {
    pub(crate) name: &'static str,
    /// As `mount` knows it.
    pub(crate) kind: &'static str,
    megabytes: u64,
    make: &'static [&'static str],
    /// How it is mounted, the image of a crash too.
    pub(crate) mount: &'static str,
    /// What its disk is full of before it is made.
    old: Old,
}

/// What a disk holds where nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Zeros,
    /// Something that shows if it comes to be read: zeros would pass for a text that is cut.
    Garbage,
}

const GARBAGE: u8 = 0xAB;

const EXT4: FileSystem = FileSystem {
    name: "ext4",
    kind: "ext4",
    megabytes: 128,
    make: &["mkfs.ext4", "-q", "-F", "-J", "size=8", "-E", "nodiscard"],
    mount: "defaults",
    old: Old::Zeros,
};

const EXT4_NODELALLOC: FileSystem = FileSystem {
    name: "ext4-nodelalloc",
    mount: "nodelalloc",
    ..EXT4
};

const EXT4_WRITEBACK: FileSystem = FileSystem {
    name: "ext4-writeback",
    mount: "data=writeback",
    ..EXT4
};

/// Text that is older than the file comes to be read here, whoever writes it: logs are strict.
const EXT4_BOTH: FileSystem = FileSystem {
    name: "ext4-nodelalloc-writeback",
    mount: "nodelalloc,data=writeback",
    ..EXT4
};

const XFS: FileSystem = FileSystem {
    name: "xfs",
    kind: "xfs",
    megabytes: 320,
    make: &["mkfs.xfs", "-q", "-f", "-K"],
    // The original may still be known under the same identity.
    mount: "nouuid",
    old: Old::Zeros,
};

const BTRFS: FileSystem = FileSystem {
    name: "btrfs",
    kind: "btrfs",
    megabytes: 128,
    make: &["mkfs.btrfs", "-q", "-f", "-K", "-m", "single"],
    mount: "defaults",
    old: Old::Zeros,
};

pub(crate) const FILE_SYSTEMS: &[FileSystem] = &[
    EXT4,
    EXT4_NODELALLOC,
    EXT4_WRITEBACK,
    XFS,
    BTRFS,
    EXT4.on_garbage("ext4-garbage"),
    EXT4_NODELALLOC.on_garbage("ext4-nodelalloc-garbage"),
    EXT4_WRITEBACK.on_garbage("ext4-writeback-garbage"),
    EXT4_BOTH.on_garbage("ext4-nodelalloc-writeback-garbage"),
    XFS.on_garbage("xfs-garbage"),
    BTRFS.on_garbage("btrfs-garbage"),
];

impl FileSystem {
    /// The same on a disk that was used before.
    const fn on_garbage(self, name: &'static str) -> FileSystem {
        FileSystem {
            name,
            old: Old::Garbage,
            ..self
        }
    }

    /// Makes an empty one.
    pub(crate) fn make(&self, image: &Path) -> Result<()> {
        let new = image.with_extension("new");
        self.old.fill(&mut File::create(&new)?, self.megabytes)?;
        if let [program, arguments @ ..] = self.make {
            let _ = device::run(Command::new(program).args(arguments).arg(&new))?;
        }
        copy(&new, image, "always")?;
        Ok(std::fs::remove_file(new)?)
    }

    /// Whether it gives away what was freed before that is durable.
    pub(crate) fn reuses_at_once(&self) -> bool {
        self.mount.contains("data=writeback")
    }

    /// What its program is in, for those who lack it.
    pub(crate) fn program(&self) -> &'static str {
        self.make.first().copied().unwrap_or_default()
    }
}

impl Old {
    fn fill(self, disk: &mut File, megabytes: u64) -> Result<()> {
        if self == Old::Zeros {
            return Ok(disk.set_len(megabytes << 20)?);
        }
        let megabyte = vec![GARBAGE; 1 << 20];
        for _ in 0..megabytes {
            disk.write_all(&megabyte)?;
        }
        Ok(())
    }
}

/// Copies an image, holes as holes.
pub(crate) fn copy(from: &Path, to: &Path, sparse: &str) -> Result<()> {
    let sparse = format!("--sparse={sparse}");
    let _ = device::run(Command::new("cp").arg(sparse).args([from, to]))?;
    Ok(())
}
