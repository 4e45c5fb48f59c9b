//! What withal says, all of it on stderr, as `withal: …`.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use nix::errno::Errno;
use nix::libc;
use withal_core::Notice;

use crate::source::BadSource;

/// What stands for a secret.
pub(crate) const MASK: &str = "***";

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

    /// Whether it says what it does.
    pub(crate) fn is_talkative(self) -> bool {
        self.level >= Level::Normal
    }

    pub(crate) fn error(self, text: impl Display) {
        say(text);
    }

    pub(crate) fn warn(self, text: impl Display) {
        if self.level >= Level::Normal {
            say(text);
        }
    }

    /// Passes on what the libraries notice, with its cause, and without the place in their source.
    pub(crate) fn notice(self, notice: &Notice<'_>) {
        let mut text = notice.kind.as_str().to_owned();
        if let Some(entry) = notice.entry {
            text += &format!(": `{}`", entry.name());
        }
        if let Some(error) = notice.error {
            for cause in anyhow::Chain::new(error) {
                text += &format!(": {cause}");
            }
        }
        self.warn(text);
    }

    pub(crate) fn step(self, text: impl Display) {
        if self.level >= Level::Verbose {
            say(text);
        }
    }
}

/// Writes one message in one piece, and on one line: whatever would end it or move the cursor is
/// escaped, for names of files and processes may hold anything.
///
/// A stderr that is closed or full must not stop a teardown, so a failure to write is no failure.
pub(crate) fn say(text: impl Display) {
    let mut line = String::from("withal: ");
    escape(&text.to_string(), &mut line);
    line.push('\n');
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// Writes why something failed: on one line, but for a flaw in a file, which is shown.
pub(crate) fn say_error(error: &anyhow::Error) {
    let text = with_remedy(error);
    match error.chain().any(|cause| cause.is::<BadSource>()) {
        true => say_lines(text),
        false => say(text),
    }
}

/// Why something failed, with what to do where that is known for errors of the system.
pub(crate) fn with_remedy(error: &anyhow::Error) -> String {
    let remedy = error.chain().map(remedy_of).find(|it| !it.is_empty());
    format!("{error:#}{}", remedy.unwrap_or_default())
}

/// What to do about an error of the system that has little to do with what was tried; nothing for
/// others.
pub(crate) fn remedy_of(error: &(dyn Error + 'static)) -> &'static str {
    let code = error
        .downcast_ref::<io::Error>()
        .map(io::Error::raw_os_error);
    let code = code.unwrap_or_else(|| error.downcast_ref().map(|code: &Errno| *code as i32));
    match code {
        Some(libc::EMFILE) => "; raise the limit with `ulimit -n`",
        Some(libc::ENFILE) => "; raise the machine's limit, `sysctl fs.file-max`",
        _ => "",
    }
}

/// Writes a message of several lines in one piece.
pub(crate) fn say_lines(text: impl Display) {
    let mut lines = String::from("withal: ");
    for line in text.to_string().lines() {
        escape(line, &mut lines);
        lines.push('\n');
    }
    let _ = std::io::stderr().write_all(lines.as_bytes());
}

/// A name as it stands in messages, each byte that is no text as an escape.
pub(crate) fn shown(name: &(impl AsRef<OsStr> + ?Sized)) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        escape(chunk.valid(), &mut text);
        let invalid = chunk.invalid().iter();
        text.extend(invalid.map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

fn escape(text: &str, line: &mut String) {
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
}

/// Paths below the working directory as they are seen from it.
pub(crate) fn nearby(line: &str) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let here = shown(&here);
    match here.as_str() {
        "" | "/" => line.to_owned(),
        here => line.replace(&format!("{here}/"), ""),
    }
}
