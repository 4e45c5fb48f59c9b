//! Syncing beside the writing, so that the writer need not wait for the disk.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::log::spawn;
use crate::name::Name;
use crate::storage::{File, Storage};
use crate::sync::JoinHandle;

/// How far a segment had come when a sync of it began.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    pub(crate) segment: Name,
    /// How many bytes its text had, and how many lines the log.
    pub(crate) len: u64,
    pub(crate) lines: u64,
    /// Whether that counts only as far as the sidecar covers it.
    pub(crate) is_strict: bool,
}

/// What became of a sync: if it succeeded, all up to the mark is durable.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) mark: Mark,
    pub(crate) result: io::Result<()>,
}

/// Syncs what the writer has written, one at a time, while it writes on.
///
/// It opens the text itself: the system tells each open file once of a failed write, so it hears
/// of all of them, and takes none from the writer's own sync.
#[derive(Debug)]
pub(crate) struct Writeback {
    by: By,
    in_flight: bool,
}

#[derive(Debug)]
enum By {
    Thread {
        due: SyncSender<Mark>,
        receipts: Receiver<Receipt>,
        thread: JoinHandle<()>,
    },
    /// Whoever writes: so a test knows in which order things happen.
    Inline {
        syncer: Syncer,
        receipt: Option<Receipt>,
    },
}

impl Writeback {
    /// Starts its thread; `None` if there can be no more threads, as all works without it.
    pub(crate) fn start(storage: &Arc<dyn Storage>) -> Option<Writeback> {
        let mut syncer = Syncer::new(storage);
        let (due, marks) = sync_channel(1);
        let (done, receipts) = sync_channel(1);
        let work = move || {
            while let Ok(mark) = marks.recv()
                && done.send(syncer.sync(mark)).is_ok()
            {}
        };
        let thread = spawn("withal-log-sync", work).ok()?;
        let by = By::Thread {
            due,
            receipts,
            thread,
        };
        Some(Writeback {
            by,
            in_flight: false,
        })
    }

    pub(crate) fn inline(storage: &Arc<dyn Storage>) -> Writeback {
        let by = By::Inline {
            syncer: Syncer::new(storage),
            receipt: None,
        };
        Writeback {
            by,
            in_flight: false,
        }
    }

    /// Whether a sync runs.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight
    }

    /// Begins a sync, if none runs.
    pub(crate) fn begin(&mut self, mark: Mark) {
        if self.in_flight {
            return;
        }
        self.in_flight = match &mut self.by {
            // It is gone only if it panicked: then the writer syncs.
            By::Thread { due, .. } => due.try_send(mark).is_ok(),
            By::Inline { syncer, receipt } => {
                *receipt = Some(syncer.sync(mark));
                true
            }
        };
    }

    /// What became of the sync that runs; nothing if there is none, or if it has not ended and
    /// `wait` does not ask to wait for that.
    pub(crate) fn receipt(&mut self, wait: bool) -> Option<Receipt> {
        if !self.in_flight {
            return None;
        }
        let (receipt, is_gone) = match &mut self.by {
            By::Inline { receipt, .. } => (receipt.take(), true),
            By::Thread { receipts, .. } if wait => (receipts.recv().ok(), true),
            By::Thread { receipts, .. } => match receipts.try_recv() {
                Ok(receipt) => (Some(receipt), true),
                Err(error) => (None, error == std::sync::mpsc::TryRecvError::Disconnected),
            },
        };
        self.in_flight = !is_gone;
        receipt
    }

    /// Waits until it has ended.
    pub(crate) fn end(self) {
        if let By::Thread { due, thread, .. } = self.by {
            drop(due);
            // If it panicked, no promise was broken.
            drop(thread.join());
        }
    }
}

/// Syncs segments, the last of which it keeps open: its text, and its sidecar if it is strict.
#[derive(Debug)]
struct Syncer {
    storage: Arc<dyn Storage>,
    open: Option<(Name, Vec<Box<dyn File>>)>,
}

impl Syncer {
    fn new(storage: &Arc<dyn Storage>) -> Syncer {
        Syncer {
            storage: Arc::clone(storage),
            open: None,
        }
    }

    fn sync(&mut self, mark: Mark) -> Receipt {
        let files = self.open(&mark);
        let result = files.and_then(|files| files.iter().try_for_each(|file| file.sync_data()));
        Receipt { mark, result }
    }

    fn open(&mut self, mark: &Mark) -> io::Result<&[Box<dyn File>]> {
        let name = &mark.segment;
        let files = match self.open.take() {
            Some((open, files)) if open == *name => files,
            _ => {
                let sidecar = mark.is_strict.then(|| name.sidecar());
                let names = [name.text()].into_iter().chain(sidecar);
                let files = names.map(|file| self.storage.open(&file, false));
                files.collect::<io::Result<_>>()?
            }
        };
        let (_, files) = self.open.insert((name.clone(), files));
        Ok(files)
    }
}
