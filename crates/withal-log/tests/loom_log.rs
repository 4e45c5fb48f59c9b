//! Every interleaving of a few who append, and of the worker.
//!
//! Run with `RUSTFLAGS="--cfg withal_loom" cargo test --release -p withal-log --test loom_log`.
#![cfg(withal_loom)]
#![allow(
    missing_docs,
    unused_results,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test"
)]

#[allow(dead_code, reason = "the other tests use the rest of it")]
#[path = "it/disk.rs"]
mod disk;

use loom::future::block_on;
use loom::thread::{JoinHandle, spawn};
use withal_log::{Durability, Log, LogError, LogErrorKind};

use self::disk::FaultDisk;

/// Up to four preemptions: more take minutes.
fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(4);
    builder.check(check);
}

fn open(durability: Durability) -> (FaultDisk, Log) {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(durability).clock(|| 1_000);
    let log = log.open_in(disk.storage()).unwrap();
    (disk, log)
}

/// Whether the line is there whatever happens.
fn is_durable(disk: &FaultDisk, line: &str) -> bool {
    let text = String::from_utf8(disk.durable_text()).unwrap();
    text.lines().any(|found| found == line)
}

/// Appends in a thread of its own, and checks what is promised when that returns.
fn appends(disk: &FaultDisk, log: &Log, line: &'static str) -> JoinHandle<()> {
    let (disk, log) = (disk.clone(), log.clone());
    spawn(move || {
        log.append_durable(line).unwrap();
        assert!(is_durable(&disk, line), "{line}");
    })
}

#[test]
fn those_who_append_at_once_all_return_and_are_durable_then() {
    model(|| {
        let (disk, log) = open(Durability::Always);
        let other = appends(&disk, &log, "first");
        log.append_durable("second").unwrap();
        assert!(is_durable(&disk, "second"));
        other.join().unwrap();
        assert_eq!((log.progress().written, log.progress().durable), (2, 2));
        log.close().unwrap();
    });
}

#[test]
fn one_who_wants_a_sync_is_served_beside_one_who_does_not() {
    model(|| {
        let (disk, log) = open(Durability::Buffered);
        let other = appends(&disk, &log, "durable");
        log.append("buffered").unwrap();
        log.sync().unwrap();
        assert!(is_durable(&disk, "buffered"));
        other.join().unwrap();
        log.close().unwrap();
    });
}

#[test]
fn a_future_is_woken() {
    model(|| {
        let (disk, log) = open(Durability::Always);
        let other = appends(&disk, &log, "blocking");
        block_on(log.append_async("awaited")).unwrap();
        assert!(is_durable(&disk, "awaited"));
        other.join().unwrap();
        log.close().unwrap();
    });
}

#[test]
fn one_who_watches_hears_of_it() {
    model(|| {
        let (disk, log) = open(Durability::Always);
        let other = appends(&disk, &log, "line");
        log.wait_durable(1).unwrap();
        assert!(is_durable(&disk, "line"));
        other.join().unwrap();
        log.close().unwrap();
    });
}

#[test]
fn closing_refuses_a_record_or_makes_it_durable() {
    model(|| {
        let (disk, log) = open(Durability::Always);
        let other = {
            let (disk, log) = (disk.clone(), log.clone());
            spawn(move || match log.append_durable("line") {
                Ok(_) => assert!(is_durable(&disk, "line")),
                Err(error) => assert_eq!(error.kind(), LogErrorKind::Closed),
            })
        };
        log.close().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn everybody_hears_of_a_disk_that_breaks() {
    model(|| {
        let (disk, log) = open(Durability::Always);
        disk.plan_broken();
        let stopped = |appended: Result<u64, LogError>| {
            assert_eq!(appended.unwrap_err().kind(), LogErrorKind::Stopped);
        };
        let other = {
            let log = log.clone();
            spawn(move || stopped(log.append_durable("first")))
        };
        stopped(log.append_durable("second"));
        other.join().unwrap();
        log.close().unwrap_err();
    });
}
