//! A bar for somebody who waits for a large log.

use std::io::{self, IsTerminal as _};
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use withal_log::stats;

/// From how much text on there is a bar.
const LARGE: u64 = 64 << 20;

/// How much of a log's text has been read, if stderr is a terminal.
#[derive(Debug)]
pub(super) struct Progress(Option<ProgressBar>);

impl Progress {
    pub(super) fn of(path: &Path) -> Progress {
        Progress(bar(path))
    }

    pub(super) fn none() -> Progress {
        Progress(None)
    }

    pub(super) fn add(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn bar(path: &Path) -> Option<ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    // That it cannot be read is told by who reads it.
    let length = stats(path).ok()?.text_bytes;
    if length <= LARGE {
        return None;
    }
    let template = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    let style = ProgressStyle::with_template(template).ok()?;
    let target = ProgressDrawTarget::stderr();
    Some(ProgressBar::with_draw_target(Some(length), target).with_style(style))
}
