//! Ended segments that are compressed: beside retention, full disks and damage.

use std::io;

use withal_log::{Durability, Log, LogOptions, Verdict, verify_in};

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
    for at in 0..26 {
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
