//! What goes in comes out, acknowledged as promised.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use withal_core::with;
use withal_log::{Durability, Log, LogErrorKind, RepairOptions, repair};

pub(crate) const MODES: [Durability; 4] = [
    Durability::Buffered,
    Durability::Interval(Duration::from_secs(1)),
    Durability::Batch {
        delay: Duration::from_millis(5),
        bytes: 1 << 20,
    },
    Durability::Always,
];

/// The text of all segments, in order.
pub(crate) fn text(log: &Path) -> Vec<u8> {
    let mut segments: Vec<PathBuf> = fs::read_dir(log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "log"))
        .collect();
    segments.sort();
    segments
        .iter()
        .flat_map(|path| fs::read(path).unwrap())
        .collect()
}

#[test]
fn records_are_lines_of_the_segment_in_every_mode() {
    for mode in MODES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        with(Log::open(&path).durability(mode), |log| {
            for (number, record) in ["first", "", "dritte Zeile: ü"].iter().enumerate() {
                assert_eq!(log.append(record)?, number as u64 + 1);
            }
            assert_eq!(log.append_durable("last")?, 4);
            assert_eq!(log.progress().durable, 4);
            Ok(())
        })
        .unwrap();
        assert_eq!(text(&path), "first\n\ndritte Zeile: ü\nlast\n".as_bytes());
        let current = fs::read(path.join("current")).unwrap();
        assert_eq!(current, text(&path));
    }
}

#[test]
fn a_torn_record_is_cut_and_kept_in_quarantine() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::open(&path).open().unwrap();
    log.append("whole").unwrap();
    log.close().unwrap();
    let segment = path.join(fs::read_link(path.join("current")).unwrap());
    fs::write(&segment, "whole\ntor").unwrap();

    let log = Log::open(&path).open().unwrap();
    assert_eq!(log.recovery().map(|recovery| recovery.cut), Some(3));
    log.close().unwrap();
    assert_eq!(text(&path), b"whole\n");
    let kept = fs::read_dir(path.join("quarantine")).unwrap();
    let kept: Vec<_> = kept
        .map(|entry| fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert_eq!(kept, [b"tor"]);
}

#[test]
fn what_recovery_and_repair_make_has_the_mode_of_the_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::open(&path).rotate_size(1).open().unwrap();
    log.append("first").unwrap();
    log.append("second").unwrap();
    log.close().unwrap();
    let segment = path.join(fs::read_link(path.join("current")).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let expected = mode(&segment);
    assert_eq!(expected & 0o007, 0, "{expected:o}");
    fs::write(&segment, "second\ntor").unwrap();
    for name in fs::read_dir(&path).unwrap() {
        let file = name.unwrap().path();
        if file.extension().is_some_and(|end| end == "idx") {
            fs::remove_file(file).unwrap();
        }
    }
    let options = RepairOptions {
        reindex: true,
        ..RepairOptions::default()
    };
    repair(&path, &options, |_| ()).unwrap();
    let mut made = 0;
    for folder in [&path, &path.join("quarantine")] {
        for name in fs::read_dir(folder).unwrap() {
            let file = name.unwrap().path();
            let end = file.extension().and_then(|end| end.to_str());
            if matches!(end, Some("idx" | "torn")) {
                assert_eq!(mode(&file), expected, "{}", file.display());
                made += 1;
            }
        }
    }
    // Two made anew, what was cut, and that of the segment in which the log goes on.
    assert_eq!(made, 4);
}

#[test]
fn a_reopened_log_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    for round in 0..5 {
        let log = Log::open(&path).rotate_size(40).open().unwrap();
        assert_eq!(log.recovery(), None);
        for line in 0..3 {
            assert_eq!(
                log.append(format!("round {round} line {line}")).unwrap(),
                round * 3 + line + 1
            );
        }
        log.close().unwrap();
    }
    let expected: String = (0..5)
        .flat_map(|round| (0..3).map(move |line| format!("round {round} line {line}\n")))
        .collect();
    assert_eq!(text(&path), expected.as_bytes());
}

#[test]
fn a_second_writer_is_told_who_has_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = Log::open(&path).open().unwrap();
    let busy = Log::open(&path).open().unwrap_err();
    assert_eq!(busy.kind(), LogErrorKind::Busy);
    log.close().unwrap();
    Log::open(&path).open().unwrap().close().unwrap();
}

#[test]
fn a_closed_log_takes_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).open().unwrap();
    let clone = log.clone();
    log.close().unwrap();
    assert_eq!(
        clone.append("late").unwrap_err().kind(),
        LogErrorKind::Closed
    );
    clone.close().unwrap();
}

#[test]
fn many_writers_keep_their_own_order_and_lose_nothing() {
    for mode in MODES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let log = Log::open(&path)
            .durability(mode)
            .rotate_size(10_000)
            .open()
            .unwrap();
        std::thread::scope(|threads| {
            for writer in 0..8 {
                let log = log.clone();
                threads.spawn(move || {
                    for line in 0..100 {
                        log.append(format!("{writer} {line}")).unwrap();
                    }
                });
            }
        });
        log.close().unwrap();
        let text = String::from_utf8(text(&path)).unwrap();
        assert_eq!(text.lines().count(), 800);
        for writer in 0..8 {
            let prefix = format!("{writer} ");
            let lines: Vec<_> = text
                .lines()
                .filter(|line| line.starts_with(&prefix))
                .collect();
            let expected: Vec<_> = (0..100).map(|line| format!("{writer} {line}")).collect();
            assert_eq!(lines, expected);
        }
    }
}
