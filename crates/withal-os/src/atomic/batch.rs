//! Many files at the price of one sync.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

use withal_core::{ContextManager, ExitCase};

use crate::atomic::commit;
use crate::atomic::error::{WriteError, WriteErrorKind};
use crate::atomic::file::AtomicFile;
use crate::atomic::writer::AtomicWriter;
use crate::directory::{Identity, Name};
use crate::shown::shown;

/// Replaces many files, each of them whole or not at all, with one sync for all that lie on the
/// same filesystem.
///
/// It is faster than to commit them one by one, and no transaction: after a power cut, or an error,
/// some may be the new ones and some the old ones. For all or nothing, replace a whole directory:
/// [`AtomicDir`](crate::AtomicDir).
///
/// Where one file keeps its old one, no other of the batch may be written or keep its own.
///
/// As a manager it commits if the block succeeds, and aborts otherwise. In async code, enter
/// `withal_os::tokio::blocking(AtomicBatch::new())`.
///
/// ```
/// use std::io::Write;
/// use withal_os::{AtomicBatch, AtomicWriter};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = withal_os::TempDir::new().open()?;
/// let mut batch = AtomicBatch::new();
/// for number in 0..100 {
///     let path = directory.path().join(number.to_string());
///     batch.open(AtomicWriter::create(path))?.write_all(b"new")?;
/// }
/// batch.commit()?; // dropped without it, all files are as they were
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use = "the targets are only replaced by `commit`"]
pub struct AtomicBatch {
    files: Vec<AtomicFile>,
    names: Names,
}

/// What the files of a batch replace: no backup is to destroy what another file has written.
#[derive(Debug, Default)]
struct Names {
    /// The targets, and the symbolic links by which they are reached.
    targets: HashSet<Name>,
    /// The backups, and whose they are.
    backups: HashMap<Name, PathBuf>,
}

/// Some files of a batch were not replaced, or not for certain.
#[derive(Debug)]
pub struct BatchError {
    failures: Vec<WriteError>,
    of: usize,
}

impl AtomicBatch {
    /// A batch without files.
    pub fn new() -> AtomicBatch {
        AtomicBatch::default()
    }

    /// Opens a writer as a part of the batch.
    ///
    /// # Errors
    ///
    /// Those of [`AtomicWriter::open`]; it would be written where another file of the batch keeps its
    /// old one, or keep its own where another is written or kept.
    pub fn open(&mut self, writer: AtomicWriter) -> Result<&mut AtomicFile, WriteError> {
        let file = writer.open()?;
        self.names.add(&file)?;
        Ok(self.files.push_mut(file))
    }

    /// How many files it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Puts all new contents in their targets' places.
    ///
    /// A file that fails does not keep the others. If a filesystem cannot be synced, none of the
    /// files on it are replaced.
    ///
    /// # Errors
    ///
    /// What failed, file by file; [`WriteError::is_committed`] says of each on which side of its
    /// rename.
    pub fn commit(self) -> Result<(), BatchError> {
        let of = self.files.len();
        let mut failures = Vec::new();
        let mut prepared = Vec::with_capacity(of);
        for mut file in self.files {
            match commit::prepare(&mut file) {
                Ok(ready) => prepared.push((file, ready)),
                Err(error) => failures.push(error),
            }
        }
        let prepared = sync_filesystems(prepared, &mut failures);
        let mut placed: Vec<AtomicFile> = Vec::with_capacity(prepared.len());
        for (mut file, ready) in prepared {
            match commit::place(&mut file, ready) {
                Ok(()) => placed.push(file),
                Err(error) => failures.push(error),
            }
        }
        sync_directories(&placed, &mut failures);
        BatchError::of_all(failures, of)
    }

    /// Removes all new contents; the targets are as they were.
    ///
    /// # Errors
    ///
    /// The temporary files that cannot be unlinked; see [`AtomicFile::abort`].
    pub fn abort(self) -> Result<(), BatchError> {
        let of = self.files.len();
        let aborted = self.files.into_iter().map(AtomicFile::abort);
        BatchError::of_all(aborted.filter_map(Result::err).collect(), of)
    }
}

impl Names {
    /// Adds those of a file, unless they are others' already.
    fn add(&mut self, file: &AtomicFile) -> Result<(), WriteError> {
        let target = &file.target;
        let mut names = target.links.clone();
        names.push(target.own_name()?);
        if let Some(other) = names.iter().find_map(|name| self.backups.get(name)) {
            let detail = format!(
                "another file of the batch, `{}`, keeps its old one there; choose another name \
                 for that",
                shown(other)
            );
            let kind = WriteErrorKind::NotCommitted;
            return Err(WriteError::new(&target.given, kind, detail));
        }
        if let Some(place) = &file.backup {
            let name = place.own_name(target)?;
            if self.targets.contains(&name) {
                let reason = "another file of the batch is written there; choose another name";
                return Err(place.refused(target, reason));
            }
            if self.backups.contains_key(&name) {
                let reason = "another file of the batch keeps its old one there; choose another \
                              name";
                return Err(place.refused(target, reason));
            }
            let _none = self.backups.insert(name, target.given.clone());
        }
        self.targets.extend(names);
        Ok(())
    }
}

impl ContextManager for AtomicBatch {
    type Resource = AtomicBatch;
    type Error = BatchError;

    fn enter(self) -> Result<AtomicBatch, BatchError> {
        Ok(self)
    }

    /// Commits if all went well, aborts otherwise.
    fn exit(batch: AtomicBatch, case: ExitCase) -> Result<(), BatchError> {
        if case.is_succeeded() {
            batch.commit()
        } else {
            batch.abort()
        }
    }
}

type Prepared = Vec<(AtomicFile, commit::Ready)>;

/// Syncs each filesystem that files lie on whose content is to be synced, once; gives the files whose contents are safe.
fn sync_filesystems(files: Prepared, failures: &mut Vec<WriteError>) -> Prepared {
    let mut synced: Vec<(u64, Result<(), rustix::io::Errno>)> = Vec::new();
    let mut safe = Vec::with_capacity(files.len());
    for (file, ready) in files {
        if !file.options.durability.syncs_content() {
            safe.push((file, ready));
            continue;
        }
        let device = ready.device();
        let known = synced.iter().find(|(known, _)| *known == device);
        let result = match known {
            Some((_, result)) => *result,
            None => {
                // What failed once is not tried again for the others.
                let result = rustix::fs::syncfs(&file.file);
                synced.push((device, result));
                result
            }
        };
        match result {
            Ok(()) => safe.push((file, ready)),
            Err(error) => {
                let detail = "cannot sync the filesystem its temporary file is on";
                failures.push(file.target.failed(detail, error.into()));
            }
        }
    }
    safe
}

/// Syncs each directory that durable files lie in, once.
fn sync_directories(files: &[AtomicFile], failures: &mut Vec<WriteError>) {
    let mut synced: Vec<(Identity, bool)> = Vec::new();
    let durable = |file: &&AtomicFile| file.options.durability.syncs_names();
    for file in files.iter().filter(durable) {
        let identity = Identity::of_fd(&file.target.parent).ok();
        let known = synced.iter().find(|(known, _)| Some(*known) == identity);
        if known.is_some_and(|(_, is_synced)| *is_synced) {
            continue;
        }
        let result = commit::sync_directory(&file.target);
        if let Some(identity) = identity {
            synced.push((identity, result.is_ok()));
        }
        failures.extend(result.err());
    }
}

impl BatchError {
    fn of_all(failures: Vec<WriteError>, of: usize) -> Result<(), BatchError> {
        match failures.is_empty() {
            true => Ok(()),
            false => Err(BatchError { failures, of }),
        }
    }

    /// What failed, file by file.
    #[must_use]
    pub fn failures(&self) -> &[WriteError] {
        &self.failures
    }

    /// What became of the file at `path`, if it failed.
    #[must_use]
    pub fn of(&self, path: impl AsRef<Path>) -> Option<&WriteError> {
        let path = path.as_ref();
        self.failures.iter().find(|failure| failure.path() == path)
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} files failed: ", self.failures.len(), self.of)?;
        for (index, failure) in self.failures.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{failure}")?;
            if let Some(cause) = failure.io_error() {
                write!(f, ": {cause}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for BatchError {}
