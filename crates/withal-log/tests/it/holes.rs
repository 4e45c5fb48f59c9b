//! Reading on behind what is missing or damaged.

use std::time::Duration;

use proptest::prelude::*;
use withal_log::{
    Durability, Log, LogError, LogErrorKind, LogOptions, Reader, ReverseReader, TailRule,
};

use crate::disk::FaultDisk;

/// Gives the disk of a closed log, and the lines in it.
fn log(options: LogOptions, count: usize) -> (FaultDisk, Vec<String>) {
    let disk = FaultDisk::default();
    let log = options.open_in(disk.storage()).unwrap();
    let lines: Vec<String> = (0..count)
        .map(|number| format!("the line with the number {number:06}\n"))
        .collect();
    log.append_lines(lines.concat()).unwrap();
    log.close().unwrap();
    (disk, lines)
}

fn options() -> LogOptions {
    Log::open("log")
        .durability(Durability::Always)
        .rotate_size(400)
}

fn names(disk: &FaultDisk, end: &str) -> Vec<String> {
    let names = disk.names().into_iter();
    names.filter(|name| name.ends_with(end)).collect()
}

/// Removes a segment with its sidecar.
fn lose(disk: &FaultDisk, text: &str) {
    disk.storage().remove(text).unwrap();
    let sidecar = text.replace(".log", ".idx");
    disk.storage().remove(&sidecar).unwrap();
}

/// What could be read, with a hole where there is one.
#[derive(Debug, PartialEq)]
enum Found {
    Line(String),
    /// So many bytes.
    Hole(usize),
}

fn hole(error: &LogError) -> Found {
    assert_eq!(error.kind(), LogErrorKind::Corrupt, "{error:?}");
    let text = error.to_string();
    let count = text.strip_suffix(" bytes are missing").unwrap();
    Found::Hole(count.rsplit_once(' ').unwrap().1.parse().unwrap())
}

fn forwards(mut reader: Reader) -> Vec<Found> {
    let mut found = Vec::new();
    loop {
        match reader.next_chunk() {
            Ok(Some(chunk)) => {
                let lines = std::str::from_utf8(chunk).unwrap().split_inclusive('\n');
                found.extend(lines.map(|line| Found::Line(line.to_owned())));
            }
            Ok(None) => break,
            Err(error) => found.push(hole(&error)),
        }
    }
    assert_eq!(reader.removed(), 0);
    assert_eq!(reader.next_chunk().unwrap(), None);
    found
}

fn backwards(mut reader: ReverseReader) -> Vec<Found> {
    let mut found = Vec::new();
    loop {
        match reader.next_line() {
            Ok(Some(line)) => found.push(Found::Line(String::from_utf8(line).unwrap())),
            Ok(None) => break,
            Err(error) => found.push(hole(&error)),
        }
    }
    assert_eq!(reader.next_line().unwrap(), None);
    found.reverse();
    found
}

/// All of it, in both directions.
fn read(disk: &FaultDisk) -> Vec<Found> {
    let found = forwards(Reader::open_in(disk.storage()).unwrap());
    let reversed = backwards(ReverseReader::open_in(disk.storage()).unwrap());
    assert_eq!(found, reversed);
    found
}

/// Makes sure that what was found are whole lines as they were written, but for the holes, whose
/// sizes are right; gives the holes.
fn check(found: &[Found], lines: &[String]) -> Vec<usize> {
    let mut lines = lines.iter();
    let mut holes = Vec::new();
    for found in found {
        match found {
            Found::Line(line) => assert_eq!(Some(line), lines.next()),
            Found::Hole(bytes) => {
                let mut left = *bytes;
                while left > 0 {
                    left = left.checked_sub(lines.next().unwrap().len()).unwrap();
                }
                holes.push(*bytes);
            }
        }
    }
    assert_eq!(lines.next(), None);
    holes
}

#[test]
fn a_missing_segment_is_one_hole_and_all_else_is_read() {
    let (disk, lines) = log(options(), 100);
    let texts = names(&disk, ".log");
    let listed = Reader::open_in(disk.storage()).unwrap();
    let listed_backwards = ReverseReader::open_in(disk.storage()).unwrap();
    let len = disk.read(&texts[3]).unwrap().len();
    lose(&disk, &texts[3]);
    for found in [forwards(listed), backwards(listed_backwards), read(&disk)] {
        assert_eq!(check(&found, &lines), [len]);
    }
}

#[test]
fn a_last_segment_that_is_missing_is_told_of() {
    let (disk, lines) = log(options(), 100);
    let last = names(&disk, ".log").pop().unwrap();
    let len = disk.read(&last).unwrap().len();
    disk.storage().remove(&last).unwrap();
    // Its sidecar says how much it was.
    assert_eq!(check(&read(&disk), &lines), [len]);
    for sidecar in names(&disk, ".idx") {
        let text = sidecar.replace(".idx", ".log");
        if disk.read(&text).is_none() {
            disk.storage().remove(&sidecar).unwrap();
        }
    }
    // That it was there, `current` says.
    let missing = |error: LogError| {
        assert_eq!(error.kind(), LogErrorKind::Corrupt);
        assert!(error.to_string().contains(&last), "{error}");
    };
    let mut reader = Reader::open_in(disk.storage()).unwrap().skip_to_last(1);
    let reader = reader.as_mut().unwrap();
    assert!(reader.next_chunk().unwrap().is_some());
    missing(reader.next_chunk().unwrap_err());
    assert_eq!(reader.next_chunk().unwrap(), None);
    let mut reader = ReverseReader::open_in(disk.storage()).unwrap();
    missing(reader.next_line().unwrap_err());
    assert!(reader.next_line().unwrap().is_some());
    // And where nothing else is left.
    for text in names(&disk, ".log") {
        lose(&disk, &text);
    }
    let mut reader = Reader::open_in(disk.storage()).unwrap();
    missing(reader.next_chunk().unwrap_err());
    assert_eq!(reader.next_chunk().unwrap(), None);
}

#[test]
fn what_comes_behind_a_segment_that_vanished_is_followed() {
    let (disk, lines) = log(options(), 23);
    let texts = names(&disk, ".log");
    assert_eq!(texts.len(), 2);
    let mut reader = Reader::open_in(disk.storage()).unwrap();
    let first = reader.next_chunk().unwrap().unwrap().to_vec();
    assert_eq!(first, lines[..13].concat().as_bytes());
    // It was listed already, and is not there when its turn comes.
    lose(&disk, &texts[1]);
    assert_eq!(
        reader.next_chunk().unwrap_err().kind(),
        LogErrorKind::Corrupt
    );
    assert_eq!(reader.next_chunk().unwrap(), None);
    let next = format!("{:020}-29991231T000000Z.log", lines.concat().len());
    let text = disk.storage().create(&next).unwrap();
    text.append(b"later\n").unwrap();
    assert_eq!(reader.next_chunk().unwrap(), Some(&b"later\n"[..]));
    assert_eq!(reader.removed(), 0);
}

#[test]
fn zeros_take_only_the_lines_they_are_in_and_the_one_that_cannot_be_told_from_them() {
    let (disk, lines) = log(options(), 100);
    let texts = names(&disk, ".log");
    // The end of the third line, and the beginning of the fourth.
    disk.damage(&texts[2], |text| text[80..110].fill(0));
    // All of a segment.
    disk.damage(&texts[4], |text| text.fill(0));
    let len = disk.read(&texts[4]).unwrap().len();
    let found = read(&disk);
    assert_eq!(check(&found, &lines), [2 * lines[0].len(), len]);
}

#[test]
fn a_text_that_is_cut_is_a_hole_up_to_the_next_segment() {
    let (disk, lines) = log(options(), 100);
    let texts = names(&disk, ".log");
    let len = disk.read(&texts[1]).unwrap().len();
    disk.damage(&texts[1], |text| text.truncate(40));
    let found = read(&disk);
    assert_eq!(check(&found, &lines), [len - lines[0].len()]);
}

#[test]
fn what_was_durable_is_missed_at_the_end_and_what_a_crash_has_torn_is_not() {
    let (whole, lines) = log(options(), 20);
    let last = names(&whole, ".log").pop().unwrap();
    let len = whole.read(&last).unwrap().len();
    let line = lines[0].len();
    for (damaged, missing) in [(40..41, line), (40..len, len - line)] {
        let disk = whole.after_kill();
        disk.damage(&last, |text| text[damaged].fill(0));
        assert_eq!(check(&read(&disk), &lines), [missing]);
    }
    let disk = whole.after_kill();
    disk.damage(&last, |text| text.truncate(40));
    assert_eq!(check(&read(&disk), &lines), [len - line]);

    let disk = whole.after_kill();
    disk.damage(&last, |text| text.extend_from_slice(b"torn\0\0\0"));
    assert_eq!(check(&read(&disk), &lines), [0; 0]);
}

#[test]
fn what_was_not_durable_is_torn_though_the_sidecar_covers_it() {
    let disk = FaultDisk::default();
    let never = Durability::Interval(Duration::from_secs(3600));
    let log = Log::open("log").durability(never);
    let log = log.open_in(disk.storage()).unwrap();
    let line = format!("{}\n", "x".repeat(99));
    log.append_lines(line.repeat(20_000)).unwrap();
    let crashed = disk.after_kill();
    log.close().unwrap();
    let sidecar = crashed.read(&names(&crashed, ".idx")[0]).unwrap();
    assert!(sidecar.len() > 16 * 64, "{}", sidecar.len());
    crashed.damage(&names(&crashed, ".log")[0], |text| text[950..].fill(0));
    let whole = || Found::Line(line.clone());
    assert_eq!(
        read(&crashed),
        std::iter::repeat_with(whole).take(9).collect::<Vec<_>>()
    );
}

#[test]
fn a_damaged_frame_takes_only_its_lines() {
    // Of three frames and more each.
    let options = || Log::open("log").durability(Durability::Always);
    let options = || options().rotate_size(3_500_000).compress(1);
    let (whole, lines) = log(options(), 200_000);
    let file = &names(&whole, ".log.zst")[0];
    let len = whole.read(file).unwrap().len();
    for at in [100, len / 2, len - 1_000] {
        let disk = whole.after_kill();
        disk.damage(file, |bytes| bytes[at] ^= 0x55);
        let holes = check(&read(&disk), &lines);
        let [hole] = holes[..] else {
            panic!("{at}: {holes:?}");
        };
        assert!(hole <= (1 << 20) + 2 * lines[0].len(), "{at}: {hole}");
    }
}

#[test]
fn the_last_records_are_found_behind_before_and_around_a_damaged_frame() {
    let (disk, lines) = log(options().rotate_size(5 << 20).compress(1), 200_000);
    let frames = names(&disk, ".zst").remove(0);
    disk.damage(&frames, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
    });
    let all = read(&disk);
    let at = |found: &Found| matches!(found, Found::Hole(_));
    let behind = all.len() - all.iter().position(at).unwrap() - 1;
    for (count, is_behind) in [
        (10, true),
        (behind, true),
        (behind + 2, false),
        (lines.len(), false),
    ] {
        let reader = Reader::open_in(disk.storage()).unwrap();
        let found = forwards(reader.skip_to_last(count).unwrap());
        assert_eq!(found, all[all.len() - found.len()..]);
        assert_eq!(!found.iter().any(at), is_behind, "{count}");
        // What is not readable is not counted.
        let readable = found.iter().filter(|found| !at(found)).count();
        let most = count.min(all.len() - 1);
        // A line of which the hole has the beginning ends behind it.
        assert!(
            (most - 1..=most).contains(&readable),
            "{readable} of {most}"
        );
    }
}

#[test]
fn records_do_not_go_on_over_a_hole() {
    let disk = FaultDisk::default();
    let log = options().rotate_size(1).open_in(disk.storage()).unwrap();
    log.append("one").unwrap();
    for part in ["begun ", "lost ", "ended"] {
        log.append_part(part).unwrap();
    }
    log.append(" whole").unwrap();
    log.append("last").unwrap();
    log.close().unwrap();
    lose(&disk, &names(&disk, ".log")[2]);
    let mut records = Reader::open_in(disk.storage()).unwrap().records();
    let mut next = || records.next().map(|record| record.map_err(|e| e.kind()));
    let text = |text: &str| Some(Ok(text.as_bytes().to_vec()));
    assert_eq!(next(), text("one"));
    assert_eq!(next(), text("begun "));
    assert_eq!(next(), Some(Err(LogErrorKind::Corrupt)));
    assert_eq!(next(), text("ended whole"));
    assert_eq!(next(), text("last"));
    assert_eq!(next(), None);
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Zeros,
    Cut,
    Lost,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_damaged_each_line_is_read_or_counted(
        damages in prop::collection::vec(
            (
                prop::sample::select(vec![Damage::Zeros, Damage::Cut, Damage::Lost]),
                0_usize..9,
                0_usize..440,
                1_usize..100,
            ),
            1..5,
        ),
    ) {
        let (disk, lines) = log(options(), 100);
        let texts = names(&disk, ".log");
        for (damage, segment, from, len) in damages {
            let text = &texts[segment % texts.len()];
            let is_last = text == texts.last().unwrap();
            let Some(content) = disk.read(text) else { continue };
            let from = from.min(content.len());
            let to = (from + len).min(content.len());
            match damage {
                Damage::Zeros => disk.damage(text, |text| text[from..to].fill(0)),
                Damage::Cut => disk.damage(text, |text| text.truncate(from)),
                // Before the first one retention may have been, and the last one is for `verify`.
                Damage::Lost if *text > texts[0] && !is_last => lose(&disk, text),
                Damage::Lost => {}
            }
        }
        check(&read(&disk), &lines);
    }
}

#[test]
fn a_last_segment_that_is_missing_is_told_of_once_by_any_reader() {
    let ends: [fn(Reader) -> Reader; 2] = [|reader| reader, Reader::durable_only];
    for rule in [TailRule::Text, TailRule::Strict] {
        for end in ends {
            let (disk, _) = log(options().tail_rule(rule), 100);
            let last = names(&disk, ".log").pop().unwrap();
            disk.storage().remove(&last).unwrap();
            let mut reader = end(Reader::open_in(disk.storage()).unwrap());
            let mut holes = 0;
            for goes_on in [false, true] {
                if goes_on {
                    // Behind its place.
                    let log = options().tail_rule(rule).open_in(disk.storage()).unwrap();
                    log.append("goes on").unwrap();
                    log.close().unwrap();
                }
                let mut text = Vec::new();
                loop {
                    match reader.next_chunk() {
                        Ok(Some(chunk)) => text.extend_from_slice(chunk),
                        Ok(None) => break,
                        Err(error) => {
                            let _size = hole(&error);
                            holes += 1;
                        }
                    }
                }
                assert_eq!(text.ends_with(b"goes on\n"), goes_on);
            }
            assert_eq!((holes, reader.removed()), (1, 0), "{rule:?}");
        }
    }
}
