//! Where a crash may leave anything at the end of a file, text counts as far as its checksums do.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io};

use withal_log::{
    Durability, Log, LogOptions, OnFull, Reader, RepairKind, RepairOptions, TailRule, Verdict,
    last_lines, repair, repair_in, stats, stats_in, verify, verify_in,
};

use crate::child;
use crate::crash::read;
use crate::damage::repaired_as_foreseen;
use crate::disk::{Dice, Fault, FaultDisk, Lost};

fn options() -> LogOptions {
    Log::open("log").durability(Durability::Always)
}

/// A disk that asks for strict logs, with one that a killed writer has left.
fn killed(records: &[&str]) -> FaultDisk {
    let disk = FaultDisk::leaving(Lost::Anything);
    let log = options().open_in(disk.storage()).unwrap();
    for record in records {
        log.append(record).unwrap();
    }
    disk.after_kill()
}

fn files(disk: &FaultDisk, end: &str) -> Vec<String> {
    let mut names = disk.names();
    names.retain(|name| name.ends_with(end));
    names
}

fn last(disk: &FaultDisk, end: &str) -> String {
    files(disk, end).pop().unwrap()
}

fn verdict(disk: &FaultDisk) -> Verdict {
    verify_in(&disk.storage(), |_| ()).unwrap().verdict()
}

/// What the header of the last segment says.
fn flags(disk: &FaultDisk) -> u8 {
    disk.read(&last(disk, ".idx")).unwrap()[10]
}

/// Small seeds alone make dice that fall alike.
fn dice(seed: u64) -> Dice {
    Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

const INVENTED: &[u8] = b"nobody wrote this\n";

/// Adds what nobody wrote to the text and the sidecar of the last segment.
fn invent(disk: &FaultDisk) {
    disk.damage(&last(disk, ".log"), |text| text.extend_from_slice(INVENTED));
    disk.damage(&last(disk, ".idx"), |sidecar| {
        sidecar.extend_from_slice(&[0xAB; 100])
    });
}

#[test]
fn the_file_system_says_whether_a_log_is_strict() {
    for (lost, rule) in [
        (Lost::Zeros, TailRule::Text),
        (Lost::Anything, TailRule::Strict),
    ] {
        let disk = FaultDisk::leaving(lost);
        let empty = stats_in(&disk.storage()).unwrap();
        assert_eq!(empty.tail_rule, rule);
        options().open_in(disk.storage()).unwrap().close().unwrap();
        assert_eq!(flags(&disk), u8::from(rule == TailRule::Strict));
        let stats = stats_in(&disk.storage()).unwrap();
        assert_eq!((stats.tail_rule, stats.file_system_rule), (rule, rule));
        assert_eq!(stats.file_system, "memory");
    }
}

#[test]
fn whoever_opens_a_log_may_choose_the_rule() {
    let disk = FaultDisk::default();
    let log = options().tail_rule(TailRule::Strict);
    log.open_in(disk.storage()).unwrap().close().unwrap();
    assert_eq!(flags(&disk), 1);
    let stats = stats_in(&disk.storage()).unwrap();
    assert_eq!(stats.tail_rule, TailRule::Strict);
    assert_eq!(stats.file_system_rule, TailRule::Text);
}

#[test]
fn a_strict_log_syncs_its_sidecar_with_its_text_and_others_do_not() {
    for (lost, each) in [(Lost::Zeros, 1), (Lost::Anything, 2)] {
        let disk = FaultDisk::leaving(lost);
        let log = options().clock(|| 1_000).open_in(disk.storage()).unwrap();
        let (before, told) = (disk.syncs(), disk.read(&last(&disk, ".idx")).unwrap().len());
        for record in ["first", "second", "third"] {
            log.append(record).unwrap();
        }
        assert_eq!(disk.syncs() - before, 3 * each);
        let entries = (disk.read(&last(&disk, ".idx")).unwrap().len() - told) / 64;
        // Once a second they are told of without that, too.
        assert_eq!(entries >= 3, each == 2, "{entries}");
        log.close().unwrap();
    }
}

#[test]
fn what_no_checksum_covers_is_cut_into_quarantine_and_given_to_nobody() {
    let disk = killed(&["first", "second"]);
    invent(&disk);
    assert_eq!(read(&disk.storage()).unwrap(), b"first\nsecond\n");
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::TornTail, "{report:?}");
    let text = last(&disk, ".log");
    let torn = report.problems.iter().find(|problem| problem.file == text);
    let torn = torn.unwrap();
    assert_eq!((torn.offset, torn.len), (13, INVENTED.len() as u64));

    let log = options().open_in(disk.storage()).unwrap();
    let recovery = log.recovery().unwrap();
    assert_eq!((recovery.end, recovery.uncovered), (13, 0));
    assert_eq!(recovery.cut, INVENTED.len() as u64);
    log.append("third").unwrap();
    log.close().unwrap();
    assert_eq!(read(&disk.storage()).unwrap(), b"first\nsecond\nthird\n");
    assert_eq!(verdict(&disk), Verdict::Clean);
    assert_eq!(disk.read(&last(&disk, ".torn")).unwrap(), INVENTED);
}

#[test]
fn text_that_does_not_match_its_last_checksum_is_torn_and_no_damage() {
    let disk = killed(&["first", "second"]);
    disk.damage(&last(&disk, ".log"), |text| text[7] = b'X');
    assert_eq!(verdict(&disk), Verdict::TornTail);
    assert_eq!(read(&disk.storage()).unwrap(), b"first\n");
    let done = repaired_as_foreseen(&disk);
    assert_eq!(done[0].kind, RepairKind::Cut { bytes: 7 });
    assert_eq!(verdict(&disk), Verdict::Clean);
    assert_eq!(read(&disk.storage()).unwrap(), b"first\n");
}

#[test]
fn what_is_noted_to_be_durable_is_damage_where_it_does_not_match() {
    let disk = FaultDisk::leaving(Lost::Anything);
    let log = options().open_in(disk.storage()).unwrap();
    log.append("first").unwrap();
    log.close().unwrap();
    disk.damage(&last(&disk, ".log"), |text| text[0] = b'X');
    assert_eq!(verdict(&disk), Verdict::Corrupt);
    let log = options().open_in(disk.storage()).unwrap();
    assert_eq!(log.recovery(), None);
    log.close().unwrap();
    assert_eq!(read(&disk.storage()).unwrap(), b"Xirst\n");
}

#[test]
fn a_torn_sidecar_is_not_made_anew_from_what_nobody_wrote() {
    let disk = killed(&["first"]);
    invent(&disk);
    let reindex = RepairOptions {
        reindex: true,
        ..RepairOptions::default()
    };
    let actions = repair_in(&disk.storage(), &reindex, |_| ()).unwrap();
    assert_eq!(
        actions[0].kind,
        RepairKind::Cut {
            bytes: INVENTED.len() as u64
        }
    );
    assert_eq!(read(&disk.storage()).unwrap(), b"first\n");
    assert_eq!(verdict(&disk), Verdict::Clean);
}

#[test]
fn a_damaged_sidecar_still_says_where_the_text_ends() {
    let disk = FaultDisk::leaving(Lost::Anything);
    let first = options().open_in(disk.storage()).unwrap();
    first.append("first").unwrap();
    first.append("second").unwrap();
    first.close().unwrap();
    let log = options().clock(|| 1_000).open_in(disk.storage()).unwrap();
    log.append("third").unwrap();
    let disk = disk.after_kill();
    invent(&disk);
    // The entry of "first": a checkpoint behind it says that it was durable.
    disk.damage(&last(&disk, ".idx"), |sidecar| sidecar[64] ^= 1);
    assert_eq!(verdict(&disk), Verdict::Corrupt);
    let log = options().open_in(disk.storage()).unwrap();
    assert_eq!(log.recovery().unwrap().end, 19);
    log.append("fourth").unwrap();
    log.close().unwrap();
    let text = read(&disk.storage()).unwrap();
    assert_eq!(text, b"first\nsecond\nthird\nfourth\n");
    assert_eq!(disk.read(&last(&disk, ".torn")).unwrap(), INVENTED);
}

#[test]
fn entries_that_another_segment_has_left_on_the_disk_count_for_nothing() {
    let disk = FaultDisk::leaving(Lost::Anything);
    let other = FaultDisk::leaving(Lost::Anything);
    for (disk, records) in [(&disk, 1), (&other, 100)] {
        let log = options().open_in(disk.storage()).unwrap();
        for _ in 0..records {
            log.append("a record").unwrap();
        }
        log.close().unwrap();
    }
    let stale = other.read(&last(&other, ".idx")).unwrap();
    disk.damage(&last(&disk, ".idx"), |sidecar| {
        sidecar.extend_from_slice(&stale)
    });
    assert_eq!(verdict(&disk), Verdict::TornTail);
    let log = options().open_in(disk.storage()).unwrap();
    log.append("goes on").unwrap();
    log.close().unwrap();
    assert_eq!(read(&disk.storage()).unwrap(), b"a record\ngoes on\n");
    assert_eq!(files(&disk, ".log").len(), 1);
}

#[test]
fn a_segment_keeps_its_rule_wherever_it_is_opened_and_the_next_has_another() {
    let disk = FaultDisk::default();
    let strict = || options().tail_rule(TailRule::Strict);
    let log = strict().open_in(disk.storage()).unwrap();
    log.append("first").unwrap();
    let disk = disk.after_kill();
    invent(&disk);
    // Nothing here asks for a strict log.
    let log = options().open_in(disk.storage()).unwrap();
    assert_eq!(log.recovery().unwrap().cut, INVENTED.len() as u64);
    log.append("second").unwrap();
    let disk = disk.after_kill();
    assert_eq!(flags(&disk), 0);
    disk.damage(&last(&disk, ".log"), |text| text.extend(b"third\ntorn"));
    // A segment of old, which is no proof of what it holds.
    let log = strict().open_in(disk.storage()).unwrap();
    assert_eq!(log.recovery().unwrap().cut, 4);
    log.append("fourth").unwrap();
    log.close().unwrap();
    assert_eq!(flags(&disk), 1);
    assert_eq!(files(&disk, ".log").len(), 3);
    let text = read(&disk.storage()).unwrap();
    assert_eq!(text, b"first\nsecond\nthird\nfourth\n");
    assert_eq!(verdict(&disk), Verdict::Clean);
}

#[test]
fn an_empty_segment_of_the_other_rule_is_no_gap() {
    let disk = FaultDisk::default();
    let rules = [TailRule::Text, TailRule::Strict, TailRule::Text];
    for rule in rules {
        let log = options().tail_rule(rule).open_in(disk.storage()).unwrap();
        log.close().unwrap();
    }
    let log = options().open_in(disk.storage()).unwrap();
    log.append("first").unwrap();
    log.close().unwrap();
    assert_eq!(files(&disk, ".log").len(), rules.len());
    assert_eq!(verdict(&disk), Verdict::Clean);
    assert_eq!(read(&disk.storage()).unwrap(), b"first\n");
}

#[test]
fn a_sidecar_that_cannot_be_written_takes_the_lines_back() {
    // The write of the text, that of the sidecar: first the space is set aside.
    for (at, is_taken) in [(1, false), (2, false), (3, true)] {
        let disk = FaultDisk::leaving(Lost::Anything);
        let log = options().on_full(OnFull::Fail);
        let log = log.open_in(disk.storage()).unwrap();
        log.append("first").unwrap();
        disk.plan(at - 1, Fault::Half(io::ErrorKind::StorageFull));
        let second = log.append("second");
        assert_eq!(second.is_ok(), is_taken, "{at}");
        log.append("third").unwrap();
        log.close().unwrap();
        let text = match is_taken {
            true => &b"first\nsecond\nthird\n"[..],
            false => b"first\nthird\n",
        };
        assert_eq!(read(&disk.storage()).unwrap(), text, "{at}");
        assert_eq!(verdict(&disk), Verdict::Clean, "{at}");
    }
}

#[test]
fn a_power_loss_while_a_killed_log_is_opened_is_no_damage() {
    for at in 0..8 {
        let disk = FaultDisk::leaving(Lost::Anything);
        let log = options().durability(Durability::Interval(Duration::from_secs(3_600)));
        let log = log.open_in(disk.storage()).unwrap();
        for record in 0..20 {
            log.append(record.to_string()).unwrap();
        }
        // None of it is synced when it is killed, nor when the power fails.
        let disk = disk.after_kill();
        disk.plan(at, Fault::Crash);
        let _stopped = options().open_in(disk.storage());
        for seed in 1..200 {
            let left = disk.after_power_loss(&mut dice(seed));
            assert!(verdict(&left) <= Verdict::TornTail, "{at}, {seed}");
        }
    }
}

#[test]
fn a_power_loss_while_a_segment_is_ended_is_no_damage() {
    for at in 0..8 {
        for seed in 1..200 {
            let disk = FaultDisk::leaving(Lost::Anything);
            // Each second a checkpoint, and with the second line another segment.
            let log = options().rotate_size(1).clock(each_time_later);
            let log = log.open_in(disk.storage()).unwrap();
            log.append("first").unwrap();
            disk.plan(at, Fault::Crash);
            let _stopped = log.append("second");
            let left = disk.after_power_loss(&mut dice(seed));
            assert!(verdict(&left) <= Verdict::TornTail, "{at}, {seed}");
        }
    }
}

fn each_time_later() -> u64 {
    static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);
    NOW.fetch_add(2_000, Ordering::Relaxed)
}

#[test]
fn a_segment_is_durable_to_its_seal_before_the_next_is_made() {
    for lost in [Lost::Zeros, Lost::Anything] {
        for at in 0..12 {
            let disk = FaultDisk::leaving(lost);
            let log = options().rotate_size(1).open_in(disk.storage()).unwrap();
            log.append("first").unwrap();
            // The seal is written, and not synced, when it is killed.
            disk.plan(at, Fault::Crash);
            let _stopped = log.append("second");
            let disk = disk.after_kill();
            disk.plan(8, Fault::Crash);
            drop(options().open_in(disk.storage()));
            for seed in 1..200 {
                let left = disk.after_power_loss(&mut dice(seed));
                let is_last = files(&left, ".idx").len() == 1;
                let is_whole = is_last || verdict(&left) <= Verdict::TornTail;
                assert!(is_whole, "{lost:?}, {at}, {seed}");
            }
        }
    }
}

/// A log that has dropped a line, closed, or stopped in the midst of that.
fn dropping(crash: Option<u64>) -> FaultDisk {
    let disk = FaultDisk::leaving(Lost::Anything);
    let log = options().on_full(OnFull::Drop);
    let log = log.open_in(disk.storage()).unwrap();
    log.append("first").unwrap();
    disk.plan_full(0, 1_000);
    let _dropped = log.append("second");
    assert_eq!(log.dropped(), 1);
    disk.plan_full(0, 0);
    if let Some(at) = crash {
        disk.plan(at, Fault::Crash);
    }
    let _stopped = log.close();
    disk
}

#[test]
fn dropped_lines_are_told_of_by_the_checkpoint_itself() {
    let disk = dropping(None);
    assert_eq!(stats_in(&disk.storage()).unwrap().dropped, 1);
    for at in 0..10 {
        let disk = dropping(Some(at));
        for seed in 1..200 {
            let left = disk.after_power_loss(&mut dice(seed));
            assert!(verdict(&left) <= Verdict::TornTail, "{at}, {seed}");
        }
    }
}

/// Appends until it is killed, and says how far it has come.
pub(crate) fn write_until_killed(path: &Path) {
    let log = Log::open(path).durability(Durability::Always);
    let log = log.tail_rule(TailRule::Strict).rotate_size(20_000);
    let log = log.open().unwrap();
    let mut stdout = io::stdout();
    for line in last_number(path) + 1.. {
        log.append(record(line)).unwrap();
        writeln!(stdout, "!{line}").unwrap();
    }
}

fn record(line: usize) -> String {
    format!("record {line} {}", "x".repeat(line % 90))
}

fn last_number(path: &Path) -> usize {
    let line = String::from_utf8(last_lines(path, 1).unwrap()).unwrap();
    let number = line.split(' ').nth(1);
    number.map_or(0, |number| number.parse().unwrap())
}

/// The last number it says before it ends, or the first from `enough` on.
fn acknowledged(writer: &mut Child, enough: usize) -> usize {
    let told = BufReader::new(writer.stdout.as_mut().unwrap()).lines();
    let numbers = told.filter_map(|line| line.unwrap().strip_prefix('!')?.parse().ok());
    let mut numbers = numbers.skip_while(|number| *number < enough);
    numbers.next().unwrap()
}

#[test]
fn a_killed_strict_writer_has_lost_nothing_and_nothing_is_invented() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::create_dir(&path).unwrap();
    let mut enough = 0;
    for round in 1..=6_usize {
        enough += 37 * round;
        let mut writer = child::command("write-strictly", &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let acknowledged = acknowledged(&mut writer, enough);
        writer.kill().unwrap();
        writer.wait().unwrap();

        // As a power loss leaves it elsewhere.
        let text = fs::canonicalize(path.join("current")).unwrap();
        for (file, more) in [
            (text.clone(), INVENTED),
            (text.with_extension("idx"), b"AB"),
        ] {
            let mut file = fs::OpenOptions::new().append(true).open(file).unwrap();
            file.write_all(more).unwrap();
        }
        let mut reader = Reader::open(&path).unwrap();
        let mut lines = 0;
        while let Some(chunk) = reader.next_chunk().unwrap() {
            for line in chunk.split_inclusive(|byte| *byte == b'\n') {
                lines += 1;
                assert_eq!(line, format!("{}\n", record(lines)).as_bytes());
            }
        }
        assert!(lines >= acknowledged, "{lines} of {acknowledged}");
        let report = verify(&path, |_| ()).unwrap();
        assert_eq!(report.verdict(), Verdict::TornTail, "{report:?}");
        if round % 2 == 0 {
            let cut = repair(&path, &RepairOptions::default(), |_| ()).unwrap();
            assert!(!cut.is_empty());
            assert_eq!(verify(&path, |_| ()).unwrap().problems, []);
        }
        assert_eq!(last_number(&path), lines);
        enough = lines;
    }
    assert_eq!(stats(&path).unwrap().tail_rule, TailRule::Strict);
}
