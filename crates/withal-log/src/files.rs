//! Which segments a log has.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::compress::Compressed;
use crate::error::LogError;
use crate::hole::is_damage;
use crate::name::{Name, Part, parse};
use crate::scan::Scan;
use crate::sidecar::SIZE;
use crate::storage::{File, Storage};

/// The segments of a log, in order.
#[derive(Debug, Default)]
pub(crate) struct Files {
    segments: Vec<SegmentFiles>,
    /// Sidecars without a text.
    pub(crate) orphans: Vec<Name>,
}

/// Which files a segment has.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFiles {
    pub(crate) name: Name,
    pub(crate) has_text: bool,
    pub(crate) has_sidecar: bool,
    pub(crate) is_compressed: bool,
}

impl Files {
    pub(crate) fn list(storage: &Arc<dyn Storage>) -> Result<Files, LogError> {
        let cannot = |error| LogError::io(format!("cannot read `{}`", storage.display("")), error);
        let mut found: BTreeMap<Name, SegmentFiles> = BTreeMap::new();
        for file in storage.list().map_err(cannot)? {
            let Some((name, part)) = parse(&file) else {
                continue;
            };
            let files = found.entry(name.clone()).or_insert(SegmentFiles {
                name,
                has_text: false,
                has_sidecar: false,
                is_compressed: false,
            });
            match part {
                Part::Text => files.has_text = true,
                Part::Sidecar => files.has_sidecar = true,
                Part::Compressed => files.is_compressed = true,
            }
        }
        let (segments, orphans) = found
            .into_values()
            .partition(|files: &SegmentFiles| files.has_text || files.is_compressed);
        let orphans: Vec<SegmentFiles> = orphans;
        Ok(Files {
            segments,
            orphans: orphans.into_iter().map(|files| files.name).collect(),
        })
    }

    pub(crate) fn segments(&self) -> &[SegmentFiles] {
        &self.segments
    }

    /// Whether all there are come after `name`: what is removed on purpose goes from the old end.
    pub(crate) fn are_after(&self, name: &Name) -> bool {
        let first = self.segments.first();
        first.is_some_and(|first| *name < first.name)
    }

    /// What a sidecar without a text tells of that, if there was any that is missed.
    pub(crate) fn lost(
        &self,
        storage: &Arc<dyn Storage>,
        orphan: &Name,
    ) -> Result<Option<Lost>, LogError> {
        if self.are_after(orphan) {
            return Ok(None);
        }
        let files = SegmentFiles {
            name: orphan.clone(),
            has_text: false,
            has_sidecar: true,
            is_compressed: false,
        };
        let scan = Scan::new(&files.read_sidecar(storage)?);
        let furthest = scan.furthest().filter(|entry| entry.end > 0);
        Ok(furthest.map(|entry| Lost {
            name: orphan.clone(),
            len: entry.end,
            lines: entry.total_lines,
        }))
    }

    /// The segments whose text is gone; not those that are being made, or removed, meanwhile.
    pub(crate) fn missing(&self, storage: &Arc<dyn Storage>) -> Result<Vec<Lost>, LogError> {
        let mut lost = Vec::new();
        for orphan in &self.orphans {
            lost.extend(self.lost(storage, orphan)?);
        }
        if !lost.is_empty() {
            // One that was being made may have been written when its sidecar was read.
            let later = Files::list(storage)?;
            lost.retain(|lost| later.orphans.contains(&lost.name) && !later.are_after(&lost.name));
        }
        Ok(lost)
    }

    /// The segment that was written last, if it is gone with all its files.
    pub(crate) fn gone(&self, storage: &Arc<dyn Storage>) -> Option<Name> {
        let (name, part) = parse(&storage.pointed("current")?)?;
        let is_later = self.segments.last().is_none_or(|last| last.name < name);
        (part == Part::Text && is_later && !self.orphans.contains(&name)).then_some(name)
    }
}

/// A segment whose text is gone.
#[derive(Clone, Debug)]
pub(crate) struct Lost {
    pub(crate) name: Name,
    /// How many bytes it had at least, and how many lines the log up to there.
    pub(crate) len: u64,
    pub(crate) lines: u64,
}

impl SegmentFiles {
    /// How much of the disk it takes.
    pub(crate) fn disk_size(&self, storage: &Arc<dyn Storage>) -> Result<u64, LogError> {
        let mut size = 0;
        for file in self.names() {
            match storage.open(&file, false).and_then(|file| file.size()) {
                Ok(len) => size += len,
                // It is gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let doing = format!("cannot read `{}`", storage.display(&file));
                    return Err(LogError::io(doing, error));
                }
            }
        }
        Ok(size)
    }

    /// The sidecar last: whoever is killed between them leaves one without a text at the old end,
    /// which is no damage, and not a text whose checksums are gone.
    fn names(&self) -> impl Iterator<Item = String> {
        let names = [
            self.has_text.then(|| self.name.text()),
            self.is_compressed.then(|| self.name.compressed()),
            self.has_sidecar.then(|| self.name.sidecar()),
        ];
        names.into_iter().flatten()
    }

    /// Removes it, durably.
    pub(crate) fn remove(&self, storage: &Arc<dyn Storage>) -> Result<(), LogError> {
        let names: Vec<_> = self.names().collect();
        remove_durably(storage, &names).map_err(|error| {
            let name = storage.display(&self.name.text());
            LogError::io(format!("cannot remove `{name}`"), error)
        })
    }

    /// Its text, compressed or not.
    pub(crate) fn open_text(&self, storage: &Arc<dyn Storage>) -> Result<Box<dyn File>, LogError> {
        let plain = self.name.text();
        let opened = match storage.open(&plain, false) {
            // It may have been compressed since it was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => storage
                .open(&self.name.compressed(), false)
                .and_then(|file| Ok(Box::new(Compressed::open(file)?) as Box<dyn File>)),
            opened => opened,
        };
        opened.map_err(|error| {
            let file = match self.is_compressed {
                true => self.name.compressed(),
                false => plain,
            };
            LogError::io(format!("cannot open `{}`", storage.display(&file)), error)
        })
    }

    /// Where its compressed text is not what was written, if there is no other text.
    pub(crate) fn compressed_damage(
        &self,
        storage: &Arc<dyn Storage>,
    ) -> Result<Vec<(u64, u64)>, LogError> {
        if self.has_text {
            return Ok(Vec::new());
        }
        let file = self.name.compressed();
        let damage = storage.open(&file, false).and_then(Compressed::open);
        let damage = damage.and_then(|compressed| compressed.damage());
        damage.map_err(|error| {
            LogError::io(format!("cannot read `{}`", storage.display(&file)), error)
        })
    }

    /// The file that its text is in.
    pub(crate) fn file(&self) -> String {
        match self.has_text {
            true => self.name.text(),
            false => self.name.compressed(),
        }
    }

    /// Whether its text counts only as far as the sidecar covers it.
    pub(crate) fn is_strict(&self, storage: &Arc<dyn Storage>) -> Result<bool, LogError> {
        let file = self.name.sidecar();
        let mut header = [0; SIZE];
        let read = storage
            .open(&file, false)
            .and_then(|file| file.read_full(&mut header, 0));
        match read {
            Ok(_) => Ok(Scan::new(&header).is_strict()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(LogError::io(
                format!("cannot read `{}`", storage.display(&file)),
                error,
            )),
        }
    }

    /// The whole sidecar; empty if there is none, or the disk cannot read it.
    pub(crate) fn readable_sidecar(&self, storage: &Arc<dyn Storage>) -> Result<Vec<u8>, LogError> {
        match self.read_sidecar(storage) {
            Err(error) if is_unreadable(&error) => Ok(Vec::new()),
            read => read,
        }
    }

    /// The whole sidecar; empty if there is none.
    pub(crate) fn read_sidecar(&self, storage: &Arc<dyn Storage>) -> Result<Vec<u8>, LogError> {
        let file = self.name.sidecar();
        match storage.open(&file, false).and_then(|file| read_all(&*file)) {
            Ok(bytes) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(LogError::io(
                format!("cannot read `{}`", storage.display(&file)),
                error,
            )),
        }
    }
}

/// Whether the disk cannot read what was to be read.
pub(crate) fn is_unreadable(error: &LogError) -> bool {
    error.io_error().is_some_and(is_damage)
}

/// Removes files, durably.
///
/// A crash may bring them back until their names are gone for good, and ext4 with `data=writeback`
/// would have written over them by then: not while they are open.
pub(crate) fn remove_durably(storage: &Arc<dyn Storage>, files: &[String]) -> io::Result<()> {
    let held: Vec<_> = files.iter().map(|file| storage.open(file, false)).collect();
    let removed = files.iter().try_for_each(|file| storage.remove(file));
    let removed = removed.and_then(|()| storage.sync());
    drop(held);
    removed
}

pub(crate) fn read_all(file: &dyn File) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let read = file.read_full(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
