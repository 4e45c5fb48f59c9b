//! How much is in a directory, while others write to it.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::BinaryBytes;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::run::Alarms;

/// How often it is looked at, if that takes no time to speak of.
const PAUSE: Duration = Duration::from_secs(1);

/// How many times as long as it took to look is rested after it: a twentieth of a core is spent.
const REST: u32 = 19;

/// What `st_blocks` counts.
const BLOCK: u64 = 512;

/// Looks at a directory until there is more in it than `limit` bytes; then an alarm tells.
pub(super) async fn watch(directory: PathBuf, limit: u64, name: String, alarms: Alarms) {
    loop {
        let begun = Instant::now();
        let directory = directory.clone();
        let used = match spawn_blocking(move || used(&directory)).await {
            Ok(used) => used,
            Err(panicked) => {
                let _heard = alarms.raise(format!("{name}: {panicked}"));
                return;
            }
        };
        if used > limit {
            let (used, limit) = (BinaryBytes(used), BinaryBytes(limit));
            let _heard = alarms.raise(format!("{name}: {used} in it, its limit is {limit}"));
            return;
        }
        sleep(PAUSE.max(begun.elapsed() * REST)).await;
    }
}

/// How many bytes of the disk are taken by what is in `directory`: holes take none, and a file of
/// several names counts once. Nothing is followed out of it, by links or mounts.
///
/// What goes meanwhile does not count, nor what is in a directory that may not be read.
fn used(directory: &Path) -> u64 {
    let Ok(root) = fs::symlink_metadata(directory) else {
        return 0;
    };
    let mut used = 0;
    let mut linked = HashSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
        for entry in entries {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let is_counted = metadata.is_dir()
                || metadata.nlink() < 2
                || linked.insert((metadata.dev(), metadata.ino()));
            if is_counted {
                used += metadata.blocks() * BLOCK;
            }
            if metadata.is_dir() && metadata.dev() == root.dev() {
                open.push(entry.path());
            }
        }
    }
    used
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::used;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_on_the_disk_counts_once_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let root = folder.path();
        assert_eq!(used(root), 0);
        let full = |path| fs::write(path, vec![1; 3 << 20]).unwrap();
        full(elsewhere.path().join("big"));
        symlink(elsewhere.path(), root.join("link")).unwrap();
        symlink(root, root.join("round")).unwrap();
        File::create(root.join("hole"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        assert!(used(root) < MIB, "{}", used(root));
        fs::create_dir_all(root.join("a/b")).unwrap();
        full(root.join("a/b/one"));
        fs::hard_link(root.join("a/b/one"), root.join("a/two")).unwrap();
        let once = used(root);
        assert!((3 * MIB..4 * MIB).contains(&once), "{once}");
        full(root.join("a/three"));
        let twice = used(root);
        assert!((6 * MIB..7 * MIB).contains(&twice), "{twice}");
        assert_eq!(used(&root.join("gone")), 0);
    }
}
