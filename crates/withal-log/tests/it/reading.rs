//! Ranges of time, from the end, while it is written, compressed or not.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use withal_log::{
    Durability, Log, LogErrorKind, LogOptions, Reader, ReverseReader, Verdict, last_lines, verify,
    verify_in,
};

use crate::disk::{Fault, FaultDisk};

fn all(mut reader: Reader) -> String {
    more(&mut reader)
}

/// What comes by now.
fn more(reader: &mut Reader) -> String {
    let mut text = Vec::new();
    while let Some(chunk) = reader.next_chunk().unwrap() {
        text.extend_from_slice(chunk);
    }
    String::from_utf8(text).unwrap()
}

fn reversed(mut reader: ReverseReader) -> String {
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().unwrap() {
        lines.push(line);
    }
    lines.reverse();
    String::from_utf8(lines.concat()).unwrap()
}

/// Ten segments or more; gives the text.
fn write(options: LogOptions, lines: usize) -> String {
    let log = options.rotate_size(lines as u64 * 2).open().unwrap();
    let mut text = String::new();
    for number in 0..lines {
        let line = format!("line number {number} of {lines}");
        log.append(&line).unwrap();
        text.push_str(&line);
        text.push('\n');
    }
    log.close().unwrap();
    text
}

fn names(log: &Path, end: &str) -> usize {
    let names = std::fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_str().unwrap().ends_with(end))
        .count()
}

#[test]
fn it_is_read_forwards_and_backwards() {
    let folder = tempfile::tempdir().unwrap();
    let text = write(Log::open(folder.path()), 5_000);
    assert!(names(folder.path(), ".log") > 10);
    assert_eq!(all(Reader::open(folder.path()).unwrap()), text);
    assert_eq!(reversed(ReverseReader::open(folder.path()).unwrap()), text);
    let last = last_lines(folder.path(), 3).unwrap();
    let expected: Vec<_> = text.lines().rev().take(3).collect();
    let expected: String = expected
        .iter()
        .rev()
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(String::from_utf8(last).unwrap(), expected);
    assert!(last_lines(folder.path(), 0).unwrap().is_empty());
    assert_eq!(last_lines(folder.path(), 1 << 20).unwrap(), text.as_bytes());
}

#[test]
fn compressed_segments_read_and_verify_as_others_and_zstd_knows_them() {
    let folder = tempfile::tempdir().unwrap();
    let text = write(Log::open(folder.path()).compress(1), 20_000);
    // All but the last segment.
    assert_eq!(names(folder.path(), ".log"), 1);
    assert!(names(folder.path(), ".log.zst") > 10);
    assert_eq!(all(Reader::open(folder.path()).unwrap()), text);
    assert_eq!(reversed(ReverseReader::open(folder.path()).unwrap()), text);
    let report = verify(folder.path(), |_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Clean, "{report:?}");
    assert_eq!(report.lines, 20_000);

    let mut files: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.sort();
    let first = files
        .iter()
        .find(|path| path.to_str().unwrap().ends_with(".log.zst"))
        .unwrap();
    let plain = zstd::decode_all(std::fs::File::open(first).unwrap()).unwrap();
    assert!(text.as_bytes().starts_with(&plain));

    // A flipped byte in it is found.
    let mut bytes = std::fs::read(first).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(first, bytes).unwrap();
    let report = verify(folder.path(), |_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Corrupt);
    assert!(report.problems[0].lines.is_some(), "{report:?}");

    let log = Log::open(folder.path()).open().unwrap();
    assert_eq!(log.append("more").unwrap(), 20_001);
    log.close().unwrap();
}

#[test]
fn a_reader_follows_a_log_over_its_rotations() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path())
        .rotate_size(2_000)
        .compress(1)
        .open()
        .unwrap();
    log.append("first").unwrap();
    let mut reader = Reader::open(folder.path()).unwrap();
    let writer = std::thread::spawn(move || {
        for number in 0..3_000 {
            log.append(format!("line {number}")).unwrap();
        }
        log.append("last").unwrap();
        log.close().unwrap();
    });
    let mut text = Vec::new();
    while !text.ends_with(b"\nlast\n") {
        match reader.next_chunk().unwrap() {
            Some(chunk) => text.extend_from_slice(chunk),
            None => drop(reader.wait(Duration::from_secs(10)).unwrap()),
        }
    }
    writer.join().unwrap();
    let text = String::from_utf8(text).unwrap();
    let expected: String = (0..3_000)
        .map(|number| format!("line {number}\n"))
        .collect();
    assert_eq!(text, format!("first\n{expected}last\n"));
}

#[test]
fn a_reader_may_begin_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    drop(write(Log::open(folder.path()), 100));
    let mut reader = Reader::open(folder.path()).unwrap().skip_to_end().unwrap();
    assert_eq!(reader.next_chunk().unwrap(), None);
    let log = Log::open(folder.path()).rotate_size(10).open().unwrap();
    log.append("new").unwrap();
    log.append("newer").unwrap();
    log.close().unwrap();
    assert_eq!(all(reader), "new\nnewer\n");
}

#[test]
fn a_reader_may_begin_a_number_of_records_before_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let text = write(Log::open(&path).max_line(8), 40);
    let records: Vec<&str> = text.split_inclusive('\n').collect();
    for count in [0, 1, 2, 7, 39, 40, 41, 1000] {
        let mut reader = Reader::open(&path).unwrap().skip_to_last(count).unwrap();
        let mut last = Vec::new();
        while let Some(chunk) = reader.next_chunk().unwrap() {
            withal_log::decode(chunk, &mut last);
        }
        let expected = records[records.len().saturating_sub(count)..].concat();
        assert_eq!(String::from_utf8(last).unwrap(), expected, "{count}");
        let log = Log::open(&path).open().unwrap();
        assert_eq!(reader.next_chunk().unwrap(), None);
        log.close().unwrap();
    }
}

#[test]
fn marks_before_the_end_of_a_line_do_not_continue_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::open(&path).open().unwrap();
    for marks in [1, 7, 8, 200, 201] {
        log.append([vec![0xC0; marks], vec![0x81]].concat())
            .unwrap();
    }
    log.append_part("a").unwrap();
    let _ = log.append_lines("b\nc\n").unwrap();
    log.close().unwrap();
    let mut reader = Reader::open(&path).unwrap().skip_to_last(3).unwrap();
    let mut last = Vec::new();
    withal_log::decode(reader.next_chunk().unwrap().unwrap(), &mut last);
    assert_eq!(last, [vec![0xC0; 201], b"\x81\nab\nc\n".to_vec()].concat());
}

fn clock() -> u64 {
    static NOW: AtomicU64 = AtomicU64::new(0);
    1_763_680_800_000 + NOW.fetch_add(10, Ordering::Relaxed)
}

#[test]
fn a_range_of_time_is_found_to_the_block() {
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .durability(Durability::Always)
        .rotate_size(300_000)
        .clock(clock);
    let log = log.open_in(disk.storage()).unwrap();
    let mut stamps = Vec::new();
    for number in 0..200 {
        let stamp = clock();
        log.append(format!("{stamp} {number} {}", "x".repeat(4_000)))
            .unwrap();
        stamps.push(stamp);
    }
    log.close().unwrap();
    let read = |since, until| {
        let reader = Reader::open_in(disk.storage()).unwrap();
        let forwards = all(reader.between(since, until));
        let reader = ReverseReader::open_in(disk.storage()).unwrap();
        let backwards = reversed(reader.between(since, until));
        assert_eq!(forwards, backwards, "{since:?} to {until:?}");
        let stamps = forwards
            .lines()
            .map(|line| line.split_once(' ').unwrap().0.parse().unwrap());
        stamps.collect::<Vec<u64>>()
    };
    assert_eq!(read(None, None), stamps);
    for (since, until) in [(50, 60), (0, 10), (190, 199), (20, 150), (100, 100)] {
        // A record comes after its stamp.
        let first = stamps[since];
        let last = stamps.get(until + 1).copied().unwrap_or(u64::MAX);
        let found = read(Some(first), Some(last));
        assert!(
            stamps[since..=until]
                .iter()
                .all(|stamp| found.contains(stamp))
        );
        // A block of 64 KiB holds sixteen of them.
        assert!(
            found.len() <= until - since + 40,
            "{} for {since} to {until}",
            found.len()
        );
    }
    assert!(read(None, Some(stamps[0] - 1_000_000)).is_empty());
}

#[test]
fn the_last_records_between_two_times_are_in_both_orders_of_asking() {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .durability(Durability::Always)
        .rotate_size(16)
        .clock(|| NOW.load(Ordering::Relaxed));
    let log = log.open_in(disk.storage()).unwrap();
    for number in 0..12 {
        log.append(format!("r{number:02}")).unwrap();
        // Blocks end with checkpoints, so each line has one of its own.
        NOW.fetch_add(1_000, Ordering::Relaxed);
    }
    log.close().unwrap();
    let reader = || Reader::open_in(disk.storage()).unwrap();
    let time = |line: u64| Some(1_763_680_800_000 + line * 1_000);
    for (since, until) in [
        (None, time(5)),
        (time(6), None),
        (time(5), time(9)),
        (None, None),
    ] {
        let within = all(reader().between(since, until));
        let within: Vec<&str> = within.split_inclusive('\n').collect();
        assert!(
            within.len() < 12 || (since, until) == (None, None),
            "{within:?}"
        );
        for count in 0..14 {
            let before = reader().between(since, until).skip_to_last(count).unwrap();
            let expected = within[within.len().saturating_sub(count)..].concat();
            assert_eq!(all(before), expected, "{count} of {since:?} to {until:?}");
            let after = reader().skip_to_last(count).unwrap().between(since, until);
            let last = all(reader().skip_to_last(count).unwrap());
            let last = last.split_inclusive('\n');
            let expected: String = last.filter(|line| within.contains(line)).collect();
            assert_eq!(all(after), expected, "{since:?} to {until:?} of {count}");
        }
    }
}

#[test]
fn durable_lines_only() {
    let disk = FaultDisk::default();
    let never = Durability::Interval(Duration::from_secs(3600));
    let log = Log::open("log").durability(never).clock(clock);
    let log = log.open_in(disk.storage()).unwrap();
    log.append("durable").unwrap();
    // A checkpoint is noted once a second of this clock.
    for _ in 0..200 {
        clock();
    }
    log.sync().unwrap();
    log.append("not yet").unwrap();
    let reader = || Reader::open_in(disk.storage()).unwrap();
    assert_eq!(all(reader()), "durable\nnot yet\n");
    assert_eq!(all(reader().durable_only()), "durable\n");
    log.close().unwrap();
    assert_eq!(all(reader().durable_only()), "durable\nnot yet\n");
    assert_eq!(verify_in(&disk.storage(), |_| ()).unwrap().problems, []);
}

#[test]
fn what_is_durable_is_noted_though_nothing_comes_after_it() {
    let batch = Durability::Batch {
        delay: Duration::from_millis(1),
        bytes: 1 << 20,
    };
    let soon = Durability::Interval(Duration::from_millis(100));
    let modes = [Durability::Always, batch, soon, Durability::Buffered];
    let logs = modes.map(|durability| {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path()).durability(durability);
        let log = log.open().unwrap();
        log.append("one").unwrap();
        log.append("two").unwrap();
        if durability == Durability::Buffered {
            log.sync().unwrap();
        }
        (folder, log)
    });
    for (folder, log) in logs {
        let mut reader = Reader::open(folder.path()).unwrap().durable_only();
        let mut text = String::new();
        while text != "one\ntwo\n" {
            text += &more(&mut reader);
            assert!(
                text == "one\ntwo\n" || reader.wait(Duration::from_secs(30)).unwrap(),
                "{log:?}: {text:?} is all that is noted"
            );
        }
        log.close().unwrap();
    }
}

#[test]
fn records_come_back_one_by_one_whatever_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::open(&path).max_line(100).rotate_size(1000);
    let log = log.open().unwrap();
    let mut records: Vec<Vec<u8>> = vec![
        b"plain".to_vec(),
        b"".to_vec(),
        b"two\nlines\n".to_vec(),
        b"\0\xc0\x81\xc0\x82\n".to_vec(),
        "ü".repeat(400).into_bytes(),
        vec![0xC0; 2500],
    ];
    for record in &records {
        log.append(record).unwrap();
    }
    log.append_unended("unended\n").unwrap();
    records.push(b"unended\n".to_vec());
    let mut read = Reader::open(&path).unwrap().records();
    let found: Result<Vec<_>, _> = read.by_ref().collect();
    assert_eq!(found.unwrap(), records);
    // A record that has begun comes when it has ended.
    log.append_part("half of ").unwrap();
    assert!(read.next().is_none());
    log.append("it").unwrap();
    assert_eq!(read.next().unwrap().unwrap(), b"half of it");
    assert!(read.next().is_none());
    log.close().unwrap();
}

#[test]
fn a_record_is_given_when_it_is_whole_and_one_without_a_newline_is_told_from_a_line() {
    let disk = FaultDisk::default();
    let log = Log::open("log").open_in(disk.storage()).unwrap();
    log.append("one").unwrap();
    let mut records = Reader::open_in(disk.storage()).unwrap().records();
    assert_eq!(records.next().unwrap().unwrap(), b"one");
    assert!(!records.is_unended());

    // As another process sees it while it is written: a line, and a mark, in two pieces.
    let text = disk
        .names()
        .into_iter()
        .find(|name| name.ends_with(".log"))
        .unwrap();
    let text = disk.storage().open(&text, true).unwrap();
    for (piece, expected) in [
        (&b"tw"[..], None),
        (b"o\n", Some((&b"two"[..], false))),
        (b"hal", None),
        (b"f\xC0", None),
        (b"\x82", None),
        (b"\n", Some((b"half", true))),
        (b"of it", None),
        (b"\n", Some((b"of it", false))),
    ] {
        text.append(piece).unwrap();
        let record = records.next().map(Result::unwrap);
        let found = record.map(|record| (record, records.is_unended()));
        let expected = expected.map(|(record, is_unended)| (record.to_vec(), is_unended));
        assert_eq!(found, expected, "{}", piece.escape_ascii());
    }
}

const NEVER: Durability = Durability::Interval(Duration::from_secs(3600));

#[test]
fn a_follower_gets_once_what_a_failed_sync_has_moved() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(NEVER);
    let log = log.open_in(disk.storage()).unwrap();
    log.append("durable").unwrap();
    log.sync().unwrap();
    log.append("one").unwrap();
    let mut behind = Reader::open_in(disk.storage()).unwrap();
    assert_eq!(more(&mut behind), "durable\none\n");
    log.append("two").unwrap();
    let reader = || Reader::open_in(disk.storage()).unwrap();
    let (mut ahead, mut at_end) = (reader(), reader().skip_to_end().unwrap());
    assert_eq!(more(&mut ahead), "durable\none\ntwo\n");
    disk.plan(0, Fault::Fails(std::io::ErrorKind::Other));
    log.sync().unwrap();
    log.append("three").unwrap();
    let segments = disk.names().into_iter();
    assert_eq!(segments.filter(|name| name.ends_with(".log")).count(), 2);
    assert_eq!(more(&mut behind), "two\nthree\n");
    assert_eq!(more(&mut ahead), "three\n");
    assert_eq!(more(&mut at_end), "three\n");
    log.append("four").unwrap();
    assert_eq!(more(&mut ahead), "four\n");
    assert_eq!(all(reader()), "durable\none\ntwo\nthree\nfour\n");
    log.close().unwrap();
}

/// A log that keeps some of its segments only, and what was written to it.
struct Kept {
    disk: FaultDisk,
    log: Log,
    text: String,
}

impl Kept {
    fn new() -> Kept {
        let disk = FaultDisk::default();
        let log = Log::open("log")
            .durability(Durability::Always)
            .rotate_size(30)
            .keep_size(2_000);
        let log = log.open_in(disk.storage()).unwrap();
        Kept {
            disk,
            log,
            text: String::new(),
        }
    }

    fn write(&mut self, lines: usize) {
        for _ in 0..lines {
            let line = format!("line at {}", self.text.len());
            self.log.append(&line).unwrap();
            self.text += &line;
            self.text.push('\n');
        }
    }

    fn reader(&self) -> Reader {
        Reader::open_in(self.disk.storage()).unwrap()
    }

    /// Makes sure that `text` is what was written, but for one gap.
    fn check_gap(&self, text: &str, removed: u64) {
        let same = text.bytes().zip(self.text.bytes());
        let before = same.take_while(|(read, written)| read == written).count();
        let removed = usize::try_from(removed).unwrap();
        assert_eq!(
            text[..before].to_owned() + &self.text[before + removed..],
            text
        );
    }

    /// Removes a segment behind everybody's back: the first one but `skipped`.
    fn lose(&self, skipped: usize) {
        let mut names = self.disk.names();
        names.retain(|name| name.ends_with(".log"));
        let name = names[skipped].strip_suffix("log").unwrap();
        for end in ["log", "idx"] {
            self.disk.storage().remove(&format!("{name}{end}")).unwrap();
        }
    }
}

#[test]
fn what_retention_has_removed_is_left_out_and_counted() {
    for read_first in [0, 1, 2, 3] {
        let mut kept = Kept::new();
        kept.write(20);
        let mut reader = kept.reader();
        let mut text = String::new();
        for _ in 0..read_first {
            text += std::str::from_utf8(reader.next_chunk().unwrap().unwrap()).unwrap();
        }
        if read_first == 3 {
            text += &more(&mut reader);
            assert_eq!(text, kept.text);
        }
        kept.write(200);
        text += &more(&mut reader);
        let removed = reader.removed();
        assert!(removed > 0, "{read_first}");
        kept.check_gap(&text, removed);
        // It goes on as any other, and so it can happen again.
        let before = kept.text.len();
        kept.write(3);
        assert_eq!(more(&mut reader), kept.text[before..]);
        assert_eq!(reader.removed(), removed);
        let before = kept.text.len();
        kept.write(300);
        let text = kept.text[..before].to_owned() + &more(&mut reader);
        assert!(reader.removed() > removed);
        kept.check_gap(&text, reader.removed() - removed);
        kept.log.close().unwrap();
    }
}

#[test]
fn reading_backwards_ends_where_retention_has_been() {
    let mut kept = Kept::new();
    kept.write(20);
    for read_first in [0, 4] {
        let mut reader = ReverseReader::open_in(kept.disk.storage()).unwrap();
        let begin = kept.reader();
        let end = kept.text.len();
        let oldest = kept.text.find(&all(begin)).unwrap();
        let mut lines = Vec::new();
        for _ in 0..read_first {
            lines.push(reader.next_line().unwrap().unwrap());
        }
        kept.write(200);
        while let Some(line) = reader.next_line().unwrap() {
            lines.push(line);
        }
        lines.reverse();
        let lines = String::from_utf8(lines.concat()).unwrap();
        match read_first {
            // It had not begun: what is there is what there is to read.
            0 => {
                assert!(kept.text.ends_with(&lines) && !lines.is_empty());
                assert_eq!(reader.removed(), 0);
            }
            _ => {
                assert!(kept.text[..end].ends_with(&lines));
                assert_eq!(reader.removed(), (end - oldest - lines.len()) as u64);
                assert!(reader.removed() > 0);
            }
        }
    }
    kept.log.close().unwrap();
}

#[test]
fn the_last_records_are_found_beside_retention() {
    let mut kept = Kept::new();
    kept.write(20);
    let reader = kept.reader();
    kept.write(200);
    let mut reader = reader.skip_to_last(5).unwrap();
    let last = more(&mut reader);
    assert!(kept.text.ends_with(&last));
    assert_eq!((last.lines().count(), reader.removed()), (5, 0));
    kept.log.close().unwrap();
}

#[test]
fn records_go_on_behind_what_retention_has_removed() {
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .durability(Durability::Always)
        .rotate_size(30)
        .keep_size(2_000)
        .open_in(disk.storage())
        .unwrap();
    log.append("one").unwrap();
    // With it the segment is full.
    log.append_part("half of a record that is long").unwrap();
    let mut records = Reader::open_in(disk.storage()).unwrap().records();
    assert_eq!(records.next().unwrap().unwrap(), b"one");
    assert!(records.next().is_none());
    for _ in 0..100 {
        log.append("a record that is whole").unwrap();
    }
    // What has begun and was removed does not go on with something else.
    let found: Result<Vec<_>, _> = records.by_ref().collect();
    let found = found.unwrap();
    let (half, whole) = found.split_first().unwrap();
    assert_eq!(half, b"half of a record that is long");
    assert!(records.removed() > 0 && !whole.is_empty());
    assert!(
        whole
            .iter()
            .all(|record| record == b"a record that is whole")
    );
    log.close().unwrap();
}

#[test]
fn a_gap_that_is_not_at_the_old_end_is_an_error() {
    let check = |reader: Reader| {
        let mut reader = reader;
        let error = loop {
            match reader.next_chunk() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("the gap was passed over"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), LogErrorKind::Corrupt, "{error}");
        assert_eq!(reader.removed(), 0);
    };
    let mut kept = Kept::new();
    kept.write(20);
    let (listed, mut backwards) = (
        kept.reader(),
        ReverseReader::open_in(kept.disk.storage()).unwrap(),
    );
    kept.lose(2);
    check(listed);
    check(kept.reader());
    let error = loop {
        match backwards.next_line() {
            Ok(line) => assert!(line.is_some(), "the gap was passed over"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), LogErrorKind::Corrupt, "{error}");
    kept.log.close().unwrap();
}

#[test]
fn a_clock_that_steps_back_hides_no_segment_from_until() {
    static NOW: AtomicU64 = AtomicU64::new(0);
    const START: u64 = 1_763_680_800_000;
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .durability(Durability::Always)
        .rotate_size(10)
        .clock(|| START + NOW.load(Ordering::Relaxed));
    NOW.store(10_000, Ordering::Relaxed);
    let log = log.open_in(disk.storage()).unwrap();
    // Each in a segment of its own, which is made when the line before it is written.
    for second in [10, 90, 20, 30, 95, 40] {
        NOW.store(second * 1_000, Ordering::Relaxed);
        log.append(format!("written at {second}")).unwrap();
    }
    log.close().unwrap();
    let until = START + 50_000;
    let reader = || Reader::open_in(disk.storage()).unwrap();
    let expected = [10, 20, 30, 40].map(|second| format!("written at {second}\n"));
    assert_eq!(all(reader().between(None, Some(until))), expected.concat());
    let backwards = ReverseReader::open_in(disk.storage()).unwrap();
    let backwards = backwards.between(None, Some(until));
    assert_eq!(reversed(backwards), expected.concat());
}

#[test]
fn a_record_without_an_end_is_one_with_what_continues_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let check = |count, expected: &str| {
        let mut reader = Reader::open(&path).unwrap().skip_to_last(count).unwrap();
        let mut last = Vec::new();
        withal_log::decode(reader.next_chunk().unwrap().unwrap(), &mut last);
        assert_eq!(String::from_utf8(last).unwrap(), expected, "{count}");
    };
    let log = Log::open(&path).open().unwrap();
    log.append("one").unwrap();
    log.append_unended("ab").unwrap();
    check(1, "ab");
    check(2, "one\nab");
    log.append("cd").unwrap();
    check(1, "abcd\n");
    check(2, "one\nabcd\n");
    log.append_part("half").unwrap();
    check(1, "half");
    check(2, "abcd\nhalf");
    log.close().unwrap();
}

#[test]
fn a_window_that_is_asked_for_while_reading_leaves_whole_lines() {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    let disk = FaultDisk::default();
    let log = Log::open("log")
        .durability(Durability::Always)
        .clock(|| NOW.load(Ordering::Relaxed));
    let log = log.open_in(disk.storage()).unwrap();
    for number in 0..16 {
        let line = format!("line {number:030}\n");
        log.append_lines(line.repeat(2_500)).unwrap();
        NOW.fetch_add(100_000, Ordering::Relaxed);
    }
    log.close().unwrap();
    let mut reader = Reader::open_in(disk.storage()).unwrap();
    assert!(reader.next_chunk().unwrap().is_some());
    let since = Some(1_763_680_800_000 + 1_000_000);
    let rest = all(reader.between(since, None));
    assert!(rest.lines().all(|line| line.len() == 35));
    let first = rest.lines().next().unwrap();
    assert!(first > "line 000000000000000000000000000008", "{first}");
}

#[test]
fn what_is_not_durable_is_not_given_whatever_was_asked_first() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Interval(Duration::MAX));
    let log = log.open_in(disk.storage()).unwrap();
    log.append("one").unwrap();
    let reader = || Reader::open_in(disk.storage()).unwrap();
    let mut durable_last = reader().skip_to_last(5).unwrap().durable_only();
    let mut last_durable = reader().durable_only().skip_to_last(5).unwrap();
    assert_eq!(durable_last.next_chunk().unwrap(), None);
    assert_eq!(last_durable.next_chunk().unwrap(), None);
    log.close().unwrap();
    assert_eq!(durable_last.next_chunk().unwrap(), Some(&b"one\n"[..]));
    assert_eq!(last_durable.next_chunk().unwrap(), Some(&b"one\n"[..]));
}
