//! Replacing a file durably: `AtomicWriter` beside the bare system calls and `tempfile`.
//!
//! All of them write a new file in the same folder, sync it, rename it over the old one and sync
//! the folder. The peer in Python is benches/python/atomic_file.py. Files stand below `TMPDIR`,
//! which `cargo xtask bench` sets to a folder on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;
use withal_benches::{Bench, US, timed};
use withal_core::with;
use withal_os::AtomicWriter;

const SIZES: [(&str, usize); 3] = [("4 KiB", 4 << 10), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20)];

fn main() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("target");
    let largest = vec![b'x'; SIZES.iter().map(|(_, size)| *size).max().unwrap_or(0)];
    let mut bench = Bench::from_arguments();
    for (name, size) in SIZES {
        let work = format!("replace a file of {name}, durably");
        let bytes = largest.get(..size).unwrap_or(&largest);
        let target = target.as_path();
        bench.case(&work, US, move |n| {
            timed(n, |_| atomic_writer(target, bytes))
        });
        bench.case(&work, "bare system calls", move |n| {
            timed(n, |_| {
                bare(target, bytes).expect("the folder can be written")
            })
        });
        bench.case(
            &work,
            "tempfile, `sync_all`, `persist`, folder synced",
            move |n| {
                timed(n, |_| {
                    persist(target, bytes).expect("the folder can be written")
                })
            },
        );
    }
    bench.run()
}

fn atomic_writer(target: &Path, bytes: &[u8]) {
    with(AtomicWriter::create(target), |file| {
        Ok(file.write_all(bytes)?)
    })
    .expect("the folder can be written");
}

/// No name is made up and nothing is cleaned up on failure: the least one can do.
fn bare(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = target.with_extension("temporary");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, target)?;
    sync_folder(target)
}

fn persist(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(folder_of(target))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let _ = file.persist(target)?;
    sync_folder(target)
}

fn sync_folder(target: &Path) -> io::Result<()> {
    File::open(folder_of(target))?.sync_all()
}

fn folder_of(target: &Path) -> &Path {
    target.parent().unwrap_or(Path::new("."))
}
