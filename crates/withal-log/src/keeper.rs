//! What is done with a segment once it has ended, beside the writing.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use serde_json::json;

use crate::compress::compress;
use crate::error::LogError;
use crate::events;
use crate::files::{Files, SegmentFiles};
use crate::name::Name;
use crate::options::Settings;
use crate::retention;
use crate::sidecar::{self, SIZE};
use crate::storage::Storage;

/// Who does it.
#[derive(Debug)]
pub(crate) enum Keeper {
    /// A thread of its own.
    Thread(Sender<Name>),
    /// Whoever writes: so a test knows in which order things happen.
    Inline,
}

impl Keeper {
    pub(crate) fn ended(&self, storage: &Arc<dyn Storage>, settings: &Settings, name: &Name) {
        match self {
            // It is gone only if it panicked, which closing the log says.
            Keeper::Thread(thread) => drop(thread.send(name.clone())),
            Keeper::Inline => keep(storage, settings, name),
        }
    }
}

/// Looks after ended segments until the log is closed.
pub(crate) fn work(storage: &Arc<dyn Storage>, settings: &Settings, ended: &Receiver<Name>) {
    while let Ok(name) = ended.recv() {
        keep(storage, settings, &name);
    }
}

fn keep(storage: &Arc<dyn Storage>, settings: &Settings, name: &Name) {
    if let Some(level) = settings.compress {
        if let Err(error) = add_hash(storage, name) {
            let file = storage.display(&name.sidecar());
            let error = LogError::io(format!("cannot add the hash to `{file}`"), error);
            let facts = json!({ "segment": name.to_string() });
            events::warn(storage, (settings.clock)(), "no hash", &facts, &error);
        }
        let files = SegmentFiles {
            name: name.clone(),
            has_text: true,
            has_sidecar: true,
            is_compressed: false,
        };
        if let Err(error) = compress(storage, &files, level) {
            let file = storage.display(&name.text());
            let error = LogError::io(format!("cannot compress `{file}`"), error);
            let facts = json!({ "segment": name.to_string() });
            events::warn(
                storage,
                (settings.clock)(),
                "not compressed",
                &facts,
                &error,
            );
        }
    }
    retain(storage, settings);
}

/// Goes on with what the last writer's keeper had no time for.
pub(crate) fn catch_up(
    keeper: &Keeper,
    storage: &Arc<dyn Storage>,
    settings: &Settings,
) -> Result<(), LogError> {
    let cannot = |file: &str, error| {
        LogError::io(format!("cannot remove `{}`", storage.display(file)), error)
    };
    let listed = storage.list().map_err(|error| cannot("", error))?;
    for file in listed {
        if file.starts_with('.') && file.ends_with(".log.zst.new") {
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
    for segment in ended {
        let text = segment.name.text();
        if segment.has_text && segment.is_compressed {
            // The compressed file was durable before it had its name.
            storage
                .remove(&text)
                .map_err(|error| cannot(&text, error))?;
        } else if segment.has_text && settings.compress.is_some() {
            keeper.ended(storage, settings, &segment.name);
        }
    }
    retain(storage, settings);
    Ok(())
}

/// Removes what is not to be kept.
fn retain(storage: &Arc<dyn Storage>, settings: &Settings) {
    let now = (settings.clock)();
    if let Err(error) = retention::apply(storage, settings, now) {
        events::warn(storage, now, "retention failed", &json!({}), &error);
    }
}

/// Hashes a sealed segment, for its text to be known when it is in another form: that costs more
/// than to write it, so text that stays text has its checksums only.
fn add_hash(storage: &Arc<dyn Storage>, name: &Name) -> io::Result<()> {
    let text = storage.open(&name.text(), false)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    loop {
        let read = text.read_full(&mut buffer, at)?;
        let (piece, _) = buffer.split_at(read);
        if piece.is_empty() {
            break;
        }
        let _ = hasher.update(piece);
        at += read as u64;
    }
    let sidecar = storage.open(&name.sidecar(), true)?;
    let size = sidecar.size()?;
    let mut last = [0; SIZE];
    let read = sidecar.read_full(&mut last, size.saturating_sub(SIZE as u64))?;
    if read < SIZE || !sidecar::flags(&last).has(sidecar::Flags::SEAL) {
        return Ok(());
    }
    let entry = sidecar::encode_hash(&hasher.finalize(), sidecar::chain(&last));
    sidecar.append_all(&entry).map_err(|(_, error)| error)?;
    sidecar.sync_data()
}
