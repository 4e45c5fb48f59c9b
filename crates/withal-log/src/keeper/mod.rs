//! What is done with a segment once it has ended, beside the writing.

use std::io;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;

use crate::compress::{Shrunk, compress};
use crate::error::LogError;
use crate::events::Event;
use crate::files::{Files, read_all, remove_durably};
use crate::name::Name;
use crate::options::Settings;
use crate::retention::{self, Removed};
use crate::scan::Scan;
use crate::sidecar::{Flags, encode_hash};
use crate::storage::Storage;

/// Has it done.
#[derive(Debug)]
pub(crate) struct Keeper {
    by: By,
    ended: Arc<Ended>,
}

#[derive(Debug)]
enum By {
    /// A thread of its own.
    Thread(Sender<Name>),
    /// Whoever writes: so a test knows in which order things happen.
    Inline,
}

/// The segments that have ended.
#[derive(Debug)]
pub(crate) struct Ended {
    storage: Arc<dyn Storage>,
    settings: Settings,
    /// What compression made of the last one. Locked by whoever compresses or removes: on a full
    /// disk the writer does that, too. Nobody is told anything meanwhile, who might call the log.
    shrunk: Mutex<Shrunk>,
}

impl Keeper {
    pub(crate) fn thread(ended: &Arc<Ended>, names: Sender<Name>) -> Keeper {
        Keeper {
            by: By::Thread(names),
            ended: Arc::clone(ended),
        }
    }

    pub(crate) fn inline(ended: &Arc<Ended>) -> Keeper {
        Keeper {
            by: By::Inline,
            ended: Arc::clone(ended),
        }
    }

    pub(crate) fn is_inline(&self) -> bool {
        matches!(self.by, By::Inline)
    }

    /// Lets the thread end once it has done all it was told of.
    pub(crate) fn dismiss(&mut self) {
        self.by = By::Inline;
    }

    pub(crate) fn ended(&self, name: &Name) {
        match &self.by {
            // It is gone only if it panicked, which closing the log says.
            By::Thread(thread) => drop(thread.send(name.clone())),
            By::Inline => self.ended.keep(name),
        }
    }

    /// Removes the oldest segment, if there is more than one.
    pub(crate) fn prune(&self) -> Result<Option<Removed>, LogError> {
        let _alone = self.ended.lock();
        retention::prune(&self.ended.storage)
    }

    /// Goes on with what the last writer's keeper had no time for.
    pub(crate) fn catch_up(&self) -> Result<(), LogError> {
        let storage = &self.ended.storage;
        let cannot = |file: &str, error| {
            LogError::io(format!("cannot remove `{}`", storage.display(file)), error)
        };
        let listed = storage.list().map_err(|error| cannot("", error))?;
        for file in listed {
            if file.starts_with('.') && file.ends_with(".new") {
                storage
                    .remove(&file)
                    .map_err(|error| cannot(&file, error))?;
            }
        }
        let files = Files::list(storage)?;
        let ended = files
            .segments()
            .split_last()
            .map_or(&[][..], |(_, ended)| ended);
        let mut is_told = false;
        for segment in ended {
            let text = segment.name.text();
            if segment.has_text && segment.is_compressed {
                // The compressed file was durable before it had its name.
                remove_durably(storage, std::slice::from_ref(&text))
                    .map_err(|error| cannot(&text, error))?;
            } else if segment.has_text && self.ended.settings.compress.is_some() {
                self.ended(&segment.name);
                is_told = true;
            }
        }
        if !is_told {
            self.ended
                .alone(|_, events| self.ended.retain(None, events));
        }
        Ok(())
    }
}

impl Ended {
    pub(crate) fn new(storage: &Arc<dyn Storage>, settings: &Settings) -> Arc<Ended> {
        Arc::new(Ended {
            storage: Arc::clone(storage),
            settings: settings.clone(),
            shrunk: Mutex::default(),
        })
    }

    /// Looks after them as they come, until the log is closed.
    pub(crate) fn work(&self, names: &Receiver<Name>) {
        while let Ok(name) = names.recv() {
            self.keep(&name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shrunk> {
        self.shrunk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what nobody else does with them at the same time, then tells what came of it.
    fn alone(&self, work: impl FnOnce(&mut Shrunk, &mut Vec<Event>)) {
        let mut events = Vec::new();
        work(&mut self.lock(), &mut events);
        let now = (self.settings.clock)();
        for event in events {
            event.note(&self.storage, now);
        }
    }

    fn keep(&self, name: &Name) {
        self.alone(|shrunk, events| {
            let waiting = self.settings.compress.map(|level| {
                self.compress(name, level, shrunk, events);
                (name, *shrunk)
            });
            self.retain(waiting, events);
        });
    }

    fn compress(&self, name: &Name, level: i32, shrunk: &mut Shrunk, events: &mut Vec<Event>) {
        let storage = &self.storage;
        if is_gone(storage, name) {
            return;
        }
        let mut failed = |event, doing, file: &str, error| {
            let doing = format!("cannot {doing} `{}`", storage.display(file));
            let facts = json!({ "segment": name.to_string() });
            events.push(Event::failed(event, facts, LogError::io(doing, error)));
        };
        if let Err(error) = add_hash(storage, name) {
            failed("no hash", "add the hash to", &name.sidecar(), error);
        }
        match compress(storage, name, level) {
            Ok(done) => *shrunk = done,
            Err(error) => failed("not compressed", "compress", &name.text(), error),
        }
    }

    /// Removes what is not to be kept. The segments behind the one in `waiting` wait to be
    /// compressed, and count as what compression makes of them.
    fn retain(&self, waiting: Option<(&Name, Shrunk)>, events: &mut Vec<Event>) {
        let now = (self.settings.clock)();
        if let Err(error) = retention::apply(&self.storage, &self.settings, now, waiting, events) {
            events.push(Event::failed("retention failed", json!({}), error));
        }
    }
}

/// Whether a segment was removed before its turn came.
fn is_gone(storage: &Arc<dyn Storage>, name: &Name) -> bool {
    [name.text(), name.sidecar()].iter().all(|file| {
        let opened = storage.open(file, false);
        opened.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}

/// Hashes a sealed segment, for its text to be known when it is in another form: that costs more
/// than to write it, so text that stays text has its checksums only.
fn add_hash(storage: &Arc<dyn Storage>, name: &Name) -> io::Result<()> {
    let text = storage.open(&name.text(), false)?;
    let mut hasher = blake3::Hasher::new();
    let _len = text.each_piece(1 << 20, |piece| {
        let _ = hasher.update(piece);
        Ok(())
    })?;
    let sidecar = storage.open(&name.sidecar(), true)?;
    let scan = Scan::new(&read_all(&*sidecar)?);
    let Some(last) = scan.entries.last() else {
        return Ok(());
    };
    if !last.flags.has(Flags::SEAL) || scan.hash.is_some() {
        return Ok(());
    }
    if scan.has_torn_hash() {
        sidecar.truncate(scan.whole())?;
    } else if scan.rest > 0 {
        let more = "there is something behind its seal";
        return Err(io::Error::new(io::ErrorKind::InvalidData, more));
    }
    let entry = encode_hash(&hasher.finalize(), scan.chain(scan.entries.len()));
    sidecar.append_all(&entry).map_err(|(_, error)| error)?;
    sidecar.sync_data()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests;
