//! What nobody waits for: refusals that come later, batches, intervals.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use withal_log::{Durability, Log, LogErrorKind, LogOptions, OnFull, Reader, Ticket};

use crate::crash::read;
use crate::disk::{Dice, FaultDisk};

/// Too much for what was set aside already.
fn large() -> String {
    "x".repeat(100_000)
}

/// One whose syncs come when they are asked for.
fn unhurried() -> LogOptions {
    Log::open("log").durability(Durability::Interval(Duration::MAX))
}

#[test]
fn a_sync_after_a_refusal_makes_durable_what_is_there() {
    for on_full in [OnFull::Fail, OnFull::Drop] {
        let disk = FaultDisk::default();
        let log = unhurried().on_full(on_full);
        let log = log.open_in(disk.storage()).unwrap();
        log.append("important").unwrap();
        disk.plan_full(0, u64::MAX / 2);
        assert_eq!(log.append(large()).is_ok(), on_full == OnFull::Drop);
        disk.plan_full(0, 0);
        log.sync().unwrap();
        assert_eq!((log.progress().written, log.progress().durable), (1, 1));
        // Whoever appended it has heard.
        log.close().unwrap();
        let left = disk.after_power_loss(&mut Dice(7));
        assert_eq!(read(&left.storage()).unwrap(), b"important\n");
    }
}

#[test]
fn what_was_buffered_and_refused_is_told_once_by_a_call_that_appends_nothing() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Buffered);
    let log = log.on_full(OnFull::Fail).open_in(disk.storage()).unwrap();
    disk.plan_full(0, u64::MAX / 2);
    // It is so much that it is written at once.
    log.append(large()).unwrap();
    assert_eq!(log.append(large()).unwrap_err().earlier(), 1);
    log.append_lines(large() + "\n" + &large()).unwrap();
    disk.plan_full(0, 0);
    let full = log.append("next").unwrap_err();
    assert_eq!((full.kind(), full.earlier()), (LogErrorKind::Full, 2));
    log.append("next").unwrap();
    log.close().unwrap();
    assert_eq!(read(&disk.storage()).unwrap(), b"next\n");
}

#[test]
fn what_nobody_waited_for_is_told_once_by_the_next_sync() {
    let disk = FaultDisk::default();
    let log = unhurried().on_full(OnFull::Fail);
    let log = log.open_in(disk.storage()).unwrap();
    disk.plan_full(0, u64::MAX / 2);
    assert_eq!(log.try_append(large()).unwrap(), Some(1));
    let full = log.sync().unwrap_err();
    assert_eq!((full.kind(), full.earlier()), (LogErrorKind::Full, 1));
    // Another's refusal is its own.
    let full = log.append(large()).unwrap_err();
    assert_eq!((full.kind(), full.earlier()), (LogErrorKind::Full, 0));
    log.sync().unwrap();
    disk.plan_full(0, 0);
    assert_eq!(log.try_append("next").unwrap(), Some(3));
    log.close().unwrap();
    assert_eq!(read(&disk.storage()).unwrap(), b"next\n");
}

#[test]
fn whoever_waits_for_a_line_that_never_comes_hears_that_the_log_is_closed() {
    let disk = FaultDisk::default();
    let log = unhurried().open_in(disk.storage()).unwrap();
    let waiting = log.clone();
    let waits = thread::spawn(move || waiting.wait_durable(2).unwrap_err().kind());
    log.append("first").unwrap();
    let other = log.clone();
    log.close().unwrap();
    assert_eq!(waits.join().unwrap(), LogErrorKind::Closed);
    other.wait_durable(1).unwrap();
    let never = other.wait_durable(2).unwrap_err();
    assert_eq!(never.kind(), LogErrorKind::Closed);
}

#[test]
fn a_batch_that_is_whole_by_its_bytes_waits_no_longer() {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Batch {
        delay: Duration::from_secs(3600),
        bytes: 1024,
    });
    let log = log.open_in(disk.storage()).unwrap();
    for number in 1..=20 {
        assert_eq!(log.try_append("x".repeat(1024)).unwrap(), Some(number));
        log.wait_durable(number).unwrap();
    }
    log.append("x".repeat(1024)).unwrap();
    log.close().unwrap();
}

#[test]
fn a_time_that_never_comes_is_not_waited_for() {
    let batch = Durability::Batch {
        delay: Duration::MAX,
        bytes: usize::MAX,
    };
    for durability in [Durability::Interval(Duration::MAX), batch] {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path()).durability(durability);
        let log = log.open().unwrap();
        let mut reader = Reader::open(folder.path()).unwrap();
        assert!(reader.wait(Duration::MAX).unwrap());
        log.try_append("first").unwrap();
        if durability != batch {
            log.append("second").unwrap();
        }
        log.sync().unwrap();
        assert!(reader.wait(Duration::MAX).unwrap());
        log.close().unwrap();
    }
}

fn polled(ticket: &mut Ticket<'_>) -> Poll<Result<u64, LogErrorKind>> {
    let polled = Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop()));
    polled.map_err(|error| error.kind())
}

/// One that writes when it is asked to, or when `bytes` have come together.
fn batches(bytes: usize) -> LogOptions {
    let delay = Duration::MAX;
    Log::open("log").durability(Durability::Batch { delay, bytes })
}

#[test]
fn each_refusal_is_told_to_who_waits_or_else_to_who_comes_next() {
    let disk = FaultDisk::default();
    let log = batches(250_000).on_full(OnFull::Fail);
    let log = log.open_in(disk.storage()).unwrap();
    disk.plan_full(0, u64::MAX / 2);
    let record = large();
    let mut waited_for = log.append_async(record.as_bytes());
    assert!(polled(&mut waited_for).is_pending());
    // It is not its business.
    log.sync().unwrap();
    log.try_append(large()).unwrap();
    let mut given_up = log.append_async(record.as_bytes());
    assert!(polled(&mut given_up).is_pending());
    drop(given_up);
    let own = log.append_durable(large() + &large()).unwrap_err();
    assert_eq!((own.kind(), own.earlier()), (LogErrorKind::Full, 0));
    assert_eq!(
        polled(&mut waited_for),
        Poll::Ready(Err(LogErrorKind::Full))
    );
    drop(waited_for);
    assert_eq!(log.sync().unwrap_err().earlier(), 2);
    // One that is given up when it is refused already.
    let mut late = log.append_async(record.as_bytes());
    assert!(polled(&mut late).is_pending());
    log.sync().unwrap();
    drop(late);
    assert_eq!(log.sync().unwrap_err().earlier(), 1);
    disk.plan_full(0, 0);
    log.close().unwrap();
}

#[test]
fn what_a_stopped_log_has_lost_is_counted_once() {
    let disk = FaultDisk::default();
    let log = batches(usize::MAX).open_in(disk.storage()).unwrap();
    for _ in 0..10 {
        log.try_append("one of ten").unwrap();
    }
    disk.plan_broken();
    let stopped = log.sync().unwrap_err();
    assert_eq!(
        (stopped.kind(), stopped.earlier()),
        (LogErrorKind::Stopped, 10)
    );
    let refused = log.try_append("one more").unwrap_err();
    assert_eq!(
        (refused.kind(), refused.earlier()),
        (LogErrorKind::Stopped, 0)
    );
    assert_eq!(log.close().unwrap_err().earlier(), 0);
}

#[test]
fn an_old_refusal_is_no_acknowledgement() {
    let disk = FaultDisk::default();
    let log = batches(usize::MAX).on_full(OnFull::Fail);
    let log = log.open_in(disk.storage()).unwrap();
    disk.plan_full(0, u64::MAX / 2);
    let record = large();
    let mut late = log.append_async(record.as_bytes());
    assert!(polled(&mut late).is_pending());
    log.sync().unwrap();
    for _ in 0..1_100 {
        disk.plan_full(0, 0);
        log.try_append("in between").unwrap();
        log.sync().unwrap();
        disk.plan_full(0, u64::MAX / 2);
        log.try_append(large()).unwrap();
        assert_eq!(log.sync().unwrap_err().earlier(), 1);
    }
    assert_eq!(polled(&mut late), Poll::Ready(Err(LogErrorKind::Full)));
    disk.plan_full(0, 0);
    log.close().unwrap();
}
