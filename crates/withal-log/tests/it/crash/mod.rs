//! Whatever happens to the machine, what was acknowledged is there, whole and in order, and
//! nothing else is.

mod sessions;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use withal_log::storage::Storage;
use withal_log::{
    CommitRing, Durability, Log, LogError, LogErrorKind, LogOptions, OnFull, Reader, Verdict,
    verify_in,
};

use crate::disk::{Dice, Fault, FaultDisk, Lost};

static NOW: AtomicU64 = AtomicU64::new(1_763_680_800_000);

/// So that checkpoints come often.
fn fast_clock() -> u64 {
    NOW.fetch_add(700, Ordering::Relaxed)
}

/// So that they come between records.
fn clock() -> u64 {
    NOW.fetch_add(100, Ordering::Relaxed)
}

fn options(mode: Durability, rotate: u64) -> LogOptions {
    Log::open("log")
        .durability(mode)
        .rotate_size(rotate)
        .commit_ring(CommitRing::Always)
        .ring_size(RING)
        .clock(match mode {
            Durability::Always => clock,
            _ => fast_clock,
        })
}

/// Room for five small records, or one large one.
const RING: u64 = 5 * 4096;

/// What a reader gives before the next writer has come: all but what is in the commit ring only, and
/// that it is told of.
fn read_before(storage: &Arc<dyn Storage>) -> Vec<u8> {
    let (text, told) = read_around_holes(storage);
    for error in told {
        assert_eq!(error.kind(), LogErrorKind::Corrupt, "{error}");
        assert!(error.to_string().starts_with("`ring` has "), "{error}");
    }
    text
}

/// All that can be read, and what the reader is told beside it.
pub(crate) fn read_around_holes(storage: &Arc<dyn Storage>) -> (Vec<u8>, Vec<LogError>) {
    let mut reader = Reader::open_in(Arc::clone(storage)).unwrap();
    let (mut text, mut told) = (Vec::new(), Vec::new());
    loop {
        match reader.next_chunk() {
            Ok(Some(chunk)) => text.extend_from_slice(chunk),
            Ok(None) => return (text, told),
            Err(error) => told.push(error),
        }
        assert!(told.len() < 100, "{told:?}");
    }
}

pub(crate) fn read(storage: &Arc<dyn Storage>) -> Result<Vec<u8>, LogError> {
    let mut reader = Reader::open_in(Arc::clone(storage))?;
    let mut text = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        text.extend_from_slice(chunk);
    }
    Ok(text)
}

/// What a run was asked to write, and how much of it was acknowledged.
#[derive(Debug, Default)]
struct Run {
    submitted: Vec<u8>,
    written: usize,
    durable: usize,
    /// Whether what is written is durable.
    is_always: bool,
}

/// What to do with a record of this many bytes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Append(usize),
    AppendDurable(usize),
    Sync,
}

/// Does all steps, or those before one fails, and closes.
fn run(disk: &FaultDisk, options: LogOptions, steps: &[Step], run: &mut Run) -> Option<LogError> {
    let log = match options.open_in(disk.storage()) {
        Ok(log) => log,
        Err(error) => return Some(error),
    };
    let failed = append_all(&log, steps, run).err();
    let closed = log.close();
    if failed.is_none() && closed.is_ok() {
        run.durable = run.written;
    }
    failed.or(closed.err())
}

fn append_all(log: &Log, steps: &[Step], run: &mut Run) -> Result<(), LogError> {
    for (number, step) in steps.iter().enumerate() {
        let mut record = |size| {
            let record = format!("{number:05} {}", "x".repeat(size));
            run.submitted.extend_from_slice(record.as_bytes());
            run.submitted.push(b'\n');
            record
        };
        let is_durable = match *step {
            Step::Append(size) => log.append(record(size)).map(|_| false)?,
            Step::AppendDurable(size) => log.append_durable(record(size)).map(|_| true)?,
            Step::Sync => log.sync().map(|()| true)?,
        };
        run.written = run.submitted.len();
        if is_durable || run.is_always {
            run.durable = run.written;
        }
    }
    Ok(())
}

/// What a crash has left, and how much of it has to be there.
struct Left {
    disk: FaultDisk,
    dice: Dice,
    acknowledged: usize,
}

impl Left {
    fn by_kill(disk: &FaultDisk, run: &Run, seed: u64) -> Left {
        Left {
            disk: disk.after_kill(),
            dice: Dice(seed),
            acknowledged: run.written,
        }
    }

    /// By a kill, or by a power loss.
    fn by(killed: bool, disk: &FaultDisk, run: &Run, seed: u64) -> Left {
        match killed {
            true => Left::by_kill(disk, run, seed),
            false => Left::by_power_loss(disk, run, seed),
        }
    }

    fn by_power_loss(disk: &FaultDisk, run: &Run, seed: u64) -> Left {
        let mut dice = Dice(seed);
        let disk = disk.after_power_loss(&mut dice);
        Left {
            disk,
            dice,
            acknowledged: run.durable,
        }
    }
}

/// A crash is no damage, and in a strict log nobody takes it for that. Where zeros are left a sector
/// is all of it or zeros, and these disks tear finer.
fn is_torn_at_most(disk: &FaultDisk) {
    let report = verify_in(&disk.storage(), |_| ()).unwrap();
    let problems = &report.problems;
    assert!(
        !disk.is_strict() || report.verdict() <= Verdict::TornTail,
        "{problems:?}"
    );
}

/// Recovers, perhaps crashing on the way, and checks what there is.
fn check(left: Left, run: &Run, again: Option<u64>) {
    let Left {
        mut disk,
        mut dice,
        mut acknowledged,
    } = left;
    if let Some(at) = again {
        disk.plan(at, Fault::Crash);
        let opened = options(Durability::Always, 300).open_in(disk.storage());
        disk = match dice.roll(2) {
            0 => disk.after_kill(),
            _ => {
                acknowledged = run.durable;
                disk.after_power_loss(&mut dice)
            }
        };
        drop(opened);
        is_torn_at_most(&disk);
    }
    // Nor does a reader that comes before the next writer give anything else.
    let before = read_before(&disk.storage());
    assert!(
        run.submitted.starts_with(&before),
        "not a prefix before recovery: {:?}",
        String::from_utf8_lossy(&before)
    );
    let log = options(Durability::Always, 300)
        .open_in(disk.storage())
        .unwrap_or_else(|error| {
            panic!("{error:?}\n{:#?}", disk.names());
        });
    log.append_durable("goes on").unwrap();
    log.close().unwrap();
    let text = read(&disk.storage()).unwrap();
    let text = text.strip_suffix(b"goes on\n").expect("the log goes on");
    assert!(text.len() >= acknowledged, "lost acknowledged records");
    assert!(
        run.submitted.starts_with(text),
        "not a prefix: {:?}",
        String::from_utf8_lossy(text)
    );
    assert!(text.is_empty() || text.ends_with(b"\n"));

    // A second opening finds nothing to do.
    let log = options(Durability::Always, 300)
        .open_in(disk.storage())
        .unwrap();
    assert_eq!(log.recovery(), None);
    log.close().unwrap();
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = || prop_oneof![8 => 0_usize..60, 1 => 60_000_usize..70_000];
    let step = prop_oneof![
        4 => size().prop_map(Step::Append),
        2 => size().prop_map(Step::AppendDurable),
        1 => Just(Step::Sync),
    ];
    proptest::collection::vec(step, 1..16)
}

/// From how many bytes on a sync begins beside the writing.
fn beside() -> impl Strategy<Value = u64> {
    prop_oneof![Just(1), Just(100), Just(u64::MAX)]
}

/// What the disk leaves of what is lost: the log is strict where that may be anything.
fn lost() -> impl Strategy<Value = Lost> {
    prop_oneof![Just(Lost::Zeros), Just(Lost::Anything)]
}

fn rotate() -> impl Strategy<Value = u64> {
    prop_oneof![Just(200), Just(1 << 20)]
}

/// Acknowledged once written; synced only when asked.
const WRITTEN: Durability = Durability::Interval(Duration::from_secs(3600));

/// Acknowledged once written, or durable by way of the commit ring.
fn mode() -> impl Strategy<Value = Durability> {
    prop_oneof![Just(WRITTEN), Just(Durability::Always)]
}

fn begun(mode: Durability) -> Run {
    Run {
        is_always: mode == Durability::Always,
        ..Run::default()
    }
}

/// As many cases as `PROPTEST_CASES` says, and enough if it does not.
fn config() -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(2_000),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn acknowledged_records_survive_a_crash_at_any_operation(
        mode in mode(),
        lost in lost(),
        steps in steps(),
        rotate in rotate(),
        beside in beside(),
        at in 0_u64..80,
        seed in 1_u64..,
        killed: bool,
        compress: bool,
        again in proptest::option::of(0_u64..12),
    ) {
        let disk = FaultDisk::leaving(lost);
        disk.plan(at, Fault::Crash);
        let mut done = begun(mode);
        let options = options(mode, rotate).sync_beside(beside);
        let options = if compress { options.compress(1) } else { options };
        let _ = run(&disk, options, &steps, &mut done);
        let left = Left::by(killed, &disk, &done, seed);
        is_torn_at_most(&left.disk);
        let storage = left.disk.storage();
        check(left, &done, again);
        // A torn hash waits for the next compression.
        if disk.is_strict() && again.is_none() && !compress {
            prop_assert_eq!(verify_in(&storage, |_| ()).unwrap().problems, []);
        }
    }

    #[test]
    fn blocks_that_came_to_the_disk_in_part_are_cut(
        mode in mode(),
        lost in lost(),
        sizes in proptest::collection::vec(10_000_usize..70_000, 1..6),
        beside in beside(),
        seed in 1_u64..,
        again in proptest::option::of(0_u64..12),
    ) {
        let disk = FaultDisk::leaving(lost);
        let steps: Vec<_> = sizes.into_iter().map(Step::Append).collect();
        let mut done = begun(mode);
        let options = options(mode, 1 << 30).sync_beside(beside);
        let log = options.open_in(disk.storage()).unwrap();
        append_all(&log, &steps, &mut done).unwrap();
        check(Left::by_power_loss(&disk, &done, seed), &done, again);
        let _ = log.close();
    }

    #[test]
    fn one_failed_write_or_sync_loses_nothing(
        mode in mode(),
        lost in lost(),
        steps in steps(),
        rotate in rotate(),
        beside in beside(),
        at in 0_u64..80,
        half: bool,
        seed in 1_u64..,
    ) {
        let disk = FaultDisk::leaving(lost);
        let kind = std::io::ErrorKind::Other;
        disk.plan(at, if half { Fault::Half(kind) } else { Fault::Fails(kind) });
        let mut done = begun(mode);
        let _ = run(&disk, options(mode, rotate).sync_beside(beside), &steps, &mut done);
        check(Left::by_power_loss(&disk, &done, seed), &done, None);
    }

    #[test]
    fn what_retention_removes_is_gone_or_back_as_it_was(
        mode in mode(),
        lost in lost(),
        steps in steps(),
        beside in beside(),
        at in 0_u64..120,
        seed in 1_u64..,
        killed: bool,
    ) {
        let disk = FaultDisk::leaving(lost);
        disk.plan(at, Fault::Crash);
        let mut done = begun(mode);
        let keeping = options(mode, 100).sync_beside(beside).keep_size(1);
        let _ = run(&disk, keeping, &steps, &mut done);
        let left = Left::by(killed, &disk, &done, seed);
        is_torn_at_most(&left.disk);
        let report = verify_in(&left.disk.storage(), |_| ()).unwrap();
        prop_assert!(!killed || report.verdict() <= Verdict::TornTail, "{:?}", report.problems);
        let log = options(mode, 100).open_in(left.disk.storage()).unwrap();
        log.close().unwrap();
        let text = read(&left.disk.storage()).unwrap();
        // Each record has its number, so it is known where the first one stood.
        let start = done.submitted.windows(6).position(|number| text.starts_with(number));
        let end = start.unwrap_or_default() + text.len();
        prop_assert!(start.is_some() || text.is_empty());
        prop_assert!(done.submitted[..end].ends_with(&text), "{}", String::from_utf8_lossy(&text));
        prop_assert!(end >= left.acknowledged || text.is_empty());
    }

    #[test]
    fn short_writes_are_no_matter(mode in mode(), lost in lost(), steps in steps(), rotate in rotate(), at in 0_u64..60) {
        let disk = FaultDisk::leaving(lost);
        disk.plan(at, Fault::Short);
        let mut done = begun(mode);
        let failed = run(&disk, options(mode, rotate), &steps, &mut done);
        prop_assert!(failed.is_none(), "{failed:?}");
        prop_assert_eq!(read(&disk.storage()).unwrap(), done.submitted);
    }

    #[test]
    fn a_full_disk_refuses_whole_records_and_goes_on(
        mode in mode(),
        lost in lost(),
        sizes in proptest::collection::vec(0_usize..60, 1..16),
        from in 0_u64..40,
        lasts in proptest::option::of(1_u64..20),
        rotate in rotate(),
    ) {
        let disk = FaultDisk::leaving(lost);
        let options = options(mode, rotate).on_full(OnFull::Fail);
        let log = options.open_in(disk.storage()).unwrap();
        match lasts {
            Some(lasts) => disk.plan_full(from, from + lasts),
            None => disk.plan(from, Fault::Half(std::io::ErrorKind::StorageFull)),
        }
        let mut kept = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            let record = format!("{number:05} {}", "x".repeat(*size));
            if log.append_durable(&record).is_ok() {
                kept.extend_from_slice(record.as_bytes());
                kept.push(b'\n');
            }
            // Time passes.
            for _ in 0..3 {
                let _ = disk.storage().remove("nothing");
            }
        }
        let _ = log.close();
        let left = disk.after_power_loss(&mut Dice(7));
        prop_assert_eq!(read(&left.storage()).unwrap(), kept);
    }
}
