//! The terminal as a context manager: it is given back as it was, on every path.

use std::io::{self, Stdout, Write as _};
use std::panic;
use std::sync::{Arc, Mutex, PoisonError};

use crossterm::cursor::{Hide, Show};
use crossterm::execute;
use crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use withal_core::{ContextManager, ExitCase};

pub(in super::super) type Screen = Terminal<CrosstermBackend<Stdout>>;

/// The whole terminal. Left in reverse: first the screen comes back, then the keyboard, and last
/// what a panic has had to say, for the other screen would have taken it away.
pub(in super::super) fn screen() -> (HeldPanics, RawMode, AlternateScreen) {
    (HeldPanics, RawMode, AlternateScreen)
}

/// Keys come as they are pressed, and are not shown.
#[derive(Debug)]
pub(in super::super) struct RawMode;

impl ContextManager for RawMode {
    type Resource = ();
    type Error = io::Error;

    fn enter(self) -> io::Result<()> {
        enable_raw_mode()
    }

    fn exit((): (), _case: ExitCase) -> io::Result<()> {
        disable_raw_mode()
    }
}

/// A second screen, so that the first one keeps its text.
#[derive(Debug)]
pub(in super::super) struct AlternateScreen;

impl ContextManager for AlternateScreen {
    type Resource = Screen;
    type Error = io::Error;

    fn enter(self) -> io::Result<Screen> {
        let screen = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    fn exit(_screen: Screen, _case: ExitCase) -> io::Result<()> {
        execute!(io::stdout(), Show, LeaveAlternateScreen)
    }
}

type Hook = Box<dyn Fn(&panic::PanicHookInfo<'_>) + Sync + Send + 'static>;

/// What panics say is kept until they can be read.
#[derive(Debug)]
pub(in super::super) struct HeldPanics;

pub(in super::super) struct Held {
    before: Hook,
    said: Arc<Mutex<String>>,
}

impl ContextManager for HeldPanics {
    type Resource = Held;
    type Error = io::Error;

    fn enter(self) -> io::Result<Held> {
        let said = Arc::new(Mutex::new(String::new()));
        let before = panic::take_hook();
        let notes = Arc::clone(&said);
        panic::set_hook(Box::new(move |info| {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            notes.push_str(&format!("{info}\n"));
        }));
        Ok(Held { before, said })
    }

    fn exit(held: Held, _case: ExitCase) -> io::Result<()> {
        panic::set_hook(held.before);
        let said = held.said.lock().unwrap_or_else(PoisonError::into_inner);
        io::stderr().write_all(said.as_bytes())
    }
}
