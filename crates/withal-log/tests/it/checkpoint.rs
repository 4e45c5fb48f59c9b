//! Batch jobs that are killed go on where they were.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use withal_core::with;
use withal_log::{Checkpoint, LogErrorKind};

const ITEMS: usize = 200;

#[test]
fn finished_items_are_remembered_whatever_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("done");
    let keys: [&[u8]; 6] = [
        b"plain",
        b"",
        b"new\nline",
        b"nul\0",
        b"\xc0\x80",
        "ü".as_bytes(),
    ];
    with(Checkpoint::open(&path), |finished| {
        assert!(finished.is_empty());
        for key in keys {
            assert!(!finished.is_done(key));
            assert!(finished.done(key)?);
            assert!(!finished.done(key)?, "noted once");
        }
        Ok(())
    })
    .unwrap();
    let finished = Checkpoint::open(&path).open().unwrap();
    assert_eq!(finished.len(), keys.len());
    assert!(keys.iter().all(|key| finished.is_done(key)));
    let known: BTreeSet<_> = finished.finished().into_iter().collect();
    assert_eq!(known, keys.into_iter().map(Box::from).collect());
    let busy = Checkpoint::open(&path).open().unwrap_err();
    assert_eq!(busy.kind(), LogErrorKind::Busy);
    finished.done(vec![0; (1 << 20) + 1]).unwrap_err();
    finished.close().unwrap();
}

/// The job of the test below: says on stdout what it has done, once that is noted.
#[test]
fn job() {
    let Ok(path) = std::env::var("WITHAL_TEST_JOB") else {
        return;
    };
    let path = Path::new(&path);
    let finished = Checkpoint::open(path.join("done")).open().unwrap();
    let mut worked = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(path.join("worked"))
        .unwrap();
    for item in 0..ITEMS {
        let key = item.to_string();
        if !finished.is_done(&key) {
            writeln!(worked, "{item}").unwrap();
            finished.done(&key).unwrap();
            writeln!(std::io::stdout(), "done {item}").unwrap();
        }
    }
    finished.close().unwrap();
    fs::write(path.join("ended"), "").unwrap();
}

#[test]
fn a_killed_job_redoes_nothing_that_was_acknowledged_and_skips_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeSet::new();
    let mut kills = 0;
    while !folder.path().join("ended").exists() {
        let mut job = Command::new(std::env::current_exe().unwrap())
            .args(["checkpoint::job", "--exact", "--nocapture"])
            .env("WITHAL_TEST_JOB", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // It is killed somewhere in the work on the items that follow those.
        let enough = 1 + kills * 7 % 23;
        let lines = BufReader::new(job.stdout.take().unwrap()).lines();
        let mut heard = 0;
        for line in lines {
            if let Some((_, item)) = line.unwrap().split_once("done ") {
                let is_new = acknowledged.insert(item.parse::<usize>().unwrap());
                assert!(is_new, "{item} done again");
                heard += 1;
                if heard == enough {
                    job.kill().unwrap();
                }
            }
        }
        job.wait().unwrap();
        kills += 1;
    }
    let worked = fs::read_to_string(folder.path().join("worked")).unwrap();
    let worked: Vec<usize> = worked.lines().map(|line| line.parse().unwrap()).collect();
    let distinct: BTreeSet<_> = worked.iter().copied().collect();
    assert_eq!(distinct.len(), ITEMS, "nothing skipped");
    // What was begun and not acknowledged when it was killed may be done twice.
    assert!(
        worked.len() <= ITEMS + kills,
        "{} of {ITEMS}, {kills} kills",
        worked.len()
    );
    assert!(kills > 5);
}
