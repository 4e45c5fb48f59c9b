//! A log that is looked at in the middle of what its writer does.

use std::any::Any;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use withal_log::storage::{File, FileSystem, Overwrite, Storage};
use withal_log::{
    Log, LogOptions, Reader, RepairAction, RepairKind, RepairOptions, ReverseReader, Verdict,
    repair_in, verify_in,
};

use crate::crash::{read, read_around_holes};
use crate::disk::{Fault, FaultDisk};
use crate::ring::options;

type Hook = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// A storage that calls somebody before each look at the disk.
struct Hooked(Arc<dyn Storage>, Hook);

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

impl Storage for Hooked {
    fn display(&self, name: &str) -> String {
        self.0.display(name)
    }
    fn file_system(&self) -> io::Result<FileSystem> {
        self.0.file_system()
    }
    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.0.lock(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        let list = self.0.list();
        (self.1)("listed", "");
        list
    }
    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        (self.1)("create", name);
        self.0.create(name)
    }
    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn File>> {
        (self.1)("open", name);
        let file = self.0.open(name, write)?;
        Ok(Box::new(HookedFile(
            file,
            name.to_owned(),
            Arc::clone(&self.1),
        )))
    }
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.0.replace(name, content)
    }
    fn overwritten(&self, name: &str, len: u64) -> io::Result<Option<Box<dyn Overwrite>>> {
        self.0.overwritten(name, len)
    }
    fn point(&self, name: &str, target: &str) -> io::Result<()> {
        self.0.point(name, target)
    }
    fn pointed(&self, name: &str) -> Option<String> {
        self.0.pointed(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
}

/// A file that calls somebody before each look at its size.
struct HookedFile(Box<dyn File>, String, Hook);

impl fmt::Debug for HookedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookedFile")
    }
}

impl File for HookedFile {
    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn behind_damage(&self, offset: u64) -> u64 {
        self.0.behind_damage(offset)
    }
    fn size(&self) -> io::Result<u64> {
        (self.2)("size", &self.1);
        self.0.size()
    }
    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.truncate(len)
    }
    fn reserve(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.reserve(offset, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Appends to a log whose segments are smaller than what is appended.
fn rotate_thrice(log: &Log) {
    for _ in 0..3 {
        let _ = log.append("x".repeat(200)).unwrap();
    }
}

/// What `verify` finds in a log of two segments whose writer does something before a look at it: as
/// often as it looks.
fn verified_while(options: LogOptions, act: fn(&Log)) {
    // How often it looks is known once it has.
    let mut looks = 1;
    let mut at = 0;
    while at < looks {
        let disk = FaultDisk::default();
        let log = options.clone().open_in(disk.storage()).unwrap();
        for record in ["one", "two", "three"] {
            let _ = log.append(record.repeat(30)).unwrap();
        }
        let writer = log.clone();
        let look = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&look);
        let hook: Hook = Arc::new(move |_, _| {
            if count.fetch_add(1, Ordering::Relaxed) == at {
                act(&writer);
            }
        });
        let storage: Arc<dyn Storage> = Arc::new(Hooked(disk.storage(), hook));
        let report = verify_in(&storage, |_| ()).unwrap();
        assert_eq!(report.problems, [], "look {at}");
        looks = look.load(Ordering::Relaxed);
        at += 1;
        log.close().unwrap();
    }
    assert!(looks > 5, "{looks}");
}

#[test]
fn what_comes_and_goes_meanwhile_is_not_missed() {
    let options = options().rotate_size(100);
    for options in [options.clone(), options.keep_size(1)] {
        verified_while(options, rotate_thrice);
    }
}

/// Half of a line is there when the text is opened, and the rest once it is looked whether it goes on.
#[test]
fn a_line_that_is_being_written_is_not_torn() {
    let disk = FaultDisk::default();
    let log = options().open_in(disk.storage()).unwrap();
    let _ = log.append("one").unwrap();
    let name = disk.names().into_iter().find(|name| name.ends_with(".log"));
    let name = name.unwrap();
    disk.damage(&name, |text| text.extend_from_slice(b"hal"));
    let (of, looks, text) = (disk.clone(), AtomicU64::new(0), name.clone());
    let hook: Hook = Arc::new(move |doing, name| {
        if (doing, name) == ("size", &*text) && looks.fetch_add(1, Ordering::Relaxed) == 1 {
            of.damage(&text, |text| text.extend_from_slice(b"f a line\n"));
        }
    });
    let verdict = |storage: &Arc<dyn Storage>| verify_in(storage, |_| ()).unwrap().verdict();
    assert_eq!(
        verdict(&disk.storage()),
        Verdict::TornTail,
        "nobody goes on"
    );
    let storage: Arc<dyn Storage> = Arc::new(Hooked(disk.storage(), hook));
    assert_eq!(verdict(&storage), Verdict::Clean);
    disk.damage(&name, |text| text.truncate(4));
    log.close().unwrap();
}

/// The last segment is ended, followed and removed between the list and the look at its text.
#[test]
fn retention_does_not_make_the_look_at_the_ring_an_error() {
    let mut bad = 0;
    for what in 0..3 {
        let disk = FaultDisk::default();
        let log = options().rotate_size(100).keep_size(1);
        let log = log.open_in(disk.storage()).unwrap();
        let _ = log.append("one").unwrap();
        let armed = AtomicU64::new(0);
        let writer = log.clone();
        let hook: Hook = Arc::new(move |doing, name| match (doing, name) {
            ("open", "ring") => armed.store(1, Ordering::Relaxed),
            ("listed", _) if armed.swap(0, Ordering::Relaxed) == 1 => rotate_thrice(&writer),
            _ => {}
        });
        let storage: Arc<dyn Storage> = Arc::new(Hooked(disk.storage(), hook));
        let error = match what {
            0 => {
                let mut reader = Reader::open_in(storage).unwrap();
                let _ = reader.next_chunk().unwrap();
                reader.next_chunk().err()
            }
            1 => ReverseReader::open_in(storage).unwrap().next_line().err(),
            _ => verify_in(&storage, |_| ()).err(),
        };
        bad += usize::from(error.is_some());
        log.close().unwrap();
    }
    assert_eq!(bad, 0);
}

/// An open log with two records, whose every look at the disk is told of.
fn two_records(disk: &FaultDisk, hook: Hook) -> Log {
    let storage: Arc<dyn Storage> = Arc::new(Hooked(disk.storage(), hook));
    let log = options().open_in(storage).unwrap();
    for record in ["one", "two"] {
        let _ = log.append(record).unwrap();
    }
    log
}

/// The text's sync fails: its records go into a new segment, and one reads meanwhile.
#[test]
fn nothing_is_torn_while_records_are_moved() {
    let disk = FaultDisk::default();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (of, told) = (disk.clone(), Arc::clone(&seen));
    let hook: Hook = Arc::new(move |doing, name| {
        if doing == "create" && !name.starts_with("events") {
            let (_text, errors) = read_around_holes(&of.storage());
            let errors = errors.iter().map(|error| format!("{name}: {error}"));
            told.lock().unwrap().extend(errors);
        }
    });
    let log = two_records(&disk, hook);
    disk.plan(0, Fault::Fails(io::ErrorKind::Other));
    log.close().unwrap(); // its sync fails, and all is well
    assert!(
        seen.lock().unwrap().is_empty(),
        "{:?}",
        seen.lock().unwrap()
    );
}

/// What a dry run says is what is done, wherever the machine stops while records are moved.
#[test]
fn a_dry_run_says_what_is_put_back() {
    let disk = FaultDisk::default();
    let left = Arc::new(Mutex::new(Vec::new()));
    let (of, into) = (disk.clone(), Arc::clone(&left));
    let hook: Hook = Arc::new(move |doing, _| {
        if doing == "create" {
            let killed = of.after_kill();
            let torn = of.after_kill();
            torn.lose_unsynced();
            into.lock().unwrap().extend([killed, torn]);
        }
    });
    let log = two_records(&disk, hook);
    left.lock().unwrap().clear();
    disk.plan(0, Fault::Fails(io::ErrorKind::Other));
    log.close().unwrap(); // its sync fails, and all is well
    let mut bad = Vec::new();
    for (number, left) in left.lock().unwrap().iter().enumerate() {
        for reindex in [false, true] {
            let left = left.after_kill();
            let with = |dry_run| {
                repair_in(&left.storage(), &RepairOptions { dry_run, reindex }, |_| ()).unwrap()
            };
            let (said, done) = (with(true), with(false));
            // A writer goes on in a new segment, whose name is not known before.
            let kinds = |actions: &[RepairAction]| -> Vec<RepairKind> {
                actions.iter().map(|action| action.kind).collect()
            };
            if kinds(&said) != kinds(&done) {
                bad.push(format!("{number} {reindex}: said {said:?}, done {done:?}"));
            }
            let text = read(&left.storage()).unwrap();
            assert_eq!(text, b"one\ntwo\n");
        }
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn a_segment_whose_text_comes_late_is_not_missed() {
    let disk = FaultDisk::default();
    let log = Log::open("log").rotate_size(400);
    let log = log.open_in(disk.storage()).unwrap();
    rotate_thrice(&log);
    log.close().unwrap();
    let texts = disk.names().into_iter().filter(|it| it.ends_with(".log"));
    let text = texts.max().unwrap();
    let content = disk.read(&text).unwrap();
    disk.storage().remove(&text).unwrap();
    // Its sidecar was there whenever it was listed, and is read when all is there.
    let (late, sidecar) = (disk.storage(), text.replace(".log", ".idx"));
    let lists = AtomicU64::new(0);
    let hook: Hook = Arc::new(move |what, name| {
        let lists = lists.fetch_add(u64::from(what == "listed"), Ordering::Relaxed);
        if what == "open" && name == sidecar && lists >= 2 && late.open(&text, false).is_err() {
            let file = late.create(&text).unwrap();
            assert_eq!(file.append(&content).unwrap(), content.len());
        }
    });
    let storage: Arc<dyn Storage> = Arc::new(Hooked(disk.storage(), hook));
    assert_eq!(verify_in(&storage, |_| ()).unwrap().problems, []);
}
