//! Rotation, retention, full disks, clocks that step, directories that go away.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use withal_log::{
    Durability, Log, LogErrorKind, OnFull, Reader, TailRule, Verdict, stats_in, verify, verify_in,
};

use crate::child;
use crate::crash::read;
use crate::disk::{Dice, Fault, FaultDisk};

fn segments(log: &Path) -> Vec<String> {
    let names = fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names
        .map(|name| name.into_string().unwrap())
        .filter(|name| name.ends_with(".log"))
        .collect();
    names.sort();
    names
}

fn events(log: &Path) -> String {
    fs::read_to_string(log.join("events.jsonl")).unwrap_or_default()
}

#[test]
fn the_disk_begins_before_it_is_waited_for() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Buffered);
    let log = log.sync_beside(16 << 20).open_in(disk.storage()).unwrap();
    let syncs = disk.syncs();
    for _ in 0..150 {
        let _ = log.append("x".repeat(100_000)).unwrap();
    }
    let name = disk.names().into_iter().find(|name| name.ends_with(".log"));
    let started = disk.started(&name.unwrap());
    assert_eq!(disk.syncs(), syncs, "nothing was waited for");
    // Each byte once, and never few of them.
    let mut end = 0;
    for range in &started {
        assert!(
            range.start == end && range.end - end >= 4 << 20,
            "{started:?}"
        );
        end = range.end;
    }
    assert!(end > 10_900_000, "{started:?}");
    log.close().unwrap();
}

#[test]
fn a_segment_ends_when_it_is_old_enough() {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path())
        .durability(Durability::Always)
        .rotate_every(Duration::from_secs(60))
        .clock(|| NOW.load(Ordering::Relaxed));
    let log = log.open().unwrap();
    for _ in 0..4 {
        log.append("one").unwrap();
        NOW.fetch_add(30_000, Ordering::Relaxed);
    }
    log.close().unwrap();
    assert_eq!(segments(folder.path()).len(), 2);
}

#[test]
fn a_clock_that_steps_back_loses_nothing_and_is_noted() {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .durability(Durability::Always)
        .rotate_size(100);
    let log = log.clock(|| NOW.load(Ordering::Relaxed));
    let log = log.open_in(disk.storage()).unwrap();
    let mut text = String::new();
    for number in 0..50 {
        NOW.fetch_sub(10_000, Ordering::Relaxed);
        log.append(format!("line {number}")).unwrap();
        text.push_str(&format!("line {number}\n"));
    }
    log.close().unwrap();
    assert_eq!(read(&disk.storage()).unwrap(), text.as_bytes());
    assert_eq!(
        verify_in(&disk.storage(), |_| ()).unwrap().verdict(),
        Verdict::Clean
    );
    let noted = noted(&disk, "clock stepped back");
    assert_eq!(noted.iter().map(|facts| facts["times"]).sum::<u64>(), 49);
    assert!(
        noted
            .iter()
            .all(|facts| facts["milliseconds"] == 10_000 * facts["times"])
    );
}

/// The facts of all events of a kind.
fn noted(disk: &FaultDisk, event: &str) -> Vec<BTreeMap<String, u64>> {
    let events = disk.read("events.jsonl").unwrap_or_default();
    let lines = events.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    let events = lines.map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap());
    events
        .filter(|line| line["event"] == event)
        .map(|line| serde_json::from_value(line["facts"].clone()).unwrap())
        .collect()
}

#[test]
fn what_happens_for_each_line_is_noted_once_and_then_together() {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.clock(|| NOW.load(Ordering::Relaxed));
    let log = log.open_in(disk.storage()).unwrap();
    for number in 0..50 {
        NOW.fetch_sub(1, Ordering::Relaxed);
        log.append(format!("line {number}")).unwrap();
    }
    log.close().unwrap();
    let noted = noted(&disk, "clock stepped back");
    assert_eq!(
        noted.iter().map(|facts| facts["times"]).collect::<Vec<_>>(),
        [1, 48]
    );
}

#[test]
fn old_segments_go_by_size_and_by_age_and_the_rest_reads_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let by_size = folder.path().join("size");
    let log = Log::open(&by_size)
        .rotate_size(1_000)
        .keep_size(5_000)
        .open()
        .unwrap();
    for number in 0..1_000 {
        log.append(format!("line number {number}")).unwrap();
    }
    log.close().unwrap();
    assert!(
        (3..8).contains(&segments(&by_size).len()),
        "{:?}",
        segments(&by_size)
    );
    let report = verify(&by_size, |_| ()).unwrap();
    assert_eq!(report.problems, []);
    let mut reader = Reader::open(&by_size).unwrap();
    assert!(
        reader
            .next_chunk()
            .unwrap()
            .unwrap()
            .starts_with(b"line number 7")
    );
    assert!(events(&by_size).contains("segment removed"));

    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let by_age = folder.path().join("age");
    let log = Log::open(&by_age)
        .rotate_size(50)
        .keep_age(Duration::from_secs(3600))
        .clock(|| NOW.fetch_add(60_000, Ordering::Relaxed));
    let log = log.open().unwrap();
    for number in 0..500 {
        log.append(format!("line number {number}")).unwrap();
    }
    log.close().unwrap();
    assert!(segments(&by_age).len() < 20, "{:?}", segments(&by_age));
    assert_eq!(verify(&by_age, |_| ()).unwrap().problems, []);
}

#[test]
fn a_segment_ends_with_the_line_that_fills_it_however_much_comes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..5_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    let log = Log::open(folder.path()).rotate_size(1_000);
    let log = log.durability(Durability::Buffered).open().unwrap();
    for _ in 0..3 {
        log.append_lines(&lines).unwrap();
    }
    log.append("x".repeat(5_000)).unwrap();
    log.append("last").unwrap();
    log.close().unwrap();
    let segments = segments(folder.path());
    let sizes = segments
        .iter()
        .map(|name| fs::metadata(folder.path().join(name)).unwrap().len());
    let mut sizes: Vec<u64> = sizes.collect();
    assert_eq!(sizes.pop(), Some(5));
    let long = sizes.pop().unwrap();
    assert!((5_001..6_001).contains(&long), "{long}");
    let longest = "line 4999\n".len() as u64;
    let is_full = |size: &u64| (1_000..1_000 + longest).contains(size);
    assert!(sizes.iter().all(is_full), "{sizes:?}");
    assert!(sizes.len() > 100);
    let mut reader = Reader::open(folder.path()).unwrap();
    let mut text = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        text.extend_from_slice(chunk);
    }
    let expected = [lines.repeat(3).as_str(), &"x".repeat(5_000), "\nlast\n"].concat();
    assert!(text == expected.as_bytes());
    assert_eq!(
        verify(folder.path(), |_| ()).unwrap().verdict(),
        Verdict::Clean
    );
}

/// Writes while the disk is full for some operations.
fn on_full(policy: OnFull, lasts: u64) -> (FaultDisk, Vec<Option<LogErrorKind>>, u64) {
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .durability(Durability::Always)
        .rotate_size(40);
    let log = log.on_full(policy).open_in(disk.storage()).unwrap();
    for number in 0..12 {
        log.append(format!("before {number}")).unwrap();
    }
    disk.plan_full(0, lasts);
    let appended = |number| {
        log.append(format!("while {number}"))
            .err()
            .map(|error| error.kind())
    };
    let results = (0..5).map(appended).collect();
    disk.plan_full(0, 0);
    log.append("after").unwrap();
    let dropped = log.dropped();
    log.close().unwrap();
    (disk, results, dropped)
}

#[test]
fn a_full_disk_may_refuse() {
    let (disk, results, dropped) = on_full(OnFull::Fail, u64::MAX / 2);
    assert_eq!(results, [Some(LogErrorKind::Full); 5]);
    assert_eq!(dropped, 0);
    let text = String::from_utf8(read(&disk.storage()).unwrap()).unwrap();
    assert!(
        !text.contains("while") && text.ends_with("after\n"),
        "{text}"
    );
}

#[test]
fn a_full_disk_may_drop_and_count() {
    let (disk, results, dropped) = on_full(OnFull::Drop, u64::MAX / 2);
    // Whoever asked for durability is told.
    assert_eq!(results, [Some(LogErrorKind::Full); 5]);
    assert_eq!(dropped, 5);
    assert_eq!(
        verify_in(&disk.storage(), |_| ()).unwrap().verdict(),
        Verdict::Clean
    );
    let noted = noted(&disk, "lines dropped");
    assert_eq!(noted.iter().map(|facts| facts["lines"]).sum::<u64>(), 5);
}

/// Writes with a drop line; gives what is in the log of what `work` does.
fn dropping(template: &str, work: impl FnOnce(&FaultDisk, &Log)) -> String {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .on_full(OnFull::Drop)
        .drop_line(template)
        .clock(|| NOW.load(Ordering::Relaxed))
        .open_in(disk.storage())
        .unwrap();
    work(&disk, &log);
    log.close().unwrap();
    disk.plan_full(0, 0);
    assert_eq!(
        verify_in(&disk.storage(), |_| ()).unwrap().verdict(),
        Verdict::Clean
    );
    let mut text = Vec::new();
    withal_log::decode(&read(&disk.storage()).unwrap(), &mut text);
    String::from_utf8(text).unwrap()
}

/// Too much for what was set aside already.
fn large() -> String {
    "x".repeat(100_000)
}

#[test]
fn a_line_stands_where_lines_were_dropped() {
    let template = r#"{"dropped":{count},"since":"{since}","until":"{until}"}"#;
    let text = dropping(template, |disk, log| {
        log.append("before").unwrap();
        disk.plan_full(0, u64::MAX / 2);
        log.append_lines("one\n".to_owned() + &large() + "\ntwo\n")
            .unwrap();
        log.append(large()).unwrap();
        disk.plan_full(0, 0);
        assert_eq!(log.dropped(), 4);
        // Its number is that of what came, and the line of the log's own is counted.
        assert_eq!(log.append("after").unwrap(), 6);
        assert_eq!(log.progress().written, 3);
        log.append("and after").unwrap();
        log.sync().unwrap();
        log.wait_durable(7).unwrap();
    });
    let lines: Vec<&str> = text.lines().collect();
    let [before, dropped, after, and_after] = lines[..] else {
        panic!("{text}");
    };
    assert_eq!([before, after, and_after], ["before", "after", "and after"]);
    let dropped: serde_json::Value = serde_json::from_str(dropped).unwrap();
    let time = "2025-11-20T23:20:00Z";
    let expected = serde_json::json!({ "dropped": 4, "since": time, "until": time });
    assert_eq!(dropped, expected);
}

#[test]
fn what_was_dropped_last_is_told_when_the_log_is_closed() {
    let text = dropping("{count} dropped", |disk, log| {
        log.append("before").unwrap();
        disk.plan_full(0, u64::MAX / 2);
        log.append(large()).unwrap();
        disk.plan_full(0, 0);
    });
    assert_eq!(text, "before\n1 dropped\n");
}

#[test]
fn a_line_of_what_was_dropped_is_no_part_of_a_record_that_has_begun() {
    let text = dropping("{count} dropped", |disk, log| {
        log.append_part("begun").unwrap();
        disk.plan_full(0, u64::MAX / 2);
        log.append_part(large()).unwrap();
        disk.plan_full(0, 0);
        log.append("the rest").unwrap();
    });
    assert_eq!(text, "begun\n1 dropped\nthe rest\n");
}

#[test]
fn what_was_dropped_is_no_part_of_a_record_that_the_last_run_has_begun() {
    let begin: [fn(&Log); 2] = [
        |log| log.append_part("begun").map(|_| ()).unwrap(),
        |log| log.append_unended("begun").map(|_| ()).unwrap(),
    ];
    for begin in begin {
        let disk = FaultDisk::default();
        let log = Log::open("log").open_in(disk.storage()).unwrap();
        begin(&log);
        log.close().unwrap();
        let log = Log::open("log").on_full(OnFull::Drop);
        let log = log.drop_line("{count} dropped").open_in(disk.storage());
        let log = log.unwrap();
        disk.plan_full(0, u64::MAX / 2);
        log.append(large()).unwrap();
        disk.plan_full(0, 0);
        log.append("after").unwrap();
        log.close().unwrap();
        let mut text = Vec::new();
        withal_log::decode(&read(&disk.storage()).unwrap(), &mut text);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "begun\n1 dropped\nafter\n"
        );
    }
}

#[test]
fn what_was_dropped_last_is_counted_by_the_log() {
    // In a segment with text, in one without, and where one has ended and there was no room for
    // another.
    for (lines, size) in [(1, 1 << 20), (0, 1 << 20), (1, 1)] {
        for rule in [TailRule::Text, TailRule::Strict] {
            let disk = FaultDisk::default();
            let log = Log::open("log").on_full(OnFull::Drop).tail_rule(rule);
            let log = log.rotate_size(size).open_in(disk.storage()).unwrap();
            for _ in 0..lines {
                log.append("before").unwrap();
            }
            disk.plan_full(0, u64::MAX / 2);
            log.append_lines(large() + "\n" + &large()).unwrap();
            log.append(large()).unwrap();
            disk.plan_full(0, 0);
            log.close().unwrap();
            let report = verify_in(&disk.storage(), |_| ()).unwrap();
            assert_eq!(report.problems, []);
            let stats = stats_in(&disk.storage()).unwrap();
            assert_eq!((stats.lines, stats.dropped), (lines, 3), "{size} {rule:?}");
            // Once.
            let log = Log::open("log").tail_rule(rule);
            let log = log.open_in(disk.storage()).unwrap();
            log.append("after").unwrap();
            log.close().unwrap();
            let stats = stats_in(&disk.storage()).unwrap();
            assert_eq!((stats.lines, stats.dropped), (lines + 1, 3));
            let report = verify_in(&disk.storage(), |_| ()).unwrap();
            assert_eq!(report.problems, []);
        }
    }
}

#[test]
fn a_log_stays_where_it_was_opened_whatever_the_working_directory_becomes() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["here", "there"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    let done = child::command("moves-away", folder.path()).output();
    assert!(done.unwrap().status.success());
    let here = folder.path().join("here/log");
    let report = verify(&here, |_| ()).unwrap();
    assert_eq!((report.lines, report.segments), (100, 100));
    let there = fs::read_dir(folder.path().join("there")).unwrap();
    assert_eq!(there.count(), 0);
}

/// What the child does.
pub(crate) fn move_away(folder: &Path) {
    std::env::set_current_dir(folder.join("here")).unwrap();
    let log = Log::open("log").rotate_size(1).compress(1).open().unwrap();
    let mut reader = Reader::open("log").unwrap();
    std::env::set_current_dir(folder.join("there")).unwrap();
    let mut found = 0;
    for number in 0..100 {
        log.append(format!("line {number}")).unwrap();
        assert!(reader.wait(Duration::MAX).unwrap());
        while let Some(lines) = reader.next_chunk().unwrap() {
            found += lines.len();
        }
    }
    assert_eq!(found, 10 * 7 + 90 * 8);
    log.close().unwrap();
}

#[test]
fn progress_counts_what_is_in_the_log_and_line_numbers_what_came() {
    let disk = FaultDisk::default();
    let options = Log::open("log").on_full(OnFull::Fail);
    let log = options.clone().open_in(disk.storage()).unwrap();
    assert_eq!(log.append_durable("kept").unwrap(), 1);
    disk.plan_full(0, u64::MAX / 2);
    let full = log.append_durable("x".repeat(100_000)).unwrap_err();
    assert_eq!(full.kind(), LogErrorKind::Full);
    disk.plan_full(0, 0);
    assert_eq!(log.append("number three").unwrap(), 3);
    assert_eq!((log.progress().written, log.progress().durable), (2, 1));
    log.sync().unwrap();
    log.wait_durable(3).unwrap();
    assert_eq!((log.progress().written, log.progress().durable), (2, 2));
    log.close().unwrap();
    let log = options.open_in(disk.storage()).unwrap();
    assert_eq!(log.append_durable("counted again").unwrap(), 3);
    log.close().unwrap();
}

#[test]
fn a_full_disk_may_be_waited_for_but_not_for_ever() {
    let limit = Some(Duration::from_millis(30));
    let (_, results, _) = on_full(OnFull::Block(limit), u64::MAX / 2);
    assert_eq!(results, [Some(LogErrorKind::Full); 5]);
}

#[test]
fn a_full_disk_may_cost_the_oldest_segments() {
    let (disk, results, _) = on_full(OnFull::Prune, 3);
    assert_eq!(results, [None; 5]);
    let text = String::from_utf8(read(&disk.storage()).unwrap()).unwrap();
    assert!(text.ends_with("while 3\nwhile 4\nafter\n"), "{text}");
    let pruned = noted(&disk, "segments pruned");
    let (segments, bytes) = pruned.iter().fold((0, 0), |(segments, bytes), facts| {
        (segments + facts["segments"], bytes + facts["bytes"])
    });
    assert!(segments > 0 && bytes > 64 * segments, "{pruned:?}");
}

/// What a crash has torn is kept before it is cut, and that needs room.
#[test]
fn a_torn_log_on_a_full_disk_is_opened_at_the_price_of_the_oldest_segments_or_not() {
    let options = || Log::open("log").durability(Durability::Always);
    let disk = FaultDisk::default();
    let log = options().rotate_size(30).open_in(disk.storage()).unwrap();
    for number in 0..5 {
        let _ = log.append(format!("a line of text {number}")).unwrap();
    }
    let last = disk
        .names()
        .into_iter()
        .rfind(|name| name.ends_with(".log"));
    let torn = disk.after_kill();
    torn.damage(&last.unwrap(), |text| text.extend_from_slice(b"half"));
    let text = read(&disk.storage()).unwrap();

    for policy in [OnFull::Block(None), OnFull::Drop, OnFull::Fail] {
        let disk = torn.after_kill();
        disk.plan_full(0, u64::MAX / 2);
        let refused = options().on_full(policy).open_in(disk.storage());
        assert_eq!(refused.unwrap_err().kind(), LogErrorKind::Full);
        let log = options().open_in(disk.after_kill().storage()).unwrap();
        log.close().unwrap();
        assert_eq!(read(&torn.storage()).unwrap(), text);
    }

    // Removing is what the disk counts here.
    torn.plan_full(0, 3);
    let log = options().on_full(OnFull::Prune);
    let log = log.open_in(torn.storage()).unwrap();
    assert_eq!(log.recovery().unwrap().cut, 4);
    log.close().unwrap();
    let left = read(&torn.storage()).unwrap();
    assert!(left.len() < text.len() && text.ends_with(&left), "{left:?}");
    assert!(!noted(&torn, "segments pruned").is_empty());
}

#[test]
fn two_failures_in_a_row_stop_the_log_and_keep_what_was_acknowledged() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.open_in(disk.storage()).unwrap();
    log.append("safe").unwrap();
    disk.plan_broken();
    let stopped = log.append("lost").unwrap_err();
    assert_eq!(stopped.kind(), LogErrorKind::Stopped);
    assert_eq!(
        log.append("also").unwrap_err().kind(),
        LogErrorKind::Stopped
    );
    assert_eq!(log.sync().unwrap_err().kind(), LogErrorKind::Stopped);
    log.close().unwrap_err();
    assert_eq!(read(&disk.after_kill().storage()).unwrap(), b"safe\n");
}

#[test]
fn an_event_says_why() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.open_in(disk.storage()).unwrap();
    disk.plan(1, Fault::Fails(std::io::ErrorKind::BrokenPipe));
    log.append("line").unwrap();
    log.close().unwrap();
    let events = String::from_utf8(disk.read("events.jsonl").unwrap()).unwrap();
    let events: Vec<serde_json::Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events[0]["event"], "segment poisoned");
    let error = events[0]["error"].as_str().unwrap();
    assert!(error.starts_with("cannot write `0000"), "{error}");
    assert!(error.ends_with(": broken pipe"), "{error}");
}

#[test]
fn a_failure_that_nobody_waited_for_is_heard_later() {
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .durability(Durability::Buffered)
        .on_full(OnFull::Fail);
    let log = log.open_in(disk.storage()).unwrap();
    disk.plan_full(0, u64::MAX / 2);
    log.append("lost").unwrap();
    assert_eq!(log.sync().unwrap_err().kind(), LogErrorKind::Full);
    disk.plan(u64::MAX / 2, Fault::Short);
    disk.plan_full(0, 0);
    log.append("kept").unwrap();
    log.close().unwrap();
    assert_eq!(read(&disk.storage()).unwrap(), b"kept\n");
}

/// A buffered log of which an operation fails in a sync, after `before` has been done to its disk.
fn buffered_sync(fails: u64, before: impl FnOnce(&FaultDisk)) -> (FaultDisk, Option<LogErrorKind>) {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Buffered);
    let log = log.open_in(disk.storage()).unwrap();
    log.append("durable").unwrap();
    log.sync().unwrap();
    // Several blocks, and a part of one.
    log.append_lines(buffered_lines()).unwrap();
    before(&disk);
    disk.plan(fails, Fault::Fails(std::io::ErrorKind::Other));
    let error = log.sync().err().map(|error| error.kind());
    // The operation may be one of closing it, which says so; the lines are durable by then.
    drop(log.close());
    (disk, error)
}

fn buffered_lines() -> String {
    (0..20_000)
        .map(|number| format!("line {number}\n"))
        .collect()
}

#[test]
fn buffered_lines_are_read_back_after_a_failed_sync() {
    let expected = format!("durable\n{}", buffered_lines());
    let mut poisoned = 0;
    for fails in 0..8 {
        let (disk, error) = buffered_sync(fails, |_| ());
        assert_eq!(error, None, "operation {fails}");
        let disk = disk.after_power_loss(&mut Dice(fails + 1));
        assert_eq!(read(&disk.storage()).unwrap(), expected.as_bytes());
        poisoned += usize::from(disk.names().len() > 4);
    }
    assert!(poisoned > 0);
}

#[test]
fn what_cannot_be_read_back_stops_a_buffered_log() {
    let damage = |disk: &FaultDisk| {
        let text = disk.names().into_iter().find(|name| name.ends_with(".log"));
        disk.damage(&text.unwrap(), |text| text[100_000] ^= 1);
    };
    let errors: Vec<_> = (0..8).map(|fails| buffered_sync(fails, damage).1).collect();
    assert!(errors.contains(&Some(LogErrorKind::Stopped)), "{errors:?}");
}

#[test]
fn a_directory_that_is_removed_under_the_writer_is_an_error_at_the_next_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::open(&path)
        .durability(Durability::Always)
        .rotate_size(10)
        .open()
        .unwrap();
    log.append("written").unwrap();
    fs::remove_dir_all(&path).unwrap();
    let error = log
        .append("into nothing")
        .and_then(|_| log.append("more"))
        .unwrap_err();
    assert_eq!(error.kind(), LogErrorKind::Stopped, "{error}");
    assert!(error.to_string().contains("log"), "{error}");
    log.close().unwrap_err();
}

#[test]
fn a_directory_that_becomes_read_only_is_an_error_at_the_next_rotation() {
    let disk = FaultDisk::default();
    let options = Log::open("log")
        .durability(Durability::Always)
        .rotate_size(10);
    let log = options.clone().open_in(disk.storage()).unwrap();
    log.append("written").unwrap();
    disk.plan_read_only(true);
    log.append("in the file that is open").unwrap();
    let error = log.append("in the next one").unwrap_err();
    assert_eq!(error.kind(), LogErrorKind::Stopped, "{error}");
    log.close().unwrap_err();
    disk.plan_read_only(false);
    let log = options.open_in(disk.storage()).unwrap();
    log.append("goes on").unwrap();
    log.close().unwrap();
    let text = String::from_utf8(read(&disk.storage()).unwrap()).unwrap();
    assert_eq!(text, "written\nin the file that is open\ngoes on\n");
    assert_eq!(verify_in(&disk.storage(), |_| ()).unwrap().problems, []);
}

#[test]
fn a_hundred_thousand_segments_open_read_and_verify() {
    // In memory if that can be: this is about their number, not about the disk.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.unwrap();
    let log = Log::open(folder.path())
        .durability(Durability::Buffered)
        .rotate_size(1);
    let log = log.open().unwrap();
    for number in 0..100_000 {
        log.append(format!("line {number}")).unwrap();
        log.sync().unwrap();
    }
    log.close().unwrap();
    assert_eq!(segments(folder.path()).len(), 100_000);
    let log = Log::open(folder.path()).open().unwrap();
    assert_eq!(log.append("last").unwrap(), 100_001);
    log.close().unwrap();
    assert_eq!(verify(folder.path(), |_| ()).unwrap().problems, []);
}

#[test]
fn segments_are_in_the_order_of_the_log_whatever_the_clock_says() {
    const YEAR: u64 = 365 * 24 * 60 * 60 * 1000;
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let mut poisoned = 0;
    // One of the first operations is the first sync of the text.
    for at in 0..4 {
        NOW.store(1_763_680_800_000, Ordering::Relaxed);
        let disk = FaultDisk::default();
        let log = Log::open("log")
            .durability(Durability::Always)
            .clock(|| NOW.load(Ordering::Relaxed));
        let log = log.open_in(disk.storage()).unwrap();
        let _before = NOW.fetch_sub(YEAR, Ordering::Relaxed);
        disk.plan(at, Fault::Fails(std::io::ErrorKind::Other));
        log.append("acknowledged").unwrap();
        log.close().unwrap();
        let mut names = disk.names();
        names.retain(|name| name.ends_with(".log"));
        if let [first, second] = names.as_slice()
            && first[..20] == second[..20]
        {
            poisoned += 1;
        }
        assert_eq!(
            read(&disk.storage()).unwrap(),
            b"acknowledged\n",
            "{names:?}"
        );
    }
    assert!(poisoned > 0);
}

#[test]
fn what_is_dropped_widens_no_window() {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.on_full(OnFull::Drop);
    let log = log.clock(|| NOW.load(Ordering::Relaxed));
    let log = log.open_in(disk.storage()).unwrap();
    for _ in 0..4 {
        log.append_lines("one line\n".repeat(8_000)).unwrap();
        NOW.fetch_add(100_000, Ordering::Relaxed);
    }
    disk.plan_full(0, u64::MAX / 2);
    let _ = log.append(large()).unwrap_err();
    disk.plan_full(0, 0);
    log.close().unwrap();
    let until = Some(1_763_680_800_000 + 50_000);
    let reader = Reader::open_in(disk.storage()).unwrap();
    let mut reader = reader.between(None, until);
    let mut bytes = 0;
    while let Some(lines) = reader.next_chunk().unwrap() {
        bytes += lines.len();
    }
    // What was written by then, to the block.
    assert!((72_000..150_000).contains(&bytes), "{bytes}");
}

#[test]
fn what_was_dropped_is_counted_though_its_segment_fails() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.on_full(OnFull::Drop).open_in(disk.storage()).unwrap();
    log.append("before").unwrap();
    disk.plan_full(0, u64::MAX / 2);
    for _ in 0..2 {
        let _ = log.append(large()).unwrap_err();
    }
    disk.plan_full(0, 0);
    disk.plan(0, Fault::Fails(std::io::ErrorKind::Other));
    log.append("after").unwrap();
    log.close().unwrap();
    let texts = disk.names().into_iter().filter(|it| it.ends_with(".log"));
    assert_eq!(texts.count(), 2);
    assert_eq!(stats_in(&disk.storage()).unwrap().dropped, 2);
}

#[test]
fn a_closed_log_has_the_line_of_what_was_dropped() {
    let disk = FaultDisk::default();
    let log = Log::open("log").on_full(OnFull::Drop);
    let log = log.drop_line("{count} dropped").open_in(disk.storage());
    let log = log.unwrap();
    log.append("one").unwrap();
    disk.plan_full(0, u64::MAX / 2);
    log.append(large()).unwrap();
    disk.plan_full(0, 0);
    let other = log.clone();
    log.close().unwrap();
    assert_eq!((other.progress().written, other.progress().durable), (2, 2));
}

#[test]
fn a_pipe_with_the_name_of_a_sidecar_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).rotate_size(1).open().unwrap();
    log.append_lines("one\ntwo\n").unwrap();
    log.close().unwrap();
    let text = segments(folder.path()).remove(0);
    let sidecar = folder.path().join(text.replace(".log", ".idx"));
    fs::remove_file(&sidecar).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&sidecar).status();
    assert!(made.unwrap().success());
    assert_ne!(
        verify(folder.path(), |_| ()).unwrap().verdict(),
        Verdict::Clean
    );
    let log = Log::open(folder.path()).open().unwrap();
    log.append("three").unwrap();
    log.close().unwrap();
}
