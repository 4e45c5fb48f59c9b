//! Damage of any kind is found and named, and never makes anything panic or loop.

use std::time::Duration;

use proptest::prelude::*;
use withal_log::{
    Durability, Log, LogErrorKind, Problem, ProblemKind, Reader, RepairAction, RepairKind,
    RepairOptions, Verdict, repair_in, verify_in,
};

use crate::disk::{FaultDisk, Lost};

/// A log of three segments, closed.
fn log(records: usize) -> FaultDisk {
    log_where(Lost::Zeros, records)
}

/// One that is strict where anything may be left of what is lost.
fn log_where(lost: Lost, records: usize) -> FaultDisk {
    let disk = FaultDisk::leaving(lost);
    let log = Log::open("log")
        .durability(Durability::Always)
        .rotate_size(200);
    let log = log.open_in(disk.storage()).unwrap();
    for number in 0..records {
        log.append(format!("record number {number:04}")).unwrap();
    }
    log.close().unwrap();
    disk
}

/// A whole log of either kind and one of its files, for each.
fn each_file() -> Vec<(FaultDisk, String)> {
    let logs = [Lost::Zeros, Lost::Anything].map(|lost| log_where(lost, 24));
    let files = |log: FaultDisk| {
        let files = segment_files(&log).into_iter();
        files.map(move |file| (log.clone(), file))
    };
    logs.into_iter().flat_map(files).collect()
}

fn segment_files(disk: &FaultDisk) -> Vec<String> {
    let is_part = |name: &String| name.ends_with(".log") || name.ends_with(".idx");
    disk.names().into_iter().filter(is_part).collect()
}

#[test]
fn a_whole_log_is_clean() {
    let disk = log(24);
    let mut read = 0;
    let report = verify_in(&disk.storage(), |bytes| read += bytes).unwrap();
    assert_eq!(report.problems, []);
    assert_eq!(report.verdict(), Verdict::Clean);
    assert_eq!(
        (report.segments, report.lines, report.uncovered),
        (3, 24, 0)
    );
    assert_eq!(report.bytes, read);
}

#[test]
fn one_flipped_bit_anywhere_is_found_and_named() {
    for (whole, file) in each_file() {
        let len = whole.read(&file).unwrap().len();
        for byte in 0..len {
            let disk = whole.after_kill();
            disk.damage(&file, |content| content[byte] ^= 1 << (byte % 8));
            let report = verify_in(&disk.storage(), |_| ()).unwrap();
            assert!(
                report.verdict() >= Verdict::TornTail,
                "{file} at {byte}: {report:?}"
            );
            let named = report.problems.iter().any(|problem| {
                problem.file == file
                    && (problem.offset..problem.offset + problem.len).contains(&(byte as u64))
            });
            assert!(named, "{file} at {byte}: {report:?}");
        }
    }
}

#[test]
fn corrupt_text_is_named_by_its_lines() {
    let disk = log(24);
    let file = segment_files(&disk)
        .into_iter()
        .filter(|name| name.ends_with(".log"))
        .nth(1);
    disk.damage(&file.unwrap(), |content| content[30] ^= 1);
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    let first = &report.problems[0];
    assert_eq!(first.kind, ProblemKind::CorruptText);
    assert!(first.to_string().contains("line 12 to 22"), "{first}");
}

#[test]
fn a_missing_segment_is_named() {
    let disk = log(40);
    let gone = segment_files(&disk)[2].clone();
    for file in segment_files(&disk) {
        if file[..20] == gone[..20] {
            disk.storage().remove(&file).unwrap();
        }
    }
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Missing, "{report:?}");
    let mut reader = Reader::open_in(disk.storage()).unwrap();
    let failed = loop {
        match reader.next_chunk() {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    assert!(failed.unwrap().to_string().contains("goes on after"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_in_any_file_make_no_panic_and_no_loop(
        which in 0_usize..6,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        keep in 0_usize..300,
        is_strict: bool,
    ) {
        let disk = log_where(if is_strict { Lost::Anything } else { Lost::Zeros }, 24);
        let files = segment_files(&disk);
        disk.damage(&files[which % files.len()], |content| {
            content.truncate(keep);
            content.extend_from_slice(&bytes);
        });
        let before = verify_in(&disk.storage(), |_| ()).unwrap();
        let mut reader = Reader::open_in(disk.storage()).unwrap();
        while let Ok(Some(_)) = reader.next_chunk() {}
        if let Ok(log) = Log::open("log").open_in(disk.storage()) {
            log.append_durable("more").unwrap();
            log.close().unwrap();
            let log = Log::open("log").open_in(disk.storage()).unwrap();
            prop_assert_eq!(log.recovery(), None, "{:?}", before);
            log.close().unwrap();
        }
    }
}

const DRY_RUN: RepairOptions = RepairOptions {
    dry_run: true,
    reindex: false,
};

/// What a repair has done, which is what a dry run of it says.
pub(crate) fn repaired_as_foreseen(disk: &FaultDisk) -> Vec<RepairAction> {
    let foreseen = repair_in(&disk.storage(), &DRY_RUN, |_| ()).unwrap();
    let done = repair_in(&disk.storage(), &RepairOptions::default(), |_| ()).unwrap();
    assert_eq!(foreseen, done);
    done
}

const REINDEX: RepairOptions = RepairOptions {
    dry_run: false,
    reindex: true,
};

fn text(disk: &FaultDisk) -> Vec<u8> {
    let is_text = |name: &String| name.ends_with(".log");
    let files = disk.names().into_iter().filter(is_text);
    files.flat_map(|file| disk.read(&file).unwrap()).collect()
}

fn verdict(disk: &FaultDisk) -> Verdict {
    verify_in(&disk.storage(), |_| ()).unwrap().verdict()
}

#[test]
fn a_whole_log_needs_no_repair() {
    let disk = log(24);
    assert_eq!(repair_in(&disk.storage(), &REINDEX, |_| ()).unwrap(), []);
    assert_eq!(verdict(&disk), Verdict::Clean);
}

#[test]
fn any_damaged_sidecar_can_be_made_anew() {
    for (whole, file) in each_file() {
        if file.ends_with(".log") {
            continue;
        }
        for byte in 0..whole.read(&file).unwrap().len() {
            let disk = whole.after_kill();
            disk.damage(&file, |content| content[byte] ^= 0x40);
            let foreseen = repair_in(
                &disk.storage(),
                &RepairOptions {
                    dry_run: true,
                    ..REINDEX
                },
                |_| (),
            );
            assert_ne!(verdict(&disk), Verdict::Clean, "a dry run changes nothing");
            let actions = repair_in(&disk.storage(), &REINDEX, |_| ()).unwrap();
            assert!(
                !actions.is_empty() && !foreseen.unwrap().is_empty(),
                "{file} at {byte}"
            );
            let report = verify_in(&disk.storage(), |_| ()).unwrap();
            assert_eq!(report.problems, [], "{file} at {byte}: {actions:?}");
            assert_eq!(text(&disk), text(&whole));
            assert_eq!(report.lines, 24);
        }
    }
}

#[test]
fn a_torn_end_is_cut_into_quarantine() {
    let disk = log(24);
    let last = segment_files(&disk)
        .into_iter()
        .rfind(|name| name.ends_with(".log"))
        .unwrap();
    disk.damage(&last, |content| {
        content.extend_from_slice(b"whole\ntorn\0\0\0rest\n")
    });
    assert_eq!(verdict(&disk), Verdict::TornTail);
    let plain = RepairOptions::default();
    let foreseen = repair_in(
        &disk.storage(),
        &RepairOptions {
            dry_run: true,
            ..plain
        },
        |_| (),
    )
    .unwrap();
    let actions = repair_in(&disk.storage(), &plain, |_| ()).unwrap();
    assert_eq!(foreseen, actions);
    let kinds: Vec<_> = actions.iter().map(|action| action.kind).collect();
    assert_eq!(
        kinds,
        [
            RepairKind::Cut { bytes: 12 },
            RepairKind::Covered { bytes: 6 }
        ]
    );
    assert_eq!(verdict(&disk), Verdict::Clean);
    assert!(text(&disk).ends_with(b"whole\n"));
    let kept = disk
        .names()
        .into_iter()
        .find(|name| name.starts_with("quarantine/"))
        .unwrap();
    assert_eq!(disk.read(&kept).unwrap(), b"torn\0\0\0rest\n");
}

#[test]
fn changed_text_is_left_where_it_is() {
    let disk = log(24);
    let file = segment_files(&disk)
        .into_iter()
        .find(|name| name.ends_with(".log"))
        .unwrap();
    disk.damage(&file, |content| content[3] = b'X');
    let damaged = text(&disk);
    let actions = repair_in(&disk.storage(), &REINDEX, |_| ()).unwrap();
    let left = actions
        .iter()
        .all(|action| matches!(action.kind, RepairKind::Left(_)));
    assert!(left && !actions.is_empty(), "{actions:?}");
    assert_eq!(text(&disk), damaged);
    assert_eq!(verdict(&disk), Verdict::Corrupt);
}

/// What was synced beside the writing is known to be durable before a second has passed: a zero in
/// it is damage, behind which nothing is cut, and little is read when the log is opened again.
#[test]
fn a_zero_in_what_was_synced_beside_the_writing_is_no_tear() {
    let options = Log::open("log")
        .durability(Durability::Interval(Duration::from_secs(3600)))
        .sync_beside(256 << 10);
    let disk = FaultDisk::default();
    let log = options.clone().open_in(disk.storage()).unwrap();
    for _ in 0..32 {
        log.append([b'x'; 64 << 10]).unwrap();
    }
    let left = disk.after_kill();
    let written = text(&left);
    left.damage(&files_of(&left, ".log")[0], |text| text[100_000] = 0);
    let log = options.open_in(left.storage()).unwrap();
    assert_eq!(log.recovery().map_or(0, |recovery| recovery.cut), 0);
    log.close().unwrap();
    let report = verify_in(&left.storage(), |_| ()).unwrap();
    let kinds = report.problems.iter().map(|problem| problem.kind);
    assert_eq!(kinds.collect::<Vec<_>>(), [ProblemKind::CorruptText]);
    assert_eq!(text(&left).len(), written.len());
}

#[test]
fn lost_durable_text_stops_the_writer_until_it_is_repaired() {
    let disk = log(24);
    let last = segment_files(&disk)
        .into_iter()
        .rfind(|name| name.ends_with(".log"))
        .unwrap();
    disk.damage(&last, |content| content.truncate(content.len() - 5));
    let refused = Log::open("log").open_in(disk.storage()).unwrap_err();
    assert_eq!(refused.kind(), LogErrorKind::Corrupt);
    assert!(refused.to_string().contains("repair"), "{refused}");
    assert_eq!(verdict(&disk), Verdict::Corrupt);
    assert!(
        !repair_in(&disk.storage(), &RepairOptions::default(), |_| ())
            .unwrap()
            .is_empty()
    );
    let log = Log::open("log").open_in(disk.storage()).unwrap();
    log.append_durable("goes on").unwrap();
    log.close().unwrap();
    assert!(text(&disk).ends_with(b"0022\ngoes on\n"));
    assert_eq!(verdict(&disk), Verdict::Clean);
}

fn files_of(disk: &FaultDisk, end: &str) -> Vec<String> {
    let mut files = segment_files(disk);
    files.retain(|name| name.ends_with(end));
    files
}

fn go_on(disk: &FaultDisk) {
    let log = Log::open("log").open_in(disk.storage()).unwrap();
    log.append_durable("goes on").unwrap();
    log.close().unwrap();
}

#[test]
fn what_comes_behind_a_damaged_end_is_not_lost_with_it() {
    for change in [0, b'X'] {
        for lost in [Lost::Zeros, Lost::Anything] {
            let disk = log_where(lost, 3);
            let damaged = files_of(&disk, ".log").pop().unwrap();
            disk.damage(&damaged, |text| *text.last_mut().unwrap() = change);
            go_on(&disk);
            let after = files_of(&disk, ".log").pop().unwrap();
            assert_eq!(disk.read(&after).unwrap(), b"goes on\n");
            let report = verify_in(&disk.storage(), |_| ()).unwrap();
            let kinds = report.problems.iter();
            assert!(report.problems.iter().all(|it| it.file == damaged));
            assert!(
                kinds
                    .map(|it| it.kind)
                    .all(|kind| kind == ProblemKind::CorruptText)
            );
            let mut reader = Reader::open_in(disk.storage()).unwrap();
            let mut lines = Vec::new();
            let mut holes = 0;
            loop {
                match reader.next_chunk() {
                    Ok(Some(chunk)) => lines.extend_from_slice(chunk),
                    Ok(None) => break,
                    Err(_) => holes += 1,
                }
            }
            assert!(lines.ends_with(b"record number 0001\ngoes on\n"));
            assert_eq!(holes, 1);
            let events = String::from_utf8(disk.read("events.jsonl").unwrap()).unwrap();
            assert!(events.contains("text damaged"), "{events}");
        }
    }
}

#[test]
fn only_what_is_short_is_accused() {
    let disk = log(24);
    let [first, ..] = &files_of(&disk, ".log")[..] else {
        panic!("no segments");
    };
    disk.damage(first, |text| text.truncate(text.len() - 30));
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    assert!(!report.problems.is_empty());
    assert!(
        report.problems.iter().all(|it| it.file == *first),
        "{report:?}"
    );
}

#[test]
fn what_the_disk_cannot_read_is_named_and_all_else_checked() {
    let disk = FaultDisk::default();
    let log = Log::open("log").open_in(disk.storage()).unwrap();
    for _ in 0..10 {
        log.append_lines("a line of text\n".repeat(4096)).unwrap();
    }
    log.close().unwrap();
    let [text] = &files_of(&disk, ".log")[..] else {
        panic!("more than one segment");
    };
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    let whole = report.lines;
    disk.spoil(text, 210_000);
    disk.damage(text, |text| text[400_000] ^= 1);
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    let [unreadable, changed] = &report.problems[..] else {
        panic!("{report:?}");
    };
    assert_eq!(unreadable.kind, ProblemKind::Unreadable);
    let holds =
        |problem: &Problem, at| (problem.offset..problem.offset + problem.len).contains(&at);
    assert!(holds(unreadable, 210_000) && unreadable.lines.is_some());
    assert_eq!(changed.kind, ProblemKind::CorruptText);
    assert!(holds(changed, 400_000));
    assert!(report.lines > whole - 6_000, "{report:?}");
    assert_eq!(report.verdict(), Verdict::Corrupt);
    // The rest of a block and of a sidecar, too.
    let sidecar = text.replace(".log", ".idx");
    disk.spoil(&sidecar, 0);
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    assert!(report.problems.iter().any(|it| it.file == sidecar));
    assert!(
        report
            .problems
            .iter()
            .any(|it| it.kind == ProblemKind::Unreadable)
    );
}

#[test]
fn a_dry_run_makes_no_files() {
    let disk = log(24);
    disk.storage().remove("META").unwrap();
    let names = disk.names();
    assert_eq!(repair_in(&disk.storage(), &DRY_RUN, |_| ()).unwrap(), []);
    assert_eq!(disk.names(), names);
}

#[test]
fn a_lost_last_segment_is_missed_and_its_place_stays_free() {
    // With its sidecar, and without.
    for is_whole in [false, true] {
        let disk = log(24);
        let last = files_of(&disk, ".log").pop().unwrap();
        let sidecar = files_of(&disk, ".idx").pop().unwrap();
        disk.storage().remove(&last).unwrap();
        if is_whole {
            disk.storage().remove(&sidecar).unwrap();
        }
        let report = verify_in(&disk.storage(), |_| ()).unwrap();
        assert_eq!(report.verdict(), Verdict::Missing, "{report:?}");
        assert!(report.problems.iter().any(|problem| problem.file == last));
        go_on(&disk);
        assert!(text(&disk).ends_with(b"goes on\n"));
        let events = disk.read("events.jsonl").unwrap();
        let events = String::from_utf8(events).unwrap();
        assert!(events.contains("segment missing"), "{events}");
        if !is_whole {
            assert!(disk.read(&sidecar).is_some());
            assert_eq!(verdict(&disk), Verdict::Missing);
            // What is new has not the place of what is lost.
            assert!(files_of(&disk, ".log").pop().unwrap()[..20] > last[..20]);
        }
    }
}

#[test]
fn damage_in_text_and_sidecar_together_is_not_written_over() {
    let whole = log(24);
    let text = files_of(&whole, ".log").pop().unwrap();
    let sidecar = files_of(&whole, ".idx").pop().unwrap();
    let len = whole.read(&sidecar).unwrap().len();
    assert!(len >= 192, "{len}");
    for byte in 0..len {
        for change in [b'X', 0] {
            let disk = whole.after_kill();
            disk.damage(&sidecar, |content| content[byte] ^= 0x10);
            disk.damage(&text, |content| content[3] = change);
            let damaged = disk.read(&text).unwrap();
            go_on(&disk);
            let quarantined = disk
                .names()
                .into_iter()
                .filter(|name| name.ends_with(".torn"));
            let kept = std::iter::once(text.clone()).chain(quarantined);
            let kept: Vec<u8> = kept.flat_map(|file| disk.read(&file).unwrap()).collect();
            assert!(kept.starts_with(&damaged), "{byte}, {change}");
            assert!(verdict(&disk) >= Verdict::Corrupt, "{byte}, {change}");
            let _actions = repair_in(&disk.storage(), &RepairOptions::default(), |_| ()).unwrap();
            assert!(verdict(&disk) >= Verdict::Corrupt, "{byte}, {change}");
        }
    }
}

#[test]
fn a_lost_sidecar_is_not_made_anew_unasked() {
    let disk = log(24);
    let text = files_of(&disk, ".log").pop().unwrap();
    let sidecar = files_of(&disk, ".idx").pop().unwrap();
    disk.storage().remove(&sidecar).unwrap();
    disk.damage(&text, |content| content.truncate(content.len() - 5));
    go_on(&disk);
    assert_eq!(verdict(&disk), Verdict::Corrupt);
    let actions = repair_in(&disk.storage(), &REINDEX, |_| ()).unwrap();
    let anew = |action: &withal_log::RepairAction| action.kind == RepairKind::Reindexed;
    assert!(actions.iter().any(anew), "{actions:?}");
    assert_eq!(verdict(&disk), Verdict::Clean);
}

/// Several blocks of lines.
fn many_lines() -> String {
    let number = |number| format!("record number {number:06}\n");
    (0..20_000).map(number).collect()
}

#[test]
fn a_repair_of_lost_text_keeps_the_checksums_of_what_is_there() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.open_in(disk.storage()).unwrap();
    let lines = many_lines();
    for half in lines.as_bytes().chunks(lines.len() / 4) {
        log.append_lines(half).unwrap();
    }
    log.close().unwrap();
    let file = files_of(&disk, ".log").pop().unwrap();
    disk.damage(&file, |content| {
        content[100] ^= 1;
        content.truncate(content.len() - 50_005);
    });
    let actions = repaired_as_foreseen(&disk);
    let missing = RepairKind::Shortened { missing: 50_005 };
    assert_eq!(actions[0].kind, missing, "{actions:?}");
    let events = String::from_utf8(disk.read("events.jsonl").unwrap()).unwrap();
    assert!(events.contains("\"missing\":50005"), "{events}");
    assert_eq!(verdict(&disk), Verdict::Corrupt);
    disk.damage(&file, |content| content[100] ^= 1);
    assert_eq!(verdict(&disk), Verdict::Clean);
}

#[test]
fn what_is_behind_a_seal_is_found_in_any_segment() {
    let disk = log(24);
    let first = files_of(&disk, ".log").remove(0);
    disk.damage(&first, |content| {
        content.extend_from_slice(b"forged line\n")
    });
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    assert_eq!(report.verdict(), Verdict::Corrupt, "{report:?}");
    assert_eq!(report.problems[0].file, first);
    assert_eq!(report.problems[0].len, 12);
}

#[test]
fn what_identifies_the_log_is_checked_and_made_anew() {
    let whole = log(24);
    let meta = whole.read("META").unwrap();
    let id = meta.iter().rposition(u8::is_ascii_hexdigit).unwrap();
    let other = if meta[id] == b'0' { b'1' } else { b'0' };
    for change in [other, b'x'] {
        let disk = whole.after_kill();
        disk.damage("META", |content| content[id] = change);
        let report = verify_in(&disk.storage(), |_| ()).unwrap();
        assert_eq!(report.problems[0].kind, ProblemKind::CorruptIdentity);
        assert_eq!(report.problems[0].file, "META");
        let refused = Log::open("log").open_in(disk.storage()).unwrap_err();
        assert_eq!(refused.kind(), LogErrorKind::Corrupt);
        let actions = repair_in(&disk.storage(), &RepairOptions::default(), |_| ()).unwrap();
        assert_eq!(actions[0].kind, RepairKind::Identified);
        assert_eq!(disk.read("META").unwrap(), meta);
        go_on(&disk);
        assert_eq!(verdict(&disk), Verdict::Clean);
    }
}

#[test]
fn a_sidecar_that_was_made_anew_has_blocks_of_whole_lines() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.open_in(disk.storage()).unwrap();
    let lines = many_lines();
    log.append_lines(&lines).unwrap();
    log.close().unwrap();
    let sidecar = files_of(&disk, ".idx").pop().unwrap();
    disk.damage(&sidecar, |content| content[70] ^= 1);
    let _actions = repair_in(&disk.storage(), &REINDEX, |_| ()).unwrap();
    let (text, sidecar) = (
        disk.read(&files_of(&disk, ".log")[0]).unwrap(),
        disk.read(&sidecar).unwrap(),
    );
    let ends = sidecar[64..].chunks(64).map(|entry| {
        let end: [u8; 8] = entry[..8].try_into().unwrap();
        u64::from_le_bytes(end) as usize
    });
    let ends: Vec<usize> = ends.collect();
    assert!(ends.len() > 5, "{ends:?}");
    for end in ends {
        assert_eq!(text[end - 1], b'\n', "{end}");
    }
    assert_eq!(verdict(&disk), Verdict::Clean);
}

#[test]
fn a_bad_sector_keeps_nobody_from_opening_and_checking_a_log() {
    let lines = "a line of text\n".repeat(2_000);
    for (file, at_end) in [(".log", false), (".log", true), ("META", false)] {
        let disk = FaultDisk::default();
        let log = Log::open("log").open_in(disk.storage()).unwrap();
        log.append_lines(&lines).unwrap();
        log.close().unwrap();
        let mut names = disk.names().into_iter();
        let name = names.find(|it| it.ends_with(file)).unwrap();
        let len = disk.read(&name).unwrap().len();
        disk.spoil(&name, if at_end { len - 1 } else { 0 });
        let report = verify_in(&disk.storage(), |_| ()).unwrap();
        assert!(report.problems.iter().any(|it| it.file == name));
        let _ = repair_in(&disk.storage(), &RepairOptions::default(), |_| ()).unwrap();
        go_on(&disk);
        let last = files_of(&disk, ".log").pop().unwrap();
        assert!(disk.read(&last).unwrap().ends_with(b"goes on\n"));
    }
}

#[test]
fn what_cannot_be_read_of_a_killed_or_compressed_log_is_named() {
    for lost in [Lost::Zeros, Lost::Anything] {
        let disk = FaultDisk::leaving(lost);
        let log = Log::open("log").durability(Durability::Always);
        let log = log.open_in(disk.storage()).unwrap();
        for _ in 0..20 {
            log.append("x".repeat(1_000)).unwrap();
        }
        let disk = disk.after_kill();
        let [text] = &files_of(&disk, ".log")[..] else {
            panic!("more than one segment");
        };
        disk.spoil(text, 15_000);
        let report = verify_in(&disk.storage(), |_| ()).unwrap();
        let found = report.problems.iter().map(|it| (it.kind, &it.file));
        assert!(
            found
                .clone()
                .any(|it| it == (ProblemKind::Unreadable, text))
        );
    }
    for at_end in [false, true] {
        let disk = FaultDisk::default();
        let log = Log::open("log").compress(1).rotate_size(20_000);
        let log = log.open_in(disk.storage()).unwrap();
        for _ in 0..3 {
            log.append_lines("a line of text\n".repeat(2_000)).unwrap();
        }
        log.close().unwrap();
        let mut names = disk.names().into_iter();
        let name = names.find(|it| it.ends_with(".zst")).unwrap();
        let len = disk.read(&name).unwrap().len();
        disk.spoil(&name, if at_end { len - 1 } else { 0 });
        let report = verify_in(&disk.storage(), |_| ()).unwrap();
        assert!(
            report.problems.iter().all(|it| it.file == name),
            "{report:?}"
        );
        assert_eq!(report.verdict(), Verdict::Corrupt);
    }
}
