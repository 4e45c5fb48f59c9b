//! Which file system a directory lies on, and what a crash leaves there of text that was not synced.
//!
//! Less of it or zeros on XFS, btrfs and tmpfs, and on ext4 if that writes data before the metadata
//! that refers to it, or gives it a place only then. Of all others it is not known.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::FileSystem;
use crate::options::TailRule;

/// The file system of `directory`, whose path is `path`.
#[cfg(target_os = "linux")]
pub(super) fn of(directory: &fs::File, path: &Path) -> io::Result<FileSystem> {
    use std::os::unix::fs::MetadataExt;

    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683E;
    const TMPFS: u32 = 0x0102_1994;

    // The kernel's numbers are of 32 bits, whatever is used to hold them.
    let magic = rustix::fs::fstatfs(directory)?.f_type as u32;
    let known = match magic {
        XFS => Some("xfs"),
        BTRFS => Some("btrfs"),
        TMPFS => Some("tmpfs"),
        _ => None,
    };
    if let Some(name) = known {
        return Ok(FileSystem {
            is_in_place: magic == XFS,
            ..named(name, TailRule::Text)
        });
    }
    let number = directory.metadata()?.dev();
    let device = Device {
        major: rustix::fs::major(number),
        minor: rustix::fs::minor(number),
    };
    // What cannot be read is not known, and nothing is trusted that is not.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = fs::canonicalize(path)?;
    let Some(mount) = Mount::find(&mounts, device, &path) else {
        return Ok(named(&format!("unknown ({magic:#x})"), TailRule::Strict));
    };
    match mount.kind {
        "ext4" => Ok(ext4(&mount.all_options(device))),
        "overlay" => overlay(&mount, directory, &path),
        other => Ok(named(other, TailRule::Strict)),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn of(_: &fs::File, _: &Path) -> io::Result<FileSystem> {
    Ok(named("unknown", TailRule::Strict))
}

fn named(name: &str, tail_rule: TailRule) -> FileSystem {
    FileSystem {
        name: name.to_owned(),
        tail_rule,
        is_in_place: false,
    }
}

/// Without delayed allocation a block is a part of the file before it is written, unless the journal
/// sees to it that it is written first. What is the default of the file system may not be told.
fn ext4(options: &str) -> FileSystem {
    let has = |wanted| options.split([',', '\n']).any(|option| option == wanted);
    let is_ordered = has("data=ordered") || has("data=journal");
    match has("nodelalloc") && !is_ordered {
        true => named("ext4 with nodelalloc and data=writeback", TailRule::Strict),
        false => FileSystem {
            is_in_place: true,
            ..named("ext4", TailRule::Text)
        },
    }
}

/// What is written through an overlay lies in its upper directory; in a container that has often no
/// name.
#[cfg(target_os = "linux")]
fn overlay(mount: &Mount<'_>, directory: &fs::File, path: &Path) -> io::Result<FileSystem> {
    use std::os::unix::fs::MetadataExt;

    let unknown = || Ok(named("overlay", TailRule::Strict));
    let Some(upper) = mount.upper(path) else {
        return unknown();
    };
    let Ok(opened) = fs::File::open(&upper) else {
        return unknown();
    };
    // The path is of whoever has mounted it, and may be something else here.
    if opened.metadata()?.ino() != directory.metadata()?.ino() {
        return unknown();
    }
    let upper = of(&opened, &upper)?;
    Ok(FileSystem {
        name: format!("overlay on {}", upper.name),
        ..upper
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Device {
    major: u32,
    minor: u32,
}

/// A line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount<'m> {
    device: &'m str,
    /// Which directory of the file system is mounted, and where.
    root: PathBuf,
    point: PathBuf,
    kind: &'m str,
    options: &'m str,
}

impl<'m> Mount<'m> {
    /// The mount of `device` that `path` is in.
    fn find(mounts: &'m str, device: Device, path: &Path) -> Option<Mount<'m>> {
        let device = format!("{}:{}", device.major, device.minor);
        let mounts = mounts.lines().filter_map(Mount::parse);
        mounts
            .filter(|mount| mount.device == device && path.starts_with(&mount.point))
            .max_by_key(|mount| mount.point.components().count())
    }

    fn parse(line: &'m str) -> Option<Mount<'m>> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let mut file_system = file_system.split(' ');
        Some(Mount {
            device: mount.next()?,
            root: unescape(mount.next()?),
            point: unescape(mount.next()?),
            kind: file_system.next()?,
            options: file_system.nth(1)?,
        })
    }

    /// The options of an ext4, those of its superblock too if they can be read.
    #[cfg(target_os = "linux")]
    fn all_options(&self, device: Device) -> String {
        let Device { major, minor } = device;
        let name = fs::read_link(format!("/sys/dev/block/{major}:{minor}"));
        let name = name
            .ok()
            .and_then(|link| link.file_name().map(PathBuf::from));
        let file = name.map(|name| Path::new("/proc/fs/ext4").join(name).join("options"));
        let more = file.and_then(|file| fs::read_to_string(file).ok());
        format!("{}\n{}", self.options, more.unwrap_or_default())
    }

    /// Where in the upper directory of an overlay `path` lies.
    fn upper(&self, path: &Path) -> Option<PathBuf> {
        let mut options = self.options.split(',');
        let upper = options.find_map(|option| option.strip_prefix("upperdir="))?;
        let upper = Some(unescape(upper)).filter(|upper| upper.is_absolute())?;
        let root = self.root.strip_prefix("/").ok()?;
        let inside = path.strip_prefix(&self.point).ok()?;
        Some(upper.join(root).join(inside))
    }
}

/// A path, in which the kernel writes some characters as `\040`.
fn unescape(escaped: &str) -> PathBuf {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let octal = more.split_at_checked(3).filter(|_| *first == b'\\');
        let octal = octal.and_then(|(digits, more)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 8).ok()?, more))
        });
        let (byte, more) = octal.unwrap_or((*first, more));
        bytes.push(byte);
        rest = more;
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,nodelalloc,data=writeback
28 27 0:25 / /merged rw - overlay overlay rw,lowerdir=/low,upperdir=/up\\040here,workdir=/wd
29 27 0:25 /sub /merged/a\\040b rw - overlay overlay rw,lowerdir=/low,upperdir=/up\\040here,workdir=/wd
30 27 0:26 / /relative rw - overlay overlay rw,lowerdir=low,upperdir=up
31 27 0:27 / /share rw - nfs4 server:/ rw";

    fn find(minor: u32, major: u32, path: &str) -> Option<Mount<'static>> {
        Mount::find(MOUNTS, Device { major, minor }, Path::new(path))
    }

    #[test]
    fn a_mount_is_found_by_its_device_and_the_longest_path() {
        let root = find(0, 254, "/var/log").unwrap();
        assert_eq!(
            (root.kind, root.options),
            ("ext4", "rw,nodelalloc,data=writeback")
        );
        assert_eq!(find(27, 0, "/share/log").unwrap().kind, "nfs4");
        let inner = find(25, 0, "/merged/a b/log").unwrap();
        assert_eq!(inner.point, Path::new("/merged/a b"));
        assert_eq!(find(99, 0, "/share/log"), None);
    }

    #[test]
    fn an_overlay_knows_where_its_files_lie() {
        let upper = |path| find(25, 0, path).unwrap().upper(Path::new(path));
        assert_eq!(upper("/merged/log"), Some("/up here/log".into()));
        assert_eq!(upper("/merged/a b/log"), Some("/up here/sub/log".into()));
        // Relative to where somebody was when it was mounted.
        let relative = find(26, 0, "/relative/log").unwrap();
        assert_eq!(relative.upper(Path::new("/relative/log")), None);
    }

    #[test]
    fn ext4_is_trusted_unless_it_gives_blocks_away_before_they_are_written() {
        let rule = |options| ext4(options).tail_rule;
        assert_eq!(rule("rw,discard"), TailRule::Text);
        assert_eq!(rule("rw,data=writeback\nrw\ndelalloc"), TailRule::Text);
        assert_eq!(rule("rw,nodelalloc\ndata=ordered\n"), TailRule::Text);
        assert_eq!(rule("rw,nodelalloc,data=writeback"), TailRule::Strict);
        // The data mode may be the default of the file system.
        assert_eq!(rule("rw,nodelalloc"), TailRule::Strict);
        assert_eq!(rule("rw\nnodelalloc\ndata=writeback"), TailRule::Strict);
    }

    #[test]
    fn the_name_of_a_path_without_octal_digits_stays() {
        assert_eq!(unescape("/a\\134b\\04"), Path::new("/a\\b\\04"));
        assert_eq!(unescape("\\9zz"), Path::new("\\9zz"));
    }
}
