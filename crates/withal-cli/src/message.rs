//! What withal says, all of it on stderr, as `withal: …`.

use std::fmt::Display;
use std::io::Write as _;

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Only why withal failed.
    Quiet,
    /// Also what it had to do by force.
    Normal,
    /// Also each step.
    Verbose,
}

/// Says things at one level.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Messages {
    level: Level,
}

impl Messages {
    pub(crate) fn new(level: Level) -> Messages {
        Messages { level }
    }

    pub(crate) fn error(self, text: impl Display) {
        say(text);
    }

    pub(crate) fn warn(self, text: impl Display) {
        if self.level >= Level::Normal {
            say(text);
        }
    }

    pub(crate) fn step(self, text: impl Display) {
        if self.level >= Level::Verbose {
            say(text);
        }
    }
}

/// Writes one message in one piece.
///
/// A stderr that is closed or full must not stop a teardown, so a failure to write is no failure.
pub(crate) fn say(text: impl Display) {
    let line = format!("withal: {text}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}
