//! Batch jobs that are killed go on where they were.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;

use withal_core::{ContextManager, with};
use withal_log::{Checkpoint, LogErrorKind, verify};

use crate::child;
use crate::disk::{Dice, Fault, FaultDisk};

fn keys(finished: &Checkpoint) -> BTreeSet<Vec<u8>> {
    finished.finished().into_iter().map(Vec::from).collect()
}

#[test]
fn finished_items_are_remembered_whatever_their_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("done");
    let long = vec![0xC0; 1 << 20];
    let hostile: [&[u8]; 10] = [
        b"plain",
        b"",
        b"\n",
        b"two\nlines\n",
        b"\0",
        b"\xc0\x80",
        b"\xc0\x82\n",
        b"\xff\xfe",
        "世界".as_bytes(),
        &long,
    ];
    with(Checkpoint::open(&path), |finished| {
        assert!(finished.is_empty());
        for key in hostile {
            assert!(!finished.is_done(key));
            assert!(finished.done(key)?);
            assert!(!finished.done(key)?, "noted once");
            assert!(finished.is_done(key));
        }
        let too_long = finished.done(vec![0; (1 << 20) + 1]).unwrap_err();
        assert_eq!(too_long.kind(), LogErrorKind::Io);
        Ok(())
    })
    .unwrap();
    with(Checkpoint::open(&path), |finished| {
        assert_eq!(keys(finished), hostile.map(Vec::from).into());
        assert_eq!(finished.len(), hostile.len());
        assert!(hostile.iter().all(|key| finished.is_done(key)));
        assert!(!finished.is_done("plai") && !finished.is_done("plain\n"));
        assert_eq!(finished.path(), path);
        assert!(finished.recovery().is_none());
        Ok(())
    })
    .unwrap();
    assert!(verify(&path, |_| ()).unwrap().problems.is_empty());
}

#[test]
fn many_items_share_one_sync() {
    let disk = FaultDisk::default();
    let finished = Checkpoint::open("done").open_in(disk.storage()).unwrap();
    finished.done("17").unwrap();
    let before = disk.syncs();
    let items: Vec<_> = (0..1000).map(|item: u32| item.to_string()).collect();
    assert_eq!(finished.done_all(&items).unwrap(), 999);
    assert_eq!(disk.syncs() - before, 1);
    assert_eq!(finished.done_all(&items).unwrap(), 0);
    assert_eq!(disk.syncs() - before, 1, "nothing new");
    // All or nothing is refused with one that is.
    let long = vec![0; (1 << 20) + 1];
    finished.done_all([b"new".as_slice(), &long]).unwrap_err();
    assert!(!finished.is_done("new"));
    finished.close().unwrap();
    let finished = Checkpoint::open("done").open_in(disk.storage()).unwrap();
    assert_eq!(keys(&finished).len(), 1000);
    finished.close().unwrap();
}

#[test]
fn one_job_at_a_time_works_on_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let finished = Checkpoint::open(folder.path()).open().unwrap();
    let clone = finished.clone();
    let busy = Checkpoint::open(folder.path()).open().unwrap_err();
    assert_eq!(busy.kind(), LogErrorKind::Busy);
    finished.done("a").unwrap();
    finished.close().unwrap();
    // What is known stays known, and nothing new is.
    assert!(clone.is_done("a"));
    let closed = clone.done("b").unwrap_err();
    assert_eq!(closed.kind(), LogErrorKind::Closed, "closed for all clones");
    assert!(!clone.is_done("b"));
    let finished = Checkpoint::open(folder.path()).open().unwrap();
    assert_eq!(keys(&finished), [b"a".to_vec()].into());
    finished.close().unwrap();
}

#[test]
fn what_was_done_stays_done_however_the_body_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("done");
    let failed = with(Checkpoint::open(&path), |finished| {
        finished.done("a")?;
        Err::<(), _>("failed".into())
    });
    assert!(failed.is_err());
    let panicked = std::panic::catch_unwind(|| {
        with(Checkpoint::open(&path), |finished| -> Result<(), _> {
            finished.done("b")?;
            panic!("the body");
        })
    });
    assert!(panicked.is_err());
    let finished = Checkpoint::open(&path).open().unwrap();
    assert_eq!(keys(&finished), [b"a".to_vec(), b"b".to_vec()].into());
    finished.close().unwrap();
}

#[test]
fn errors_call_it_by_its_path() {
    let name = ContextManager::name(&Checkpoint::open("/batch"));
    assert_eq!(name, "checkpoint /batch");
}

/// Threads that finish 8 items each, one by one or by fours, until the machine stops; gives what
/// was acknowledged.
fn finish_items(disk: &FaultDisk) -> BTreeSet<Vec<u8>> {
    let Ok(finished) = Checkpoint::open("done").open_in(disk.storage()) else {
        return BTreeSet::new();
    };
    let acknowledged = Mutex::new(BTreeSet::new());
    std::thread::scope(|threads| {
        for thread in 0..4 {
            let (finished, acknowledged) = (&finished, &acknowledged);
            threads.spawn(move || {
                let items: Vec<_> = (0..8)
                    .map(|item| format!("{thread}\n{item}").into_bytes())
                    .collect();
                for items in items.chunks(1 + 3 * (thread % 2)) {
                    if finished.done_all(items).is_ok() {
                        acknowledged.lock().unwrap().extend(items.to_vec());
                    }
                }
            });
        }
    });
    // The machine may have stopped.
    let _ = finished.close();
    acknowledged.into_inner().unwrap()
}

#[test]
fn a_power_loss_at_any_operation_leaves_what_was_acknowledged() {
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let possible: BTreeSet<Vec<u8>> = (0..32)
        .map(|item| format!("{}\n{}", item / 8, item % 8).into_bytes())
        .collect();
    let mut partial = 0;
    for at in 0..120 {
        let disk = FaultDisk::default();
        disk.plan(at, Fault::Crash);
        let acknowledged = finish_items(&disk);
        partial += usize::from(!acknowledged.is_empty() && acknowledged.len() < 32);
        for _ in 0..4 {
            let disk = disk.after_power_loss(&mut dice);
            let finished = Checkpoint::open("done").open_in(disk.storage()).unwrap();
            let found = keys(&finished);
            assert!(found.is_superset(&acknowledged), "at operation {at}");
            assert!(found.is_subset(&possible), "invented at operation {at}");
            finished.close().unwrap();
        }
    }
    assert!(partial > 10, "only {partial} runs were stopped half way");
}

/// It decides what is skipped.
#[test]
fn what_a_new_run_sees_as_done_survives_a_power_loss() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for at in 0..120 {
        let disk = FaultDisk::default();
        disk.plan(at, Fault::Crash);
        let _acknowledged = finish_items(&disk);
        let disk = disk.after_kill();
        let finished = Checkpoint::open("done").open_in(disk.storage()).unwrap();
        let relied_on = keys(&finished);
        let later = disk.after_power_loss(&mut dice);
        finished.close().unwrap();
        let finished = Checkpoint::open("done").open_in(later.storage()).unwrap();
        let found = keys(&finished);
        assert!(found.is_superset(&relied_on), "at operation {at}");
        finished.close().unwrap();
    }
}

const ITEMS: u16 = 300;

/// What the job leaves: `s` when the work on an item starts, `d` when it is acknowledged. Each is
/// one write to the end of a file, so a kill leaves it whole or not at all, and the order is true.
struct Journal(File);

impl Journal {
    fn open(folder: &Path) -> Journal {
        let file = File::options()
            .append(true)
            .create(true)
            .open(folder.join("journal"));
        Journal(file.unwrap())
    }

    fn note(&self, what: char, item: u16) {
        let mut file = &self.0;
        file.write_all(format!("{what}{item}\n").as_bytes())
            .unwrap();
    }
}

/// Tells the killer that an item is done.
fn tell() {
    let mut out = std::io::stdout();
    out.write_all(b"!").unwrap();
    out.flush().unwrap();
}

/// Works off all items with four threads.
pub(crate) fn work_off(folder: &Path) {
    let journal = Journal::open(folder);
    with(Checkpoint::open(folder.join("done")), |finished| {
        std::thread::scope(|threads| {
            for thread in 0..4 {
                let (finished, journal) = (&*finished, &journal);
                threads.spawn(move || {
                    for item in (thread..ITEMS).step_by(4) {
                        let key = item.to_le_bytes();
                        if !finished.is_done(key) {
                            journal.note('s', item);
                            finished.done(key).unwrap();
                            journal.note('d', item);
                            tell();
                        }
                    }
                });
            }
        });
        Ok(())
    })
    .unwrap();
}

/// Works off all items with four tasks.
#[cfg(feature = "tokio")]
pub(crate) fn work_off_async(folder: &Path) {
    use std::sync::Arc;

    let journal = Arc::new(Journal::open(folder));
    let runtime = ::tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let finished = Checkpoint::open(folder.join("done")).open().unwrap();
        let mut tasks = ::tokio::task::JoinSet::new();
        for task in 0..4 {
            let (finished, journal) = (finished.clone(), Arc::clone(&journal));
            tasks.spawn(async move {
                for item in (task..ITEMS).step_by(4) {
                    let key = item.to_le_bytes();
                    if !finished.is_done(key) {
                        journal.note('s', item);
                        finished.done_async(key).await.unwrap();
                        journal.note('d', item);
                        tell();
                    }
                }
            });
        }
        tasks.join_all().await;
        finished.close().unwrap();
    });
}

/// Reads that so many items are done; false if the job ends before that.
fn wait_for(job: &mut Child, items: u64) -> bool {
    let told = BufReader::new(job.stdout.as_mut().unwrap()).bytes();
    // The test harness in the child says something first, without an exclamation mark.
    let told = told.filter(|byte| matches!(byte, Ok(b'!')));
    told.take(items as usize).count() as u64 == items
}

/// Runs the job until it ends by itself, and kills it until then; gives how often.
fn kill_until_done(job: &str, folder: &Path) -> usize {
    let mut dice = Dice(0x853c_49e6_748f_ea9b);
    for kills in 0.. {
        let mut job = child::command(job, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Now and then while it opens. However slow the machine is, the others get on.
        let items = if kills % 4 == 0 { 0 } else { 1 + dice.roll(20) };
        let is_running = wait_for(&mut job, items);
        for _ in 0..dice.roll(20_000) {
            std::hint::spin_loop();
        }
        job.kill().unwrap();
        let status = job.wait().unwrap();
        if !is_running {
            assert!(status.success(), "{status}");
            return kills;
        }
    }
    unreachable!()
}

fn nothing_is_redone_or_skipped(job: &str) {
    let folder = tempfile::tempdir().unwrap();
    let kills = kill_until_done(job, folder.path());
    let journal = fs::read_to_string(folder.path().join("journal")).unwrap();
    let (mut started, mut acknowledged) = (BTreeSet::new(), BTreeSet::new());
    let mut worked_twice = 0;
    for line in journal.lines() {
        let (what, item) = line.split_at(1);
        let item: u16 = item.parse().unwrap();
        match what {
            "s" => {
                assert!(!acknowledged.contains(&item), "{item} was redone");
                worked_twice += usize::from(!started.insert(item));
            }
            _ => assert!(acknowledged.insert(item)),
        }
    }
    assert!(started == (0..ITEMS).collect(), "something was skipped");
    assert!(kills > 5, "killed only {kills} times");
    assert!(worked_twice <= 4 * kills, "{worked_twice} in {kills} kills");
    let done = folder.path().join("done");
    assert!(verify(&done, |_| ()).unwrap().problems.is_empty());
    let finished = Checkpoint::open(done).open().unwrap();
    assert!((0..ITEMS).all(|item| finished.is_done(item.to_le_bytes())));
    assert_eq!(finished.len(), usize::from(ITEMS));
    finished.close().unwrap();
}

#[test]
fn a_killed_job_redoes_nothing_that_was_acknowledged_and_skips_nothing() {
    nothing_is_redone_or_skipped("batch");
}

#[cfg(feature = "tokio")]
#[test]
fn neither_does_an_async_one() {
    nothing_is_redone_or_skipped("batch-async");
}
