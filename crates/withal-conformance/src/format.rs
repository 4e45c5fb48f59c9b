//! The file format: programs of nested blocks and what CPython did with them.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    #[expect(
        dead_code,
        reason = "says where the file came from; nothing depends on it"
    )]
    python: String,
    cases: Vec<Case>,
}

/// One program, and what it must leave.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The managers, outermost first.
    pub entries: Vec<Entry>,
    /// What the innermost body does.
    pub body: Body,
    /// The events, in order.
    pub log: Vec<Event>,
    /// What came out.
    #[serde(rename = "final")]
    pub outcome: Outcome,
}

/// One manager.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Whether it is used by `with` or by `async with`.
    pub kind: Kind,
    /// What its enter does.
    pub enter: Enter,
    /// What its exit does.
    pub exit: Exit,
    /// Whether an async enter and exit give way first.
    pub turns: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the file format's")]
pub enum Kind {
    Sync,
    Async,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the file format's")]
pub enum Enter {
    Ok,
    Fail,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the file format's")]
pub enum Exit {
    Ok,
    Suppress,
    Raise,
    Reraise,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names are the file format's")]
pub enum Body {
    Ok,
    Error,
}

/// One event of a run.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(tag = "event", rename_all = "lowercase", deny_unknown_fields)]
pub enum Event {
    /// The manager with this index is entered.
    Enter {
        /// Its index.
        entry: usize,
    },
    /// The body runs.
    Body,
    /// The manager with this index is exited.
    Exit {
        /// Its index.
        entry: usize,
        /// The errors it was shown, newest first.
        saw: Vec<String>,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Enter { entry } => write!(f, "enter {entry}"),
            Event::Body => write!(f, "body"),
            Event::Exit { entry, saw } => write!(f, "exit {entry} saw [{}]", saw.join(" < ")),
        }
    }
}

/// What came out of a program.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Outcome {
    /// The body's value; always true.
    Returned(bool),
    /// No value: an exit swallowed an error; always true.
    Suppressed(bool),
    /// The errors, newest first.
    Error(Vec<String>),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Returned(_) => write!(f, "returned"),
            Outcome::Suppressed(_) => write!(f, "suppressed"),
            Outcome::Error(chain) => write!(f, "error [{}]", chain.join(" < ")),
        }
    }
}

/// Reads the cases of a file.
///
/// # Errors
///
/// If the file cannot be read, is not of format 1, or holds something the format does not know.
pub fn read(path: &Path) -> Result<Vec<Case>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let file: File =
        serde_json::from_str(&text).with_context(|| format!("{shown} is not a file of cases"))?;
    ensure!(
        file.format == 1,
        "{shown} has format {}, this program reads format 1",
        file.format
    );
    for (number, case) in file.cases.iter().enumerate() {
        let known = |entry: usize| entry < case.entries.len();
        let in_range = case.log.iter().all(|event| match event {
            Event::Enter { entry } | Event::Exit { entry, .. } => known(*entry),
            Event::Body => true,
        });
        ensure!(
            in_range,
            "{shown}: case {number} logs an entry that it does not have"
        );
    }
    Ok(file.cases)
}
