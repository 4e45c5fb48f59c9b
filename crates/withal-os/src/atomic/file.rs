//! The open writer.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FallocateFlags, FileType};
use rustix::io::Errno;

use crate::atomic::backup::Place;
use crate::atomic::commit;
use crate::atomic::error::WriteError;
use crate::atomic::options::Options;
use crate::atomic::stale;
use crate::atomic::target::Target;
use crate::atomic::temporary;
use crate::report;
use crate::shown::shown;
use crate::writeback::start_writeback;

/// How much is written at once, and before the disk begins with it.
const PIECE: usize = 1024 * 1024;

/// The new content of a file, on its way: what an [`AtomicWriter`](crate::AtomicWriter) lends.
///
/// It writes to a temporary file beside the target. [`commit`](AtomicFile::commit) puts that in the
/// target's place; dropping it, or [`abort`](AtomicFile::abort), removes it. Writes are not
/// buffered: wrap `&mut file` in a [`BufWriter`](io::BufWriter) for many small ones; a large one is
/// taken a MiB at a time, so that the disk can begin with it. A write that failed is remembered, and
/// the commit then fails too, even if the error was swallowed on its way (as `BufWriter` does when it
/// is dropped).
#[must_use = "the target is only replaced by `commit`; dropping the writer discards what was written"]
pub struct AtomicFile {
    pub(crate) target: Target,
    pub(crate) options: Options,
    /// Where the old file is to be kept, if it is.
    pub(crate) backup: Option<Place>,
    /// The temporary's name, while it has one that is ours to remove.
    pub(crate) temporary: Option<OsString>,
    pub(crate) file: File,
    /// The file that was replaced, the target or its backup, held until the new name is durable.
    ///
    /// Until then a power loss may bring it back, and ext4 with `data=writeback` may have written
    /// something else to where it lay by then: not while it is open.
    pub(crate) replaced: Option<OwnedFd>,
    /// How long the file must be, while only [`Write`] has touched it.
    pub(crate) written: Option<u64>,
    /// Up to where the disk was told to begin.
    started: u64,
    /// The first write that failed.
    pub(crate) failed: Option<Failed>,
}

/// A write that failed, as much as is needed to say so again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed {
    kind: io::ErrorKind,
    code: Option<i32>,
}

impl Failed {
    pub(crate) fn to_error(self) -> io::Error {
        match self.code {
            Some(code) => io::Error::from_raw_os_error(code),
            None => self.kind.into(),
        }
    }
}

impl AtomicFile {
    pub(crate) fn open(path: &Path, options: Options) -> Result<AtomicFile, WriteError> {
        let target = Target::resolve(path, options.symlinks)?;
        target.check_found(options.no_clobber)?;
        let backup = options.backup.as_ref();
        let backup = backup
            .map(|backup| Place::find(&target, backup))
            .transpose()?;
        stale::sweep(&target.parent, FileType::RegularFile);
        let (temporary, file) =
            temporary::create_file(&target.parent, &target.name).map_err(|error| {
                let directory = shown(target.parent.path());
                let detail = format!(
                    "cannot make a temporary file in `{directory}`, where its replacement is \
                     written"
                );
                target.failed(detail, error)
            })?;
        let file = AtomicFile {
            target,
            options,
            backup,
            temporary,
            file,
            replaced: None,
            written: Some(0),
            started: 0,
            failed: None,
        };
        file.reserve()?;
        Ok(file)
    }

    /// Has the filesystem set aside what it was told will be written.
    fn reserve(&self) -> Result<(), WriteError> {
        let Some(size) = self.options.size.filter(|size| *size > 0) else {
            return Ok(());
        };
        let reserved = rustix::io::retry_on_intr(|| {
            rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size)
        });
        match reserved {
            // A filesystem that cannot reserve says that it is full when it is.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => {
                let detail = format!("cannot reserve {size} bytes for its temporary file");
                Err(self.target.failed(detail, error.into()))
            }
        }
    }

    /// The target, as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.target.given
    }

    /// The temporary file, for what only a [`File`] can do: to read back, to truncate, to map, to
    /// hand a clone to a child process as its output.
    ///
    /// What happens to it beside [`Write`] is not watched: check it for errors yourself. Its mode
    /// is set by the commit, after which nobody may write to it any more; and it may not have a
    /// name before.
    pub fn file(&mut self) -> &File {
        self.written = None;
        &self.file
    }

    /// Puts the new content in the target's place.
    ///
    /// # Errors
    ///
    /// [`WriteError::is_committed`] says on which side of the rename it failed. Before it, the
    /// target is as it was and the temporary file is gone: an earlier write failed, the attributes
    /// cannot be set, the content cannot be synced, the backup cannot be made, the target exists
    /// or has become something else. After it, [`NotDurable`](crate::WriteErrorKind::NotDurable). A failed sync is
    /// never tried again: the kernel may have dropped what it could not write.
    pub fn commit(mut self) -> Result<(), WriteError> {
        let committed = commit::commit(&mut self);
        if committed.is_err() {
            // The commit's own error is the one to hear; a temporary left behind is swept later.
            let _ = self.remove();
        }
        committed
    }

    /// Removes the new content; the target is as it was.
    ///
    /// # Errors
    ///
    /// The temporary file cannot be unlinked. It is swept by the next writer that can.
    pub fn abort(mut self) -> Result<(), WriteError> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), WriteError> {
        let Some(name) = self.temporary.take() else {
            return Ok(()); // the kernel frees what has no name
        };
        self.target.parent.unlink(&name).map_err(|error| {
            let path = self.target.parent.path().join(&name);
            let detail = format!("cannot remove its temporary file `{}`", shown(&path));
            self.target.failed(detail, error)
        })
    }

    /// Has the disk begin with what was written, so that the sync finds little left.
    fn start_writeback(&mut self) {
        let Some(written) = self.written else {
            return; // nobody knows where it is
        };
        if self.options.durability.syncs_content() && written - self.started >= PIECE as u64 {
            start_writeback(&self.file, self.started, written - self.started);
            self.started = written;
        }
    }

    /// Counts what was written, or remembers the failure and names the file in it.
    fn watch(&mut self, result: io::Result<usize>) -> io::Result<usize> {
        match result {
            Ok(length) => {
                self.written = self.written.map(|written| written + length as u64);
                self.start_writeback();
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let _first = self.failed.get_or_insert(Failed {
                    kind: error.kind(),
                    code: error.raw_os_error(),
                });
                let detail = "cannot write its temporary file";
                Err(self.target.failed(detail, error).into())
            }
        }
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (piece, _) = bytes.split_at(bytes.len().min(PIECE));
        let result = self.file.write(piece);
        self.watch(result)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let result = self.file.write_vectored(slices);
        self.watch(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for AtomicFile {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.written = None;
        self.file.seek(position).map_err(|error| {
            let detail = "cannot seek in its temporary file";
            self.target.failed(detail, error).into()
        })
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            report::teardown_failed("AtomicFile", error);
        }
    }
}

impl fmt::Debug for AtomicFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AtomicFile")
            .field("path", &self.target.given)
            .field("temporary", &self.temporary)
            .finish_non_exhaustive()
    }
}
