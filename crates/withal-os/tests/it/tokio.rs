//! The async forms.

use std::fs;
use std::future::Future;
use std::io::Write;
use std::pin::pin;
use std::process::Stdio;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::runtime::{Builder, Runtime};
use tokio::task::{self, JoinSet};
use withal_core::{AsyncContextManager, ExitCase};
use withal_os::tokio::{AtomicWriter, Blocking, FileLock, blocking, write_atomic};
use withal_os::{
    AtomicBatch, AtomicDir, AtomicWriter as SyncWriter, HeldLock, Preserve, TempDir, WriteErrorKind,
};

use crate::child;
use crate::support::{Mount, Place, chain, read, temporaries, unnamed};

/// With one blocking thread: whatever needs two at a time would hang.
fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn poll_once<F: Future>(future: &mut std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// Keeps the only blocking thread busy until it is told to go on.
struct Gate(mpsc::Sender<()>);

impl Gate {
    fn close() -> Gate {
        let (sender, receiver) = mpsc::channel();
        drop(task::spawn_blocking(move || receiver.recv()));
        Gate(sender)
    }

    /// Goes on, and waits until all is done that waited for it.
    async fn open(self) {
        self.0.send(()).unwrap();
        task::spawn_blocking(|| ()).await.unwrap();
    }
}

#[test]
fn only_success_commits() {
    let check = |case: ExitCase, want: &str| {
        let place = Place::new();
        let path = place.file("a", "old");
        runtime().block_on(async {
            let mut file = AtomicWriter::create(&path).enter().await.unwrap();
            assert_eq!(file.path(), path);
            file.write_all(b"new").await.unwrap();
            AtomicWriter::exit(file, case).await.unwrap();
        });
        assert_eq!(read(&path), want);
        assert_eq!(place.names(), ["a"]);
    };
    let error = withal_core::Error::new("failed");
    check(ExitCase::Succeeded, "new");
    check(ExitCase::Errored(error.clone()), "old");
    check(ExitCase::Panicked(error), "old");
    check(ExitCase::Cancelled, "old");
    check(ExitCase::TimedOut, "old");
    check(ExitCase::Signalled(15), "old");
}

#[test]
fn many_small_and_large_writes_arrive_whole_and_in_order() {
    let place = Place::new();
    let path = place.join("a");
    let mut want = Vec::new();
    runtime().block_on(async {
        let mut file = AtomicWriter::create(&path).open().await.unwrap();
        for number in 0..2000_u32 {
            let piece = number.to_le_bytes().repeat(1 + number as usize % 700);
            want.extend_from_slice(&piece);
            file.write_all(&piece).await.unwrap();
            if number % 500 == 0 {
                file.flush().await.unwrap();
                assert_eq!(
                    fs::metadata(unnamed(&place)).unwrap().len(),
                    want.len() as u64
                );
            }
        }
        let large = vec![7; 5 << 20];
        want.extend_from_slice(&large);
        file.write_all(&large).await.unwrap();
        file.write_all(b"").await.unwrap();
        file.commit().await.unwrap();
    });
    assert!(fs::read(&path).unwrap() == want);
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn a_shutdown_of_the_stream_flushes_and_does_not_commit() {
    let place = Place::new();
    let path = place.file("a", "old");
    runtime().block_on(async {
        let mut file = AtomicWriter::create(&path).open().await.unwrap();
        tokio::io::copy(&mut &b"new"[..], &mut file).await.unwrap();
        file.shutdown().await.unwrap();
        assert_eq!(read(&path), "old");
        file.commit().await.unwrap();
    });
    assert_eq!(read(&path), "new");
}

#[test]
fn dropped_before_the_commit_it_aborts() {
    let place = Place::new();
    let path = place.file("a", "old");
    let runtime = runtime();
    runtime.block_on(async {
        let mut file = AtomicWriter::create(&path).open().await.unwrap();
        file.write_all(&vec![0; 3 << 20]).await.unwrap();
        drop(file);
        let mut file = AtomicWriter::create(&path).open().await.unwrap();
        file.write_all(b"new").await.unwrap();
        drop(file.commit()); // never polled
    });
    // A write under way ends first.
    drop(runtime);
    assert_eq!(read(&path), "old");
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn dropped_during_the_commit_it_completes() {
    let place = Place::new();
    let path = place.file("a", "old");
    let runtime = runtime();
    let want = vec![1; 3 << 20];
    runtime.block_on(async {
        let mut file = AtomicWriter::create(&path).open().await.unwrap();
        file.write_all(&want).await.unwrap();
        let gate = Gate::close();
        let mut commit = Box::pin(file.commit());
        assert!(poll_once(&mut commit.as_mut()).is_pending());
        drop(commit);
        gate.open().await;
    });
    assert!(fs::read(&path).unwrap() == want);
    assert_eq!(place.names(), ["a"]);
}

#[test]
fn dropped_while_it_opens_it_leaves_nothing() {
    let place = Place::new();
    runtime().block_on(async {
        let gate = Gate::close();
        let mut open = Box::pin(AtomicWriter::create(place.join("a")).open());
        assert!(poll_once(&mut open.as_mut()).is_pending());
        drop(open);
        gate.open().await;
    });
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn a_runtime_that_is_gone_aborts_and_says_so() {
    let place = Place::new();
    let path = place.file("a", "old");
    let runtime = runtime();
    let file = runtime
        .block_on(AtomicWriter::create(&path).open())
        .unwrap();
    let handle = runtime.handle().clone();
    runtime.shutdown_background();
    let _context = handle.enter();
    let mut commit = pin!(file.commit());
    let Poll::Ready(Err(error)) = poll_once(&mut commit) else {
        panic!("it was to fail at once");
    };
    assert_eq!(error.kind(), WriteErrorKind::Abandoned);
    assert_eq!(
        error.to_string(),
        format!(
            "`{}` was not written: the async runtime was shut down first",
            path.display()
        )
    );
    assert_eq!(
        (read(&path).as_str(), place.names()),
        ("old", vec!["a".to_owned()])
    );
}

#[test]
fn a_full_disk_fails_a_write_and_the_commit() {
    let place = Place::new();
    let disk = place.join("disk");
    fs::create_dir(&disk).unwrap();
    let Some(_mount) = Mount::tmpfs("256k", &disk) else {
        return;
    };
    let path = disk.join("a");
    runtime().block_on(async {
        write_atomic(&path, "old").await.unwrap();
        let mut file = AtomicWriter::create(&path).open().await.unwrap();
        let written = async {
            file.write_all(&vec![0; 2 << 20]).await?;
            file.flush().await
        };
        let error = written.await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        assert!(chain(&error).contains(path.to_str().unwrap()));
        let error = file.commit().await.unwrap_err();
        assert_eq!(error.kind(), WriteErrorKind::NotCommitted);

        // Too little to be written before the commit, too much for the disk.
        let mut file = AtomicWriter::create(&path).open().await.unwrap();
        // A child that another test is just starting has our descriptors until it runs its program.
        while fs::write(disk.join("fill"), vec![0; 240 << 10]).is_err() {
            std::thread::yield_now();
        }
        file.write_all(&[0; 64 << 10]).await.unwrap();
        file.commit().await.unwrap_err();
    });
    assert_eq!(read(&path), "old");
    assert_eq!(temporaries(&disk), [""; 0]);
}

#[test]
fn options_are_those_of_the_sync_form() {
    let place = Place::new();
    let path = place.file("a", "old");
    runtime().block_on(async {
        let writer = AtomicWriter::create_new(&path);
        let error = writer.open().await.unwrap_err();
        assert_eq!(error.kind(), WriteErrorKind::AlreadyExists);
        let sync = withal_os::AtomicWriter::create(&path).backup_suffix("~");
        AtomicWriter::from(sync)
            .open()
            .await
            .unwrap()
            .commit()
            .await
            .unwrap();
        let itself = AtomicWriter::create(&path).backup(place.join("./a"));
        let error = itself.open().await.unwrap_err();
        assert!(chain(&error).contains("it is the target itself"), "{error}");
        let stale = AtomicWriter::create(&path).if_unchanged(None);
        let error = stale.open().await.unwrap().commit().await.unwrap_err();
        assert_eq!(error.kind(), WriteErrorKind::Changed);
        let short = AtomicWriter::create(&path).size(1);
        let error = short.open().await.unwrap().commit().await.unwrap_err();
        assert_eq!(error.kind(), WriteErrorKind::WrongSize);
        let kept = AtomicWriter::create(&path)
            .permissions(Preserve::Ignore)
            .owner(Preserve::Require)
            .acl(Preserve::Require)
            .selinux(Preserve::Try)
            .xattrs(Preserve::Ignore);
        kept.open().await.unwrap().commit().await.unwrap();
    });
    assert_eq!(read(place.join("a~")), "old");
}

#[test]
fn any_manager_can_run_on_blocking_threads() {
    let place = Place::new();
    runtime().block_on(async {
        let directory = blocking(TempDir::new_in(&*place)).enter().await.unwrap();
        fs::write(directory.path().join("file"), "").unwrap();
        Blocking::<TempDir>::exit(directory, ExitCase::Cancelled)
            .await
            .unwrap();
        assert_eq!(place.names(), [""; 0]);

        let staged = blocking(AtomicDir::create(place.join("d")))
            .enter()
            .await
            .unwrap();
        Blocking::<AtomicDir>::exit(staged, ExitCase::Succeeded)
            .await
            .unwrap();
        assert_eq!(place.names(), ["d"]);
        let error = blocking(TempDir::new_in("/nowhere"))
            .enter()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("/nowhere"));
    });
}

#[test]
fn a_batch_commits_on_a_blocking_thread() {
    let place = Place::new();
    runtime().block_on(async {
        let mut batch = blocking(AtomicBatch::new()).enter().await.unwrap();
        for name in ["a", "b"] {
            let file = batch.open(SyncWriter::create(place.join(name))).unwrap();
            file.write_all(name.as_bytes()).unwrap();
        }
        assert_eq!(place.names(), [""; 0]);
        let exited = Blocking::<AtomicBatch>::exit(batch, ExitCase::Succeeded).await;
        exited.unwrap();
    });
    assert_eq!(
        (read(place.join("a")), read(place.join("b"))),
        ("a".into(), "b".into())
    );
    assert_eq!(place.names(), ["a", "b"]);
}

#[test]
fn a_lock_is_waited_for_without_a_thread() {
    let place = Place::new();
    let path = place.join("lock");
    let mut other = child::command("hold-exclusive", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child::wait_ready(&mut other);
    runtime().block_on(async {
        let error = FileLock::shared(&path).try_lock().await.unwrap_err();
        assert_eq!(error.holder().unwrap().pid(), other.id());
        let mut waiting = JoinSet::new();
        for _ in 0..20 {
            // More than there are blocking threads: none is held by who waits.
            waiting.spawn(FileLock::shared(&path).lock());
        }
        task::spawn_blocking(|| ()).await.unwrap();
        drop(other.stdin.take());
        while let Some(held) = waiting.join_next().await {
            held.unwrap().unwrap().release().unwrap();
        }
    });
    assert!(other.wait().unwrap().success());
}

#[tokio::test(start_paused = true)]
async fn a_bounded_wait_for_a_lock_ends() {
    let place = Place::new();
    let path = place.join("lock");
    let _held = FileLock::exclusive(&path).lock().await.unwrap();
    let limit = Duration::from_secs(3600);
    let error = FileLock::exclusive(&path)
        .within(limit)
        .lock()
        .await
        .unwrap_err();
    assert!(error.to_string().ends_with("still after 3600s"), "{error}");
}

#[test]
fn a_wait_for_a_lock_that_is_dropped_gives_up() {
    let place = Place::new();
    let path = place.join("lock");
    let runtime = runtime();
    runtime.block_on(async {
        let held = FileLock::exclusive(&path).lock().await.unwrap();
        let gate = Gate::close();
        let mut waiting = Box::pin(FileLock::exclusive(&path).lock());
        assert!(poll_once(&mut waiting.as_mut()).is_pending());
        drop(waiting);
        gate.open().await;
        FileLock::exit(held, ExitCase::Cancelled).await.unwrap();

        // Dropped when the lock is as good as had: it is released at once.
        let gate = Gate::close();
        let mut waiting = Box::pin(FileLock::exclusive(&path).lock());
        assert!(poll_once(&mut waiting.as_mut()).is_pending());
        drop(waiting);
        gate.open().await;
        let held = FileLock::exclusive(&path).try_lock().await.unwrap();
        let held = AsyncContextManager::enter(held).await.unwrap();
        <HeldLock as AsyncContextManager>::exit(held, ExitCase::Succeeded)
            .await
            .unwrap();
    });
    drop(runtime);
    assert_eq!(read(&path), "");
}

#[test]
fn futures_can_be_sent_to_other_threads() {
    fn check<T: Send + 'static>(_: &T) {}
    let place = Place::new();
    let path = place.join("a");
    check(&AtomicWriter::create(&path).open());
    check(&AtomicWriter::create(&path).enter());
    check(&FileLock::shared(&path).lock());
    check(&write_atomic(path.clone(), ""));
    check(&blocking(TempDir::new()).enter());
}
