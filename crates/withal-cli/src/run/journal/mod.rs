//! The journal: what a run has done, written before it is done, so that somebody else can undo it.
//!
//! Each run has a file of its own. Whoever runs it holds an exclusive `flock` on it, shared by front
//! and keeper, which inherit one open file description: so it is free exactly when both are dead,
//! and nothing else tells whether a run lives.

mod directory;
mod record;
mod story;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};

use crate::run::gates::AnyUndo;

pub(crate) use directory::{Directory, Found, Refused, look};
pub(crate) use record::{Opened, Record, VERSION};
pub(crate) use story::{Gate, Reading, State, Story};

use story::read;

/// The journal of this run; its clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Journal(Arc<Mutex<Writer>>);

#[derive(Debug)]
struct Writer {
    file: File,
    /// Where it is; a journal that nobody but this run's processes may ever read is nowhere.
    path: Option<PathBuf>,
    next: u64,
    length: u64,
    /// Whether its name is on disk.
    is_named: bool,
    /// How many gates there are in it.
    gates: usize,
    /// Those that are not undone yet.
    open: Vec<usize>,
}

impl Journal {
    /// A new one in the directory of journals, locked.
    pub(crate) fn create(directory: &Directory, opened: Opened) -> anyhow::Result<Journal> {
        let (job, id) = (opened.job.clone(), opened.id);
        let first = record::encode(0, &Record::Open(opened))?;
        let (file, path) = directory.create(&job, id, first.as_bytes())?;
        Ok(Journal::at(file, Some(path), 1, length(&first)))
    }

    /// One that only this run's processes can read: if both are killed, nobody else can.
    pub(crate) fn unwritten(opened: Opened) -> anyhow::Result<Journal> {
        let file = memfd_create("withal-journal", MemfdFlags::CLOEXEC).map_err(io::Error::from);
        let file = file.context("cannot keep a journal in memory")?;
        fcntl_setfl(&file, OFlags::APPEND).map_err(io::Error::from)?;
        let journal = Journal::at(file.into(), None, 0, 0);
        journal.write(&Record::Open(opened))?;
        Ok(journal)
    }

    /// One that is gone on with.
    pub(crate) fn resume(found: &Found, story: &Story) -> anyhow::Result<Journal> {
        let file = found
            .file()
            .try_clone()
            .context("cannot go on with a journal")?;
        let journal = Journal::at(
            file,
            Some(found.path().to_owned()),
            story.next,
            story.length,
        );
        journal.lock().cut()?;
        Ok(journal)
    }

    fn at(file: File, path: Option<PathBuf>, next: u64, length: u64) -> Journal {
        Journal(Arc::new(Mutex::new(Writer {
            file,
            path,
            next,
            length,
            is_named: false,
            gates: 0,
            open: Vec::new(),
        })))
    }

    /// What it tells, whoever wrote it.
    pub(crate) fn read(&self) -> anyhow::Result<Reading> {
        let writer = self.lock();
        let reading = read_all(&writer.file).context("cannot read the journal")?;
        Ok(read(&reading))
    }

    /// Goes on after what another process has written.
    pub(crate) fn catch_up(&self, story: &Story) -> anyhow::Result<()> {
        let mut writer = self.lock();
        writer.next = story.next;
        writer.length = story.length;
        writer.open = story.pending().map(|gate| gate.number).collect();
        writer.cut()
    }

    /// Adds a record, in one piece.
    ///
    /// # Errors
    ///
    /// It cannot be written; the journal is then as it was.
    pub(crate) fn write(&self, record: &Record) -> anyhow::Result<()> {
        self.lock().write(record)
    }

    /// Adds the intent to acquire a gate, and makes sure of it if what it acquires would outlive a
    /// power loss. Gives the gate's number.
    pub(crate) fn intend(&self, name: String, undo: Option<AnyUndo>) -> anyhow::Result<usize> {
        let mut writer = self.lock();
        let gate = writer.gates;
        let can_undo = undo.is_some();
        let must_last = undo.as_ref().is_some_and(AnyUndo::outlives_reboot);
        writer.write(&Record::Intent { gate, name, undo })?;
        writer.gates += 1;
        if can_undo {
            writer.open.push(gate);
        }
        if must_last && let Err(error) = writer.sync() {
            // It is not going to be acquired.
            writer.open.retain(|open| *open != gate);
            writer.write(&Record::Released { gate })?;
            return Err(error);
        }
        Ok(gate)
    }

    /// Adds that a gate is undone.
    pub(crate) fn released(&self, gate: usize) -> anyhow::Result<()> {
        let mut writer = self.lock();
        writer.open.retain(|open| *open != gate);
        writer.write(&Record::Released { gate })
    }

    /// Whether it is where others can read it.
    pub(crate) fn is_kept(&self) -> bool {
        self.lock().path.is_some()
    }

    /// Whether every gate that can be undone is.
    pub(crate) fn is_clean(&self) -> bool {
        self.lock().open.is_empty()
    }

    /// Nothing is left to be undone: the journal goes.
    pub(crate) fn close(&self, record: &Record) -> anyhow::Result<()> {
        let mut writer = self.lock();
        // That there is no room for it matters to nobody, for it goes.
        let written = writer.write(record);
        match writer.path.take() {
            Some(path) => remove(&path),
            None => written,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a journal that is done with.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the journal `{}`", path.display()))
        }
        _gone => Ok(()),
    }
}

impl Writer {
    fn write(&mut self, record: &Record) -> anyhow::Result<()> {
        let line = record::encode(self.next, record)?;
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.cut()?;
            return Err(error).context(match &self.path {
                Some(path) => format!("cannot write the journal `{}`", path.display()),
                None => "cannot write the journal".to_owned(),
            });
        }
        self.next += 1;
        self.length += length(&line);
        Ok(())
    }

    /// Takes back what was written half.
    fn cut(&self) -> anyhow::Result<()> {
        let cut = self.file.set_len(self.length);
        cut.context("cannot cut what is torn off the journal")
    }

    fn sync(&mut self) -> anyhow::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let synced =
            self.file
                .sync_data()
                .and_then(|()| match path.parent().filter(|_| !self.is_named) {
                    Some(parent) => File::open(parent)?.sync_all(),
                    None => Ok(()),
                });
        synced.with_context(|| format!("cannot sync the journal `{}`", path.display()))?;
        self.is_named = true;
        Ok(())
    }
}

fn length(line: &str) -> u64 {
    line.len().try_into().unwrap_or_default()
}

/// All of a file, wherever its descriptor stands.
pub(crate) fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, u64::try_from(done).unwrap_or(u64::MAX))? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
