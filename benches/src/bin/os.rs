//! Replacing files durably: `AtomicWriter` beside the bare system calls and other crates.
//!
//! All of them write a new file in the same folder, sync it, rename it over the old one and sync
//! the folder. The peer in Python is benches/python/atomic_file.py. Files stand below `TMPDIR`,
//! which `cargo xtask bench` sets to a folder on the disk.

use std::error::Error;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use withal_benches::{Bench, US, timed};
use withal_core::with;
use withal_os::{AtomicBatch, AtomicWriter};

/// How many files are replaced at once, and how large they are.
const BATCH: usize = 64;
const SMALL: usize = 4 << 10;
const SIZES: [(&str, usize); 3] = [("4 KiB", 4 << 10), ("1 MiB", 1 << 20), ("16 MiB", 16 << 20)];

fn main() -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    let target = folder.path().join("target");
    let targets: Vec<PathBuf> = (0..BATCH)
        .map(|index| folder.path().join(format!("target{index}")))
        .collect();
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
    let bytes = largest.get(..SMALL).unwrap_or(&largest);
    bench.case("replace a file of 4 KiB, durably", "atomicwrites", |n| {
        timed(n, |_| {
            atomicwrites(&target, bytes).expect("the folder can be written")
        })
    });
    let work = format!("replace {BATCH} files of 4 KiB, durably");
    bench.case(&work, US, |n| {
        timed(n, |_| {
            batch(&targets, bytes).expect("the folder can be written")
        })
    });
    bench.case(&work, "`AtomicWriter`, one by one", |n| {
        timed(n, |_| {
            targets
                .iter()
                .for_each(|target| atomic_writer(target, bytes))
        })
    });
    bench.case(&work, "bare system calls, one by one", |n| {
        timed(n, |_| {
            let each = |target: &PathBuf| bare(target, bytes);
            targets
                .iter()
                .try_for_each(each)
                .expect("the folder can be written")
        })
    });
    bench.run()
}

fn batch(targets: &[PathBuf], bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut batch = AtomicBatch::new();
    for target in targets {
        batch.open(AtomicWriter::create(target))?.write_all(bytes)?;
    }
    Ok(batch.commit()?)
}

fn atomicwrites(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = atomicwrites::AtomicFile::new(target, atomicwrites::AllowOverwrite);
    Ok(file.write(|file| file.write_all(bytes))?)
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
