//! What a service prints.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use regex::bytes::Regex;
use tokio::sync::Notify;

use crate::message::shown;
use crate::run::gates::Secrets;
use crate::run::gates::source::{EndGuard, Source};

const BLOCK: usize = 64 * 1024;

/// A line that is longer is printed in parts.
const MOST_KEPT: usize = 64 * 1024;

/// Where it goes, line by line.
#[derive(Debug)]
pub(super) struct Output {
    /// `None` is withal's stderr, which may be closed or full and is no reason to fail.
    file: Option<File>,
    /// Before each line on stderr.
    prefix: String,
    /// What it is not to have.
    secrets: Secrets,
}

impl Output {
    /// `path`, or withal's stderr.
    pub(super) fn open(
        name: &str,
        path: Option<&Path>,
        secrets: Secrets,
    ) -> anyhow::Result<Output> {
        let file = path.map(|path| {
            let mut options = OpenOptions::new();
            let file = options.append(true).create(true).open(path);
            file.with_context(|| format!("output: cannot open `{}`", shown(path)))
        });
        Ok(Output {
            file: file.transpose()?,
            prefix: format!("{name} | "),
            secrets,
        })
    }

    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        let lines = self.secrets.mask(lines);
        let Some(file) = &mut self.file else {
            let mut text = Vec::with_capacity(lines.len() + self.prefix.len());
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                text.extend_from_slice(self.prefix.as_bytes());
                text.extend_from_slice(line);
            }
            let _ = io::stderr().write_all(&text);
            return Ok(());
        };
        file.write_all(&lines)
    }
}

/// The thread that prints.
#[derive(Debug)]
pub(super) struct Printing {
    /// Dropped when nothing more will come.
    guard: EndGuard,
    thread: JoinHandle<io::Result<()>>,
    seen: Arc<Notify>,
}

impl Printing {
    /// Prints what comes from `source`, and notifies when a line matches `awaited`.
    pub(super) fn start(
        source: Source,
        guard: EndGuard,
        output: Output,
        awaited: Option<Regex>,
    ) -> anyhow::Result<Printing> {
        let seen = Arc::<Notify>::default();
        let told = seen.clone();
        let thread = thread::Builder::new().name("service".to_owned());
        let thread = thread.spawn(move || print(source, output, awaited, &told));
        Ok(Printing {
            guard,
            thread: thread.context("cannot start a thread")?,
            seen,
        })
    }

    /// Waits until a line has matched.
    pub(super) async fn seen(&self) {
        self.seen.notified().await;
    }

    /// Waits until all is printed, blocking.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        drop(self.guard);
        let printed = self.thread.join();
        let printed =
            printed.map_err(|_panic| anyhow::anyhow!("the thread that prints panicked"))?;
        printed.context("output is not whole")
    }
}

/// Until the pipe's end. If it cannot be printed, it is read all the same, or the service would
/// wait for ever.
fn print(
    mut source: Source,
    mut output: Output,
    mut awaited: Option<Regex>,
    seen: &Notify,
) -> io::Result<()> {
    let mut printed = Ok(());
    let mut kept: Vec<u8> = Vec::new();
    let secrets = output.secrets.clone();
    let mut put = |lines: &[u8]| {
        if printed.is_ok() {
            printed = output.put(lines);
        }
    };
    loop {
        let is_end = source.read(&mut kept, BLOCK)? == 0;
        if is_end && kept.last().is_some_and(|last| *last != b'\n') {
            kept.push(b'\n');
        } else if kept.len() >= MOST_KEPT
            && memchr::memchr(b'\n', &kept).is_none()
            && let end @ 1.. = secrets.cut(&kept)
        {
            kept.insert(end, b'\n');
        }
        let whole = memchr::memrchr(b'\n', &kept).map_or(0, |newline| newline + 1);
        let (lines, _) = kept.split_at(whole);
        let mut each = lines.split(|byte| *byte == b'\n');
        if awaited
            .as_ref()
            .is_some_and(|awaited| each.any(|line| awaited.is_match(line)))
        {
            awaited = None;
            seen.notify_one();
        }
        if !lines.is_empty() {
            put(lines);
        }
        let _lines = kept.drain(..whole);
        drop(_lines);
        if is_end {
            return printed;
        }
    }
}
