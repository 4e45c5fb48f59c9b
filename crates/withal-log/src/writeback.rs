//! Writing back early, beside the writing, so that a sync finds little left to wait for.

use crate::sync::JoinHandle;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::log::thread;
use crate::name::Name;
use crate::storage::Storage;

/// A thread that syncs what the writer has written, while it writes on.
///
/// It promises nothing: what is durable is told by the writer's own sync. That hears of a failure,
/// too, as the system tells each open file of it once, and this thread opens its own.
#[derive(Debug)]
pub(crate) struct Writeback {
    due: SyncSender<Name>,
    thread: JoinHandle<()>,
}

impl Writeback {
    /// Starts it; `None` if there can be no more threads, as all works without it.
    pub(crate) fn start(storage: &Arc<dyn Storage>) -> Option<Writeback> {
        let storage = Arc::clone(storage);
        let (due, names) = sync_channel(1);
        let thread = thread("withal-log-sync", move || work(&storage, &names)).ok()?;
        Some(Writeback { due, thread })
    }

    /// Has the text of a segment written back, unless that is asked for already.
    pub(crate) fn begin(&self, name: &Name) {
        drop(self.due.try_send(name.clone()));
    }

    /// Waits until it has ended.
    pub(crate) fn end(self) {
        drop(self.due);
        // If it panicked, no promise was broken.
        drop(self.thread.join());
    }
}

fn work(storage: &Arc<dyn Storage>, due: &Receiver<Name>) {
    while let Ok(name) = due.recv() {
        // What is not there any more, or fails, is the writer's to tell.
        drop(
            storage
                .open(&name.text(), false)
                .and_then(|text| text.sync_data()),
        );
    }
}
