//! Ended segments that are compressed: beside retention, full disks and damage.

use std::io;

use withal_log::{
    Durability, Log, LogOptions, RepairKind, RepairOptions, Verdict, repair_in, verify_in,
};

use crate::crash::read;
use crate::disk::{Fault, FaultDisk};

fn options() -> LogOptions {
    Log::open("log")
        .durability(Durability::Always)
        .rotate_size(4_000)
}

/// Writes `count` lines that become much smaller, and gives them back.
fn write(disk: &FaultDisk, options: LogOptions, count: usize) -> Vec<u8> {
    let log = options.open_in(disk.storage()).unwrap();
    let lines: String = (0..count)
        .map(|number| format!("the line with the number {number:06}\n"))
        .collect();
    log.append_lines(&lines).unwrap();
    log.close().unwrap();
    lines.into_bytes()
}

fn names(disk: &FaultDisk, end: &str) -> Vec<String> {
    let names = disk.names().into_iter();
    names.filter(|name| name.ends_with(end)).collect()
}

fn events(disk: &FaultDisk) -> String {
    String::from_utf8(disk.read("events.jsonl").unwrap_or_default()).unwrap()
}

#[test]
fn a_segment_that_waits_to_be_compressed_counts_as_what_becomes_of_it() {
    let disk = FaultDisk::default();
    let lines = write(&disk, options(), 2_000);
    let ended = names(&disk, ".log").len() - 1;
    assert!(ended > 10, "{ended}");
    let log = options().compress(3).keep_size(lines.len() as u64 / 2);
    log.open_in(disk.storage()).unwrap().close().unwrap();
    assert_eq!(names(&disk, ".log.zst").len(), ended, "{}", events(&disk));
    assert_eq!(read(&disk.storage()).unwrap(), lines);

    // What was removed is not missed when its turn comes.
    let log = options().compress(3).keep_size(1);
    write(&disk, log, 2_000);
    assert_eq!(names(&disk, ".log.zst"), [""; 0]);
    let events = events(&disk);
    assert!(events.contains("segment removed"), "{events}");
    assert!(!events.contains("not compressed") && !events.contains("no hash"));
    assert_eq!(verify_in(&disk.storage(), |_| ()).unwrap().problems, []);
}

#[test]
fn nothing_is_left_of_a_compression_that_failed() {
    let mut failed = 0;
    for at in 0..20 {
        let disk = FaultDisk::default();
        let log = options().compress(3).open_in(disk.storage()).unwrap();
        log.append("x".repeat(4_000)).unwrap();
        disk.plan(at, Fault::Fails(io::ErrorKind::StorageFull));
        log.append("in the next segment").unwrap();
        assert_eq!(names(&disk, ".new"), [""; 0], "operation {at}");
        log.close().unwrap();
        failed += usize::from(events(&disk).contains("not compressed"));
        assert_eq!(
            verify_in(&disk.storage(), |_| ()).unwrap().verdict(),
            Verdict::Clean
        );
    }
    assert!(failed > 3, "{failed}");
}

#[test]
fn a_hash_that_a_power_loss_has_torn_is_torn_until_it_is_made_again() {
    let whole = FaultDisk::default();
    let lines = write(&whole, options(), 400);
    let sidecar = names(&whole, ".idx")[0].clone();
    for torn in [vec![0; 64], vec![0; 1], vec![7; 63], vec![b'x'; 64]] {
        let disk = whole.after_kill();
        disk.damage(&sidecar, |content| content.extend_from_slice(&torn));
        let report = verify_in(&disk.storage(), |_| ()).unwrap();
        assert_eq!(report.verdict(), Verdict::TornTail, "{report:?}");
        assert_eq!(report.problems[0].file, sidecar);

        let repaired = disk.after_kill();
        let actions = repair_in(&repaired.storage(), &RepairOptions::default(), |_| ()).unwrap();
        let bytes = torn.len() as u64;
        assert_eq!(actions[0].kind, RepairKind::CutHash { bytes });
        assert_eq!(repaired.read(&sidecar), whole.read(&sidecar));
        assert_eq!(verify_in(&repaired.storage(), |_| ()).unwrap().problems, []);

        let log = options().compress(3).open_in(disk.storage()).unwrap();
        log.close().unwrap();
        assert_eq!(verify_in(&disk.storage(), |_| ()).unwrap().problems, []);
        assert_eq!(read(&disk.storage()).unwrap(), lines);
        let mended = disk.read(&sidecar).unwrap().len();
        assert_eq!(mended, whole.read(&sidecar).unwrap().len() + 64);
    }
    // What a crash cannot have left there is damage.
    let disk = whole.after_kill();
    disk.damage(&sidecar, |content| content.extend_from_slice(&[0; 65]));
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Corrupt, "{report:?}");
}

#[test]
fn one_flipped_bit_anywhere_in_a_compressed_segment_is_found_and_named() {
    let whole = FaultDisk::default();
    let lines = write(&whole, options().compress(3), 400);
    let file = names(&whole, ".log.zst")[1].clone();
    let len = whole.read(&file).unwrap().len();
    let mut unread = 0;
    for bit in 0..len * 8 {
        let disk = whole.after_kill();
        disk.damage(&file, |content| content[bit / 8] ^= 1 << (bit % 8));
        let report = verify_in(&disk.storage(), |_| ()).unwrap();
        assert_eq!(report.verdict(), Verdict::Corrupt, "bit {bit}");
        assert_eq!(report.segments, 4);
        let named = report.problems.iter().any(|problem| {
            let bytes = problem.offset..problem.offset + problem.len;
            problem.file == file && bytes.contains(&(bit as u64 / 8))
        });
        assert!(named, "bit {bit}: {report:?}");
        match read(&disk.storage()) {
            Ok(text) => assert_eq!(text, lines, "bit {bit}"),
            Err(_) => unread += 1,
        }
    }
    // The table and the checksums are not needed to read it.
    assert!(unread < (len - 40) * 8, "{unread} of {len}");
}

#[test]
fn a_compressed_segment_cut_anywhere_is_found() {
    let whole = FaultDisk::default();
    write(&whole, options().compress(3), 400);
    let file = names(&whole, ".log.zst")[1].clone();
    for len in 0..whole.read(&file).unwrap().len() {
        let disk = whole.after_kill();
        disk.damage(&file, |content| content.truncate(len));
        let report = verify_in(&disk.storage(), |_| ()).unwrap();
        assert_eq!(report.verdict(), Verdict::Corrupt, "{len}");
    }
}
