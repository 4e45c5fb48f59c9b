//! Threads that keep segments, watched.

use std::any::Any;
use std::sync::OnceLock;

use super::*;
use crate::log::Log;
use crate::options::Durability;
use crate::storage::{Disk, File, FileSystem, Overwrite};

/// A directory that knows who has the turn when files are renamed or removed.
#[derive(Debug)]
struct Watched {
    disk: Disk,
    ended: OnceLock<Arc<Ended>>,
    /// What was done without the turn, and how much with it.
    alone: Mutex<(Vec<String>, usize)>,
}

impl Watched {
    fn note(&self, file: &str) {
        let Some(ended) = self.ended.get() else {
            return;
        };
        let mut alone = self.alone.lock().unwrap();
        match ended.shrunk.try_lock() {
            Ok(_) => alone.0.push(file.to_owned()),
            Err(_) => alone.1 += 1,
        }
    }
}

impl Storage for Watched {
    fn display(&self, name: &str) -> String {
        self.disk.display(name)
    }

    fn file_system(&self) -> io::Result<FileSystem> {
        self.disk.file_system()
    }

    fn lock(&self, name: &str) -> io::Result<Box<dyn Any + Send + Sync>> {
        self.disk.lock(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        self.disk.create(name)
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn File>> {
        self.disk.open(name, write)
    }

    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.disk.replace(name, content)
    }

    fn overwritten(&self, name: &str, len: u64) -> io::Result<Option<Box<dyn Overwrite>>> {
        self.disk.overwritten(name, len)
    }

    fn point(&self, name: &str, target: &str) -> io::Result<()> {
        self.disk.point(name, target)
    }

    fn pointed(&self, name: &str) -> Option<String> {
        self.disk.pointed(name)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.note(to);
        self.disk.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.note(name);
        self.disk.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
}

#[test]
fn segments_are_compressed_pruned_and_removed_by_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(folder.path()).rotate_size(1);
    let log = log.durability(Durability::Always).open().unwrap();
    for line in ["first", "second", "third", "fourth", "fifth"] {
        let _line = log.append(line).unwrap();
    }
    log.close().unwrap();

    let watched = Arc::new(Watched {
        disk: Disk::open(folder.path()).unwrap(),
        ended: OnceLock::new(),
        alone: Mutex::default(),
    });
    let storage: Arc<dyn Storage> = watched.clone();
    let settings = Settings {
        compress: Some(1),
        keep_size: Some(1_000),
        ..Settings::default()
    };
    let ended = Ended::new(&storage, &settings);
    watched.ended.set(Arc::clone(&ended)).unwrap();
    let keeper = Keeper::inline(&ended);
    assert!(keeper.prune().unwrap().is_some());
    let files = Files::list(&storage).unwrap();
    keeper.ended(&files.segments().first().unwrap().name);
    let (others, alone) = &*watched.alone.lock().unwrap();
    assert_eq!(*others, [""; 0]);
    // Two files, then the temporary one, a name, and a text.
    assert!(*alone >= 5, "{alone}");
}
