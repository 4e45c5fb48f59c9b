//! `--ack`: how many records are durable, as they become so.

use std::io::{self, Write as _};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use withal_log::{Log, LogErrorKind};

use crate::message::Messages;

/// A thread that waits for records and tells of them.
#[derive(Debug)]
pub(super) struct Acks {
    sender: Sender<Submitted>,
    thread: JoinHandle<()>,
}

/// How many records had been submitted, and which line was the last one of them.
#[derive(Clone, Copy, Debug)]
struct Submitted {
    line: u64,
    records: u64,
}

impl Acks {
    pub(super) fn new(log: &Log, messages: Messages) -> io::Result<Acks> {
        let (sender, submitted) = channel();
        let log = log.clone();
        let thread = std::thread::Builder::new().name("withal-acks".to_owned());
        let thread = thread.spawn(move || tell(&log, &submitted, messages))?;
        Ok(Acks { sender, thread })
    }

    pub(super) fn submitted(&self, line: u64, records: u64) {
        // Nobody is told once the log has failed, which is told elsewhere.
        let _ = self.sender.send(Submitted { line, records });
    }

    /// Waits until all is told; the log must be closed by then.
    pub(super) fn finish(self) {
        drop(self.sender);
        let _ = self.thread.join();
    }
}

fn tell(log: &Log, submitted: &Receiver<Submitted>, messages: Messages) {
    let mut told = 0;
    let mut is_read = true;
    for Submitted { line, records } in submitted {
        match log.wait_durable(line) {
            Ok(()) => {}
            // Others come after them, if the policy is to drop; if it is to fail, none do.
            Err(error) if error.kind() == LogErrorKind::Full => continue,
            Err(_) => return,
        }
        // Lines that are dropped later are counted, too: it may be fewer than are durable, and
        // never more.
        let durable = records.saturating_sub(log.dropped());
        if durable <= told || !is_read {
            continue;
        }
        told = durable;
        let mut stdout = io::stdout().lock();
        let line = format!("{told}\n");
        let written = stdout.write_all(line.as_bytes());
        if let Err(error) = written.and_then(|()| stdout.flush()) {
            messages.warn(format_args!(
                "stdout: {error}: nothing is acknowledged any more, logging goes on"
            ));
            is_read = false;
        }
    }
}
