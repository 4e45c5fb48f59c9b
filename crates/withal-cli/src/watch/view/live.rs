//! The chart on a terminal, and its keys.

use std::os::fd::OwnedFd;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use super::super::session::{Ending, Picture, Turn};
use super::View;
use super::chart::{self, Chart};
use super::screen::Screen;

/// The keyboard.
pub(in super::super) type Keys = AsyncFd<OwnedFd>;

/// Keys with Ctrl, as a terminal in raw mode sends them.
const CTRL_C: u8 = 0x03;
const CTRL_Z: u8 = 0x1a;
const ESCAPE: u8 = 0x1b;

/// What stays of the chart while the terminal is somebody else's.
#[derive(Debug)]
pub(in super::super) struct Live {
    chart: Chart,
    /// What is shown instead of the newest sample.
    paused: Option<Box<Picture>>,
}

/// The chart on its screen.
pub(in super::super) struct OnScreen<'a> {
    live: &'a mut Live,
    screen: &'a mut Screen,
}

impl Live {
    pub(super) fn new() -> Live {
        // https://no-color.org
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Live {
            chart: Chart::new(!no_color),
            paused: None,
        }
    }

    pub(in super::super) fn on<'a>(&'a mut self, screen: &'a mut Screen) -> OnScreen<'a> {
        OnScreen { live: self, screen }
    }
}

impl OnScreen<'_> {
    fn draw(&mut self, newest: &Picture) -> anyhow::Result<()> {
        let Live { chart, paused } = &self.live;
        let picture = paused.as_deref().unwrap_or(newest);
        let drawn = self.screen.draw(|frame| {
            chart::draw(frame, picture, chart, paused.is_some());
        });
        let _ = drawn.context("cannot write to the terminal")?;
        Ok(())
    }

    fn key(&mut self, key: u8, newest: &Picture) -> Turn {
        match key {
            b'q' | CTRL_C => return Turn::End(Ending::Quit),
            CTRL_Z => return Turn::Suspend,
            b'p' => {
                let paused = self.live.paused.take();
                self.live.paused = paused.is_none().then(|| Box::new(newest.clone()));
            }
            b'k' => self
                .live
                .chart
                .next(self.live.paused.as_deref().unwrap_or(newest)),
            _ => {}
        }
        Turn::GoOn
    }
}

impl View for OnScreen<'_> {
    fn show(&mut self, picture: &Picture) -> anyhow::Result<()> {
        match self.live.paused {
            Some(_) => Ok(()),
            None => self.draw(picture),
        }
    }

    fn keys(&mut self, keys: &[u8], picture: &Picture) -> anyhow::Result<Turn> {
        // A key that sends several bytes, an arrow say, is none of ours.
        let keys = keys.split(|key| *key == ESCAPE).next().unwrap_or_default();
        for key in keys {
            let turn = self.key(*key, picture);
            if !matches!(turn, Turn::GoOn) {
                return Ok(turn);
            }
        }
        self.draw(picture)?;
        Ok(Turn::GoOn)
    }

    fn resize(&mut self, picture: &Picture) -> anyhow::Result<()> {
        self.draw(picture)
    }
}

/// The next keys; none ever without a keyboard.
///
/// # Cancel safety
///
/// Dropped before it is ready, it has taken no key.
pub(in super::super) async fn typed(keys: Option<&Keys>) -> Vec<u8> {
    let Some(keys) = keys else {
        return std::future::pending().await;
    };
    let mut buffer = [0; 64];
    loop {
        let ready = keys.readable().await;
        let mut ready = ready.expect("the runtime's I/O driver lives as long as this future");
        // Reading waits, so it must be known that there is something: somebody else may have it.
        let mut polled = [PollFd::new(keys, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut polled, Some(&now)) {
            Ok(0) | Err(Errno::INTR) => ready.clear_ready(),
            _ => match rustix::io::read(keys, &mut buffer) {
                Err(Errno::INTR) => {}
                Ok(read) if read > 0 => return buffer.get(..read).unwrap_or_default().to_vec(),
                // The terminal is gone.
                Ok(_) | Err(_) => return vec![b'q'],
            },
        }
    }
}
