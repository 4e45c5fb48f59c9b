//! From the command's pipe to withal's own stream and the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use withal_log::LogError;

use super::lines::Lines;
use super::pass::{Pass, Passed};
use crate::message::Messages;
use crate::run::gates::Ties;
use crate::run::gates::source::Source;

/// How much of what a stream does not take is kept for it at the end.
const MOST_PENDING: usize = 4 << 20;

/// How long a stream that nobody reads is waited for at the end: less than undoing may take.
const PATIENCE: Duration = Duration::from_secs(50);

/// The same if withal was asked to stop.
const HURRIED_PATIENCE: Duration = Duration::from_secs(1);

/// Reads blocks; each goes to the stream first, as it is, and then to the log.
#[derive(Debug)]
pub(super) struct Pump {
    source: Source,
    /// Until nobody reads it any more.
    pass: Option<Pass>,
    /// What the stream is called.
    name: &'static str,
    /// Until it fails.
    log: Option<Lines>,
    /// How much is read at a time: a file of the log ends between two pieces.
    piece: usize,
    failures: Failures,
    is_hurried: Arc<AtomicBool>,
    messages: Messages,
}

/// What went wrong; the command was not to suffer from it.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) log: Option<LogError>,
    pub(super) pass: Option<io::Error>,
    /// Bytes that the stream did not take.
    pub(super) not_passed: usize,
}

impl Pump {
    pub(super) fn new(
        source: Source,
        pass: Option<Pass>,
        name: &'static str,
        log: Lines,
        piece: usize,
        ties: &Ties,
    ) -> Pump {
        Pump {
            source,
            pass,
            name,
            log: Some(log),
            piece,
            failures: Failures::default(),
            is_hurried: ties.is_hurried.clone(),
            messages: ties.messages,
        }
    }

    /// Pumps until all writers have gone, or it is told to end.
    ///
    /// From then on the log comes first: it gets all there is, and is closed, before a stream that
    /// nobody reads is waited for.
    pub(super) fn run(mut self) -> Failures {
        // The beginning of a line, and what is read behind it.
        let mut buffer = Vec::new();
        let mut pending = Vec::new();
        loop {
            let kept = buffer.len();
            match self.source.read(&mut buffer, self.piece) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    self.messages
                        .error(format_args!("log: cannot read the command's pipe: {error}"));
                    break;
                }
            }
            let (_, block) = buffer.split_at(kept);
            let waits = self.source.is_ending() && self.pass.is_some();
            let passed = match waits {
                true => 0,
                false => self.pass_on(block, None),
            };
            let (_, rest) = block.split_at(passed);
            if !rest.is_empty() {
                self.source.begin_to_end();
                let room = MOST_PENDING.saturating_sub(pending.len());
                let (taken, lost) = rest.split_at(rest.len().min(room));
                pending.extend_from_slice(taken);
                self.failures.not_passed += lost.len();
            }
            self.log(&mut buffer, kept);
        }
        if let Some(log) = self.log.take()
            && let Err(error) = log.close(&buffer)
        {
            self.failures.log = Some(error);
        }
        let patience = match self.is_hurried.load(Ordering::Relaxed) {
            true => HURRIED_PATIENCE,
            false => PATIENCE,
        };
        let passed = self.pass_on(&pending, Some(Instant::now() + patience));
        self.failures.not_passed += pending.len() - passed;
        self.failures
    }

    /// Gives how much is done with; all of it, if there is nobody to pass it on to.
    fn pass_on(&mut self, bytes: &[u8], until: Option<Instant>) -> usize {
        let Some(pass) = &self.pass else {
            return bytes.len();
        };
        let told = match until {
            None => Some(self.source.told()),
            Some(_) => None,
        };
        match pass.write(bytes, told, until) {
            Ok(Passed::All) => return bytes.len(),
            Ok(Passed::Interrupted(passed)) => return passed,
            Ok(Passed::Closed) => self.messages.step(format_args!(
                "nobody reads {} any more, logging goes on",
                self.name
            )),
            Err(error) => {
                self.messages.warn(format_args!(
                    "{}: {error}: nothing is passed on any more, logging goes on",
                    self.name
                ));
                self.failures.pass = Some(error);
            }
        }
        self.pass = None;
        bytes.len()
    }

    /// Gives the log what it takes of `buffer`, of which no line ends before `searched`.
    fn log(&mut self, buffer: &mut Vec<u8>, searched: usize) {
        let Some(log) = &mut self.log else {
            buffer.clear();
            return;
        };
        if let Err(error) = log.take(buffer, searched) {
            self.messages.warn(format_args!(
                "log: {error}: nothing is logged any more, the command goes on"
            ));
            self.failures.log = Some(error);
            buffer.clear();
            // It fails of what has been told.
            let _known = self.log.take().map(|log| log.close(&[]));
        }
    }
}
