//! Records that are durable by way of the commit ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use withal_log::storage::Storage;
use withal_log::{
    CommitRing, Durability, Log, LogErrorKind, LogOptions, ProblemKind, Reader, RepairKind,
    RepairOptions, ReverseReader, Verdict, repair_in, verify_in,
};

use crate::crash::read;
use crate::disk::{Dice, Fault, FaultDisk};

pub(crate) const PAGE: u64 = 4096;

/// Time stands still, so the text is synced only when the ring is half full.
pub(crate) fn still() -> u64 {
    1_763_680_800_000
}

/// Time goes by with each record, so the text is synced now and then.
pub(crate) fn going() -> u64 {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    NOW.fetch_add(120, Ordering::Relaxed)
}

pub(crate) fn options() -> LogOptions {
    Log::open("log")
        .durability(Durability::Always)
        .commit_ring(CommitRing::Always)
        .ring_size(64 * PAGE)
        .clock(still)
}

/// A disk after a power loss that has taken all of the text that was not synced.
fn without_text(disk: &FaultDisk) -> FaultDisk {
    let left = disk.after_kill();
    left.lose_unsynced();
    left
}

fn problems(storage: &Arc<dyn Storage>) -> Vec<ProblemKind> {
    let report = verify_in(storage, |_| ()).unwrap();
    report.problems.iter().map(|problem| problem.kind).collect()
}

/// A log whose records are in the ring, and not in the text.
fn torn(records: &[&str]) -> FaultDisk {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    for record in records {
        let _ = log.append(record).unwrap();
    }
    let torn = without_text(&disk);
    drop(log);
    torn
}

#[test]
fn a_record_in_the_ring_needs_no_sync() {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    let _ = log.append("first").unwrap();
    let before = disk.syncs();
    for _ in 0..20 {
        let _ = log.append("durable").unwrap();
    }
    assert_eq!(disk.syncs(), before);
    assert_eq!(log.progress().durable, 21);
    log.close().unwrap();
    assert_eq!(problems(&disk.storage()), []);
}

#[test]
fn a_log_that_is_synced_rarely_has_no_ring() {
    let disk = FaultDisk::default();
    let log = options().commit_ring(CommitRing::Auto);
    let log = log.open_in(disk.storage()).unwrap();
    for _ in 0..32 {
        let _ = log.append("x").unwrap();
    }
    assert!(!disk.names().contains(&"ring".to_owned()));
    let _ = log.append("x").unwrap();
    assert!(disk.names().contains(&"ring".to_owned()));
    let syncs = disk.syncs();
    let _ = log.append("x").unwrap();
    assert_eq!(disk.syncs(), syncs);
    log.close().unwrap();
}

#[test]
fn few_syncs_a_second_need_no_ring_however_long_it_lasts() {
    let disk = FaultDisk::default();
    let log = options().commit_ring(CommitRing::Auto).clock(going);
    let log = log.open_in(disk.storage()).unwrap();
    for _ in 0..200 {
        let _ = log.append("x").unwrap();
    }
    log.close().unwrap();
    assert!(!disk.names().contains(&"ring".to_owned()));
}

#[test]
fn a_ring_that_is_not_wanted_any_more_is_removed_once_the_text_has_all_of_it() {
    for unwanted in [
        options().commit_ring(CommitRing::Never),
        options().durability(Durability::Buffered),
    ] {
        let disk = torn(&["one", "two"]);
        let log = unwanted.open_in(disk.storage()).unwrap();
        assert!(!disk.names().contains(&"ring".to_owned()));
        log.close().unwrap();
        assert_eq!(read(&without_text(&disk).storage()).unwrap(), b"one\ntwo\n");
    }
}

#[test]
fn what_a_crash_has_taken_from_the_text_is_put_back() {
    let disk = torn(&["one", "two", "three"]);
    let storage = disk.storage();
    assert_eq!(problems(&storage), [ProblemKind::InCommitRing]);
    let report = verify_in(&storage, |_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::TornTail);
    assert_eq!((report.problems[0].offset, report.problems[0].len), (0, 14));

    let log = options().open_in(disk.storage()).unwrap();
    assert_eq!(log.recovery().unwrap().restored, 14);
    assert_eq!(log.progress().durable, 3);
    let _ = log.append("four").unwrap();
    log.close().unwrap();
    assert_eq!(problems(&storage), []);
    let left = without_text(&disk).storage();
    assert_eq!(read(&left).unwrap(), b"one\ntwo\nthree\nfour\n");
}

#[test]
fn readers_say_what_is_in_the_ring_only_once() {
    let storage = torn(&["one", "two"]).storage();
    let mut reader = Reader::open_in(Arc::clone(&storage)).unwrap();
    let told = reader.next_chunk().unwrap_err();
    assert_eq!(told.kind(), LogErrorKind::Corrupt);
    let message = "`ring` has 8 bytes that a crash has torn from the end of the log; \
        `withal log repair` puts them back";
    assert_eq!(told.to_string(), message);
    assert_eq!(reader.next_chunk().unwrap(), None);

    let mut reader = ReverseReader::open_in(Arc::clone(&storage)).unwrap();
    assert_eq!(reader.next_line().unwrap_err().to_string(), message);
    assert_eq!(reader.next_line().unwrap(), None);
}

#[test]
fn repair_puts_it_back_and_says_so() {
    let storage = torn(&["one", "two"]).storage();
    let restored = RepairKind::Restored { bytes: 8 };
    let look = RepairOptions {
        dry_run: true,
        ..RepairOptions::default()
    };
    for options in [look, RepairOptions::default()] {
        let actions = repair_in(&storage, &options, |_| ()).unwrap();
        let kinds: Vec<_> = actions.iter().map(|action| action.kind).collect();
        assert_eq!(kinds, [restored]);
    }
    assert_eq!(read(&storage).unwrap(), b"one\ntwo\n");
    assert_eq!(problems(&storage), []);
    assert_eq!(
        repair_in(&storage, &RepairOptions::default(), |_| ()).unwrap(),
        []
    );
}

#[test]
fn a_ring_that_cannot_be_written_is_left() {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    let _ = log.append("in the ring").unwrap();
    // The text is written, then the ring is not.
    disk.plan(1, Fault::Fails(std::io::ErrorKind::Other));
    let syncs = disk.syncs();
    let _ = log.append("in the text").unwrap();
    assert_eq!(disk.syncs(), syncs + 1);
    let _ = log.append("there, too").unwrap();
    assert_eq!(disk.syncs(), syncs + 2);
    let left = disk.after_power_loss(&mut Dice(7)).storage();
    assert_eq!(
        read(&left).unwrap(),
        b"in the ring\nin the text\nthere, too\n"
    );
    let events = String::from_utf8(disk.read("events.jsonl").unwrap()).unwrap();
    assert!(events.contains("commit ring failed"), "{events}");
    log.close().unwrap();
}

#[test]
fn where_durable_text_is_gone_the_log_goes_on_behind_it() {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    let _ = log.append("gone").unwrap();
    log.close().unwrap();
    let log = options().open_in(disk.storage()).unwrap();
    let _ = log.append("saved").unwrap();
    let left = without_text(&disk);
    drop(log);
    // All segments are lost.
    for name in left.names() {
        if name.ends_with(".log") || name.ends_with(".idx") {
            left.storage().remove(&name).unwrap();
        }
    }
    let storage = left.storage();
    let found = problems(&storage);
    assert!(found.contains(&ProblemKind::MissingText), "{found:?}");
    assert!(found.contains(&ProblemKind::InCommitRing), "{found:?}");
    let log = options().open_in(Arc::clone(&storage)).unwrap();
    let _ = log.append("more").unwrap();
    assert_eq!(log.progress().written, 3);
    log.close().unwrap();
    let mut reader = Reader::open_in(Arc::clone(&storage)).unwrap();
    let hole = reader.next_chunk().unwrap_err();
    assert_eq!(hole.kind(), LogErrorKind::Corrupt);
    assert_eq!(reader.next_chunk().unwrap(), Some(&b"saved\nmore\n"[..]));
    assert_eq!(problems(&storage), [ProblemKind::MissingSegment]);
}

#[test]
fn a_closed_log_takes_nothing_from_its_ring() {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    let _ = log.append("thrown away").unwrap();
    log.close().unwrap();
    for name in disk.names() {
        if name.ends_with(".log") || name.ends_with(".idx") {
            disk.storage().remove(&name).unwrap();
        }
    }
    let log = options().open_in(disk.storage()).unwrap();
    assert_eq!(log.recovery(), None);
    let _ = log.append("new").unwrap();
    log.close().unwrap();
    let mut reader = Reader::open_in(disk.storage()).unwrap();
    // Its place stays free.
    assert!(reader.next_chunk().is_err());
    assert_eq!(reader.next_chunk().unwrap(), Some(&b"new\n"[..]));
    assert_eq!(reader.next_chunk().unwrap(), None);
}

#[test]
fn what_is_in_the_ring_outlives_a_disk_that_stops_the_log() {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    for record in ["one", "two"] {
        let _ = log.append(record).unwrap();
    }
    // The sync of the text fails, and there is no space for another segment.
    disk.plan_full(0, 40);
    disk.plan(0, Fault::Fails(std::io::ErrorKind::Other));
    let stopped = log.clone().close().unwrap_err();
    assert_eq!(stopped.kind(), LogErrorKind::Stopped);
    drop(log);
    // Another process finds what the system remembers, and its syncs succeed.
    let disk = disk.after_kill();
    options().open_in(disk.storage()).unwrap().close().unwrap();
    let left = disk.after_power_loss(&mut Dice(7)).storage();
    assert_eq!(read(&left).unwrap(), b"one\ntwo\n");
}
