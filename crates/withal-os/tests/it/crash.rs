//! What is on the disk when a commit has returned.
//!
//! The disk is an image; a copy of it, taken at once, is what a power cut would leave. That it may
//! leave less before is for `cargo xtask proof crash-matrix`.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use withal_os::{AtomicBatch, AtomicWriter, Durability, write_atomic};

use crate::support::{Mount, Place, names, read};

/// How an empty filesystem is made.
const FILESYSTEMS: [&[&str]; 3] = [
    &["mkfs.ext4", "-q"],
    // Who syncs a file here before it has a name loses it.
    &["mkfs.ext4", "-q", "-O", "^has_journal"],
    &["mkfs.btrfs", "-q"],
];

/// Does `work` on each filesystem, where "old" is in `a`, crashes it, and has `check` look at it.
fn crash(work: impl Fn(&Path), check: impl Fn(&Path)) {
    for make in FILESYSTEMS {
        let place = Place::new();
        let (image, crashed) = (place.join("image"), place.join("crashed"));
        let (before, after) = (place.join("before"), place.join("after"));
        fs::create_dir(&before).unwrap();
        fs::create_dir(&after).unwrap();
        File::create(&image).unwrap().set_len(128 << 20).unwrap();
        match Command::new(make[0]).args(&make[1..]).arg(&image).output() {
            Ok(output) if output.status.success() => {}
            refused => {
                eprintln!("skipped: {make:?}: {refused:?}");
                continue;
            }
        }
        {
            let Some(_mount) = Mount::new(&["-o", "loop", image.to_str().unwrap()], &before) else {
                return;
            };
            fs::create_dir(before.join("d")).unwrap();
            write_atomic(before.join("d/a"), "old").unwrap();
            rustix::fs::syncfs(File::open(&before).unwrap()).unwrap();
            work(&before.join("d"));
            let mut copy = Command::new("cp");
            let copied = copy
                .arg("--sparse=always")
                .arg(&image)
                .arg(&crashed)
                .status();
            assert!(copied.unwrap().success());
        }
        // Two disks of one identity would be one to btrfs.
        fs::remove_file(&image).unwrap();
        let options = ["-o", "loop", crashed.to_str().unwrap()];
        let _mount = Mount::new(&options, &after).expect("it could be mounted before");
        check(&after.join("d"));
    }
}

#[test]
fn a_replaced_file_is_on_the_disk() {
    crash(
        |directory| write_atomic(directory.join("a"), "new").unwrap(),
        |directory| {
            assert_eq!(read(directory.join("a")), "new");
            assert_eq!(names(directory), ["a"]);
        },
    );
}

#[test]
fn a_replaced_file_is_old_or_new_if_its_content_alone_was_synced() {
    crash(
        |directory| {
            let writer = AtomicWriter::create(directory.join("a"));
            let mut file = writer.durability(Durability::Content).open().unwrap();
            file.write_all(b"new").unwrap();
            file.commit().unwrap();
        },
        |directory| {
            let found = read(directory.join("a"));
            assert!(["old", "new"].contains(&&*found), "{found}");
        },
    );
}

#[test]
fn new_files_and_backups_and_batches_are_on_the_disk() {
    crash(
        |directory| {
            let mut new = AtomicWriter::create_new(directory.join("b"))
                .open()
                .unwrap();
            new.write_all(b"new").unwrap();
            new.commit().unwrap();
            let kept = AtomicWriter::create(directory.join("a")).backup_suffix("~");
            let mut kept = kept.open().unwrap();
            kept.write_all(b"new").unwrap();
            kept.commit().unwrap();
            let mut batch = AtomicBatch::new();
            for name in ["b", "c"] {
                let file = batch
                    .open(AtomicWriter::create(directory.join(name)))
                    .unwrap();
                file.write_all(b"newer").unwrap();
            }
            batch.commit().unwrap();
        },
        |directory| {
            let found = names(directory).into_iter();
            let found: Vec<_> = found
                .map(|name| (read(directory.join(&name)), name))
                .collect();
            let found: Vec<_> = found
                .iter()
                .map(|(text, name)| (&**name, &**text))
                .collect();
            assert_eq!(
                found,
                [("a", "new"), ("a~", "old"), ("b", "newer"), ("c", "newer")]
            );
        },
    );
}
