//! A notice hook runs in the midst of the log's work, and may call the log: it is refused where it
//! would wait for itself.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::Duration;

use withal_core::{NoticeKind, set_notice_hook};
use withal_log::{Durability, Log, LogError, LogErrorKind, verify};

use crate::child;
use crate::crash::read;
use crate::disk::{Fault, FaultDisk};

/// What the hook does at the next failure that is worked around.
type Call = Box<dyn FnOnce() + Send>;
static CALL: Mutex<Option<Call>> = Mutex::new(None);

fn at_next_failure(call: impl FnOnce() + Send + 'static) {
    *CALL.lock().unwrap() = Some(Box::new(call));
}

#[test]
fn a_log_closed_or_dropped_by_a_notice_hook_waits_for_no_thread_of_its_own() {
    for how in [
        "close-writing",
        "dropped-writing",
        "close-closing",
        "close-keeping",
        "dropped-keeping",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let status = child::command(how, folder.path()).status().unwrap();
        assert!(status.success(), "{how}: {status}");
    }
}

/// In a process of its own: the hook is everybody's.
pub(crate) fn run(how: &str, folder: &Path) {
    set_notice_hook(|notice| {
        let call = match notice.kind {
            // Each has its cause.
            NoticeKind::WorkedAround if notice.to_string().contains("error") => {
                CALL.lock().unwrap().take()
            }
            _ => None,
        };
        if let Some(call) = call {
            call();
        }
    });
    let check: fn(&Path) = match how {
        "close-writing" => close_while_it_writes,
        "dropped-writing" => dropped_while_it_writes,
        "close-closing" => close_while_it_closes,
        "close-keeping" => close_while_it_compresses,
        _ => dropped_while_it_compresses,
    };
    let (done, ended) = channel();
    let folder = folder.to_owned();
    thread::spawn(move || {
        check(&folder);
        done.send(()).unwrap();
    });
    // One that waits for itself does so for ever.
    ended.recv_timeout(Duration::from_secs(20)).unwrap();
}

/// The first operation sets space aside.
const WRITE: u64 = 1;
const FAILS: Fault = Fault::Fails(io::ErrorKind::Other);

fn refused(closed: Result<(), LogError>) {
    assert_eq!(closed.unwrap_err().kind(), LogErrorKind::Nested);
}

fn close_while_it_writes(_: &Path) {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.open_in(disk.storage()).unwrap();
    let (clone, (called, calls)) = (log.clone(), channel());
    at_next_failure(move || {
        assert_eq!(clone.dropped(), 0);
        called.send(clone.close()).unwrap();
    });
    disk.plan(WRITE, FAILS);
    log.append("line").unwrap();
    refused(calls.recv().unwrap());
    log.append("more").unwrap();
    log.close().unwrap();
    assert_eq!(read(&disk.storage()).unwrap(), b"line\nmore\n");
}

fn dropped_while_it_writes(_: &Path) {
    let disk = FaultDisk::default();
    let options = Log::open("log").durability(Durability::Buffered);
    let log = options.clone().open_in(disk.storage()).unwrap();
    let (clone, (alone, is_alone)) = (log.clone(), channel());
    at_next_failure(move || {
        is_alone.recv().unwrap();
        drop(clone);
    });
    disk.plan(WRITE, FAILS);
    log.append("line").unwrap();
    drop(log);
    alone.send(()).unwrap();
    reopen(|| options.clone().open_in(disk.storage()));
    assert_eq!(read(&disk.storage()).unwrap(), b"line\n");
}

fn close_while_it_closes(_: &Path) {
    let disk = FaultDisk::default();
    let log = Log::open("log").durability(Durability::Always);
    let log = log.open_in(disk.storage()).unwrap();
    log.append("line").unwrap();
    let (clone, (called, calls)) = (log.clone(), channel());
    at_next_failure(move || called.send(clone.close()).unwrap());
    // All is durable: what fails is the end of the sidecar.
    disk.plan(0, FAILS);
    log.close().unwrap();
    refused(calls.recv().unwrap());
    assert_eq!(read(&disk.storage()).unwrap(), b"line\n");
}

/// A log whose first segment has ended, and cannot be compressed.
fn not_compressed(folder: &Path, call: impl FnOnce(Log) + Send + 'static) -> Log {
    let log = Log::open(folder).rotate_size(1).compress(1).clock(|| 1_000);
    let log = log.open().unwrap();
    let clone = log.clone();
    at_next_failure(move || call(clone));
    let first = "00000000000000000000-19700101T000001Z";
    fs::create_dir(folder.join(format!(".{first}.log.zst.new"))).unwrap();
    log.append("first").unwrap();
    log.append("second").unwrap();
    log
}

fn close_while_it_compresses(folder: &Path) {
    let (called, calls) = sync_channel(0);
    let log = not_compressed(folder, move |log| called.send(log.close()).unwrap());
    let called = thread::spawn(move || refused(calls.recv().unwrap()));
    log.close().unwrap();
    called.join().unwrap();
    assert_eq!(verify(folder, |_| ()).unwrap().problems, []);
}

fn dropped_while_it_compresses(folder: &Path) {
    let (began, has_begun) = channel();
    let (alone, is_alone) = channel();
    let log = not_compressed(folder, move |log| {
        began.send(()).unwrap();
        is_alone.recv().unwrap();
        drop(log);
    });
    drop(log);
    has_begun.recv().unwrap();
    alone.send(()).unwrap();
    let blocker = fs::read_dir(folder).unwrap().find_map(|entry| {
        let path = entry.unwrap().path();
        path.is_dir().then_some(path)
    });
    fs::remove_dir(blocker.unwrap()).unwrap();
    reopen(|| Log::open(folder).open());
    assert_eq!(verify(folder, |_| ()).unwrap().problems, []);
}

/// Opens a log once its last writer has let go of it, and closes it.
fn reopen(open: impl Fn() -> Result<Log, LogError>) {
    loop {
        match open() {
            Err(error) if error.kind() == LogErrorKind::Busy => thread::yield_now(),
            opened => return opened.unwrap().close().unwrap(),
        }
    }
}
