//! Records that are durable by way of the commit ring.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use withal_log::storage::Storage;
use withal_log::{
    CommitRing, Durability, Log, LogErrorKind, LogOptions, OnFull, ProblemKind, Reader, RepairKind,
    RepairOptions, ReverseReader, Verdict, last_lines, repair_in, verify, verify_in,
};

use crate::crash::{read, read_around_holes};
use crate::damage::repaired_as_foreseen;
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

/// A log whose writer was killed, its records in the ring and not synced in the text.
fn killed(records: &[&str]) -> FaultDisk {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    for record in records {
        let _ = log.append(record).unwrap();
    }
    disk.after_kill()
}

/// The same after a power loss: they are in the ring only.
fn torn(records: &[&str]) -> FaultDisk {
    without_text(&killed(records))
}

/// A log that was closed, and has a ring.
fn closed(record: &str) -> FaultDisk {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    let _ = log.append(record).unwrap();
    log.close().unwrap();
    disk
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
    let disk = closed("gone");
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
fn a_dry_run_foresees_that_the_log_goes_on_behind_what_is_gone() {
    for len in [0, 2] {
        let disk = closed("one");
        let text = disk.names().into_iter().find(|it| it.ends_with(".log"));
        disk.damage(&text.unwrap(), |text| text.truncate(len));
        let done = repaired_as_foreseen(&disk);
        let left = RepairKind::Left(ProblemKind::MissingSegment);
        assert_eq!(done.last().unwrap().kind, left, "{done:?}");
    }
}

#[test]
fn what_a_lost_segment_had_is_told_of_once() {
    let disk = FaultDisk::default();
    let log = options().rotate_size(100).open_in(disk.storage()).unwrap();
    for number in 0..20 {
        let _ = log.append(format!("record number {number:04}")).unwrap();
    }
    log.close().unwrap();
    let texts = disk.names().into_iter().filter(|it| it.ends_with(".log"));
    disk.storage().remove(&texts.max().unwrap()).unwrap();
    let found = problems(&disk.storage());
    assert_eq!(found, [ProblemKind::MissingSegment]);
}

#[test]
fn a_closed_log_takes_nothing_from_its_ring() {
    let disk = closed("thrown away");
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

const EIO: Fault = Fault::Fails(std::io::ErrorKind::Other);

/// Whoever opens what was left meets a failure and is started again; then comes a power loss.
fn check_started_again(left: impl Fn() -> FaultDisk) {
    for at in 0..16 {
        let left = left();
        left.plan(at, EIO);
        let Err(_) = options().open_in(left.storage()) else {
            continue;
        };
        let log = options().open_in(left.storage()).unwrap();
        let _ = log.append("four").unwrap();
        log.close().unwrap();
        let left = left.after_power_loss(&mut Dice(7)).storage();
        let text = read(&left).map(|text| String::from_utf8(text).unwrap());
        assert_eq!(text.unwrap(), "one\ntwo\nthree\nfour\n", "at {at}");
    }
}

#[test]
fn a_failed_sync_of_recovery_loses_nothing() {
    check_started_again(|| killed(&["one", "two", "three"]));
}

/// What is put back from the ring is not synced at first.
#[test]
fn a_failed_sync_of_what_is_put_back_loses_nothing() {
    check_started_again(|| torn(&["one", "two", "three"]));
}

/// Nothing is written, so no space is asked for.
#[test]
fn a_closed_log_is_opened_on_a_full_disk() {
    let disk = closed("one");
    disk.plan_full(0, 1_000);
    options().open_in(disk.storage()).unwrap().close().unwrap();
}

/// The sync beside the writing fails, and the writer is killed before it looks what came of it: the
/// system tells nobody else.
#[test]
fn a_failed_sync_that_nobody_has_heard_of_loses_nothing() {
    for at in 0..6 {
        let disk = FaultDisk::default();
        let log = options()
            .ring_size(4 * 4096)
            .open_in(disk.storage())
            .unwrap();
        let _ = log.append("one").unwrap();
        disk.plan(at, EIO);
        let _ = log.append("two").unwrap(); // acknowledged; the ring is half full
        let killed = disk.after_kill();
        drop(log);
        let log = options().open_in(killed.storage()).unwrap();
        log.close().unwrap();
        for seed in 1..20 {
            let left = killed.after_power_loss(&mut Dice(seed));
            let log = options().open_in(left.storage());
            let log = log.unwrap_or_else(|error| panic!("at {at}: {error}"));
            log.close().unwrap();
            let text = String::from_utf8(read(&left.storage()).unwrap()).unwrap();
            assert_eq!(text, "one\ntwo\n", "at {at}");
        }
    }
}

/// No ring at all: what nobody was promised stays in a text whose sync has failed, and takes what
/// comes behind it along.
#[test]
fn what_stays_of_a_stopped_log_takes_nothing_along() {
    for ring in [CommitRing::Always, CommitRing::Never] {
        for at in 0..30 {
            let disk = FaultDisk::default();
            let log = options().commit_ring(ring).on_full(OnFull::Fail);
            let log = log.open_in(disk.storage()).unwrap();
            let _ = log.append("one").unwrap();
            disk.plan(at, EIO);
            disk.plan_full(at, at + 2);
            for _ in 0..8 {
                let _ = log.append("two").is_ok();
            }
            let killed = disk.after_kill();
            let _ = log.close();
            let Ok(log) = options().commit_ring(ring).open_in(killed.storage()) else {
                continue;
            };
            let _ = log.append("after").unwrap(); // acknowledged
            let left = killed.after_power_loss(&mut Dice(7));
            drop(log);
            let log = options().commit_ring(ring).open_in(left.storage()).unwrap();
            log.close().unwrap();
            let (text, _told) = read_around_holes(&left.storage());
            let text = String::from_utf8(text).unwrap();
            assert!(text.ends_with("after\n"), "{ring:?} at {at}: {text:?}");
        }
    }
}

fn durable_len(path: &Path) -> usize {
    let mut reader = Reader::open(path).unwrap().durable_only();
    let mut len = 0;
    while let Some(chunk) = reader.next_chunk().unwrap() {
        len += chunk.len();
    }
    len
}

/// The clock is the real one.
#[test]
fn who_reads_only_what_is_durable_sees_all_of_it_soon() {
    for ring in [CommitRing::Always, CommitRing::Never] {
        for round in 0..2 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("log");
            let log = Log::open(&path).durability(Durability::Always);
            let log = log.commit_ring(ring).open().unwrap();
            let until = Instant::now() + Duration::from_millis(1300 + 100 * round);
            std::thread::scope(|scope| {
                for _ in 0..6 {
                    let log = &log;
                    let _ = scope.spawn(move || {
                        while Instant::now() < until {
                            let _ = log.append("record").unwrap();
                        }
                    });
                }
            });
            let all = 7 * usize::try_from(log.progress().durable).unwrap();
            // Nobody writes any more: it comes by itself, or never.
            let limit = Instant::now() + Duration::from_secs(20);
            while durable_len(&path) < all {
                assert!(
                    Instant::now() < limit,
                    "{ring:?}: {} of {all}",
                    durable_len(&path)
                );
                std::thread::park_timeout(Duration::from_millis(50));
            }
            log.close().unwrap();
        }
    }
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn forged(disk: &FaultDisk, at: usize, number: u64, place: [u64; 3], text: &[u8]) {
    let meta = String::from_utf8(disk.read("META").unwrap()).unwrap();
    let id = meta.split("\"id\":\"").nth(1).unwrap();
    let id = u128::from_str_radix(&id[..32], 16).unwrap();
    let mut frame = b"withalrg".to_vec();
    frame.extend_from_slice(&number.to_le_bytes());
    frame.extend_from_slice(&id.to_le_bytes());
    for field in place {
        frame.extend_from_slice(&field.to_le_bytes());
    }
    frame.extend_from_slice(&(text.len() as u32).to_le_bytes());
    let mut checked = frame.clone();
    checked.extend_from_slice(text);
    frame.extend_from_slice(&crc32c(&checked).to_le_bytes());
    frame.extend_from_slice(text);
    disk.damage("ring", |ring| {
        ring[at..at + frame.len()].copy_from_slice(&frame)
    });
}

#[test]
fn no_ring_makes_anybody_panic() {
    let big = [0, 5, 1 << 40, (1 << 63) - 1, u64::MAX - 4, u64::MAX];
    let mut bad = Vec::new();
    for number in [3, u64::MAX] {
        for start in big {
            for lines in [0, u64::MAX] {
                for synced in [0, u64::MAX] {
                    for text in [&b"x\n"[..], b"", b"long text\n"] {
                        let disk = FaultDisk::default();
                        let log = options().open_in(disk.storage()).unwrap();
                        let _ = log.append("one").unwrap();
                        log.close().unwrap();
                        forged(&disk, 8192, number, [start, lines, synced], text);
                        for what in 0..5 {
                            let disk = disk.after_kill();
                            let storage = disk.storage();
                            let done = catch_unwind(AssertUnwindSafe(|| match what {
                                0 => drop(verify_in(&storage, |_| ())),
                                1 => drop(read(&storage)),
                                2 => drop(
                                    ReverseReader::open_in(Arc::clone(&storage))
                                        .unwrap()
                                        .next_line(),
                                ),
                                3 => drop(repair_in(&storage, &RepairOptions::default(), |_| ())),
                                _ => {
                                    if let Ok(log) = options().open_in(storage) {
                                        let log = std::mem::ManuallyDrop::new(log);
                                        let _ = log.append("two").map(drop);
                                    }
                                }
                            }));
                            if done.is_err() {
                                bad.push((what, number, start, lines, synced, text.len()));
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(bad.is_empty(), "{} {bad:?}", bad.len());
}

#[test]
fn a_directory_of_that_name_is_no_ring() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::open(&path).open().unwrap();
    let _ = log.append("one").unwrap();
    log.close().unwrap();
    std::fs::create_dir(path.join("ring")).unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert_eq!(reader.next_chunk().unwrap(), Some(&b"one\n"[..]));
    assert_eq!(reader.next_chunk().unwrap(), None);
    assert_eq!(verify(&path, |_| ()).unwrap().verdict(), Verdict::Clean);
    assert_eq!(last_lines(&path, 1).unwrap(), b"one\n");
    let log = Log::open(&path).durability(Durability::Always);
    let log = log.commit_ring(CommitRing::Always).open().unwrap();
    let _ = log.append("two").unwrap();
    log.close().unwrap();
}

#[test]
fn what_is_restored_around_a_damaged_frame_is_told() {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    for number in 0..6 {
        let _ = log.append(format!("record {number}")).unwrap();
    }
    let left = without_text(&disk);
    drop(log);
    for page in 0..6 {
        let left = left.after_kill();
        left.damage("ring", |ring| ring[page * PAGE as usize + 70] ^= 1);
        let log = options().open_in(left.storage()).unwrap();
        let recovery = log.recovery().unwrap();
        // It stands behind what is gone, or nothing is.
        assert_eq!((recovery.end, recovery.restored), (0, 5 * 9), "{page}");
        let _ = log.append("goes on").unwrap();
        log.close().unwrap();
        let (text, _) = read_around_holes(&left.storage());
        assert!(text.ends_with(b"goes on\n"));
    }
}
