//! What a journal tells.

use std::time::SystemTime;

use serde::Serialize;

use super::record::{Opened, Record, VERSION, Wrong, decode};
use crate::run::gates::AnyUndo;
use crate::run::identity::Process;

/// What became of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It was going to be acquired: perhaps it was.
    Intended,
    Acquired,
    /// It was going to be undone: perhaps it was.
    Releasing,
    Released,
}

#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) number: usize,
    pub(crate) name: String,
    pub(crate) undo: Option<AnyUndo>,
    pub(crate) state: State,
    pub(crate) times: GateTimes,
}

/// When what was done to a gate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateTimes {
    pub(crate) intended: SystemTime,
    pub(crate) acquired: Option<SystemTime>,
    pub(crate) releasing: Option<SystemTime>,
    pub(crate) released: Option<SystemTime>,
}

/// What a journal tells of its run.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) opened: Opened,
    pub(crate) at: SystemTime,
    pub(crate) keeper: Option<Process>,
    pub(crate) gates: Vec<Gate>,
    pub(crate) services: Vec<Process>,
    pub(crate) command: Option<Process>,
    pub(crate) commanded: Option<SystemTime>,
    pub(crate) exited: Option<SystemTime>,
    /// What went wrong each time that somebody tried to undo it.
    pub(crate) attempts: Vec<Vec<String>>,
    pub(crate) is_closed: bool,
    /// The number of the next line, and where it begins: what is after it is torn.
    pub(crate) next: u64,
    pub(crate) length: u64,
}

/// What there is to read.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Nothing, or not one whole line: a run that was about to begin.
    Empty,
    Whole(Box<Story>),
    /// It cannot be trusted: why.
    Damaged(String),
}

/// Reads a journal. What follows the last whole line was being written when its writer died.
pub(crate) fn read(bytes: &[u8]) -> Reading {
    let mut story: Option<Box<Story>> = None;
    let mut position = 0;
    let mut lines = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .enumerate()
        .peekable();
    while let Some((index, line)) = lines.next() {
        let is_last = lines.peek().is_none();
        let whole = line.strip_suffix(b"\n").unwrap_or(line);
        let n = u64::try_from(index).unwrap_or(u64::MAX);
        let (record, at) = match decode(n, whole) {
            Ok(record) if line.len() > whole.len() => record,
            // Without its end of line it may go on.
            Ok(_) | Err(Wrong::Checksum) if is_last && line.len() == whole.len() => break,
            Ok(_) | Err(Wrong::Checksum) => return damaged(index, "its checksum is wrong"),
            Err(Wrong::Meaning) => {
                return damaged(index, "another version of withal wrote it, or nobody did");
            }
            Err(Wrong::Number) => return damaged(index, "it belongs elsewhere"),
        };
        match (&mut story, record) {
            (None, Record::Open(opened)) if opened.version == VERSION => {
                story = Some(Box::new(Story::new(opened, at)));
            }
            (None, Record::Open(_)) => return damaged(index, "another version of withal wrote it"),
            (Some(story), record) => {
                if !story.tell(record, at) {
                    return damaged(index, "it does not follow from those before it");
                }
            }
            (None, _) => return damaged(index, "the first line does not say which run it is"),
        }
        position += line.len();
        if let Some(story) = &mut story {
            story.next = n + 1;
            story.length = u64::try_from(position).unwrap_or(u64::MAX);
        }
    }
    story.map_or(Reading::Empty, Reading::Whole)
}

fn damaged(index: usize, why: &str) -> Reading {
    Reading::Damaged(format!("line {}: {why}", index + 1))
}

impl Story {
    fn new(opened: Opened, at: SystemTime) -> Story {
        Story {
            opened,
            at,
            keeper: None,
            gates: Vec::new(),
            services: Vec::new(),
            command: None,
            commanded: None,
            exited: None,
            attempts: Vec::new(),
            is_closed: false,
            next: 0,
            length: 0,
        }
    }

    /// Whether the record makes sense here.
    fn tell(&mut self, record: Record, at: SystemTime) -> bool {
        match record {
            Record::Open(_) => return false,
            Record::Keeper { process } => self.keeper = Some(process),
            Record::Intent { gate, name, undo } => {
                if gate != self.gates.len() {
                    return false;
                }
                self.gates.push(Gate {
                    number: gate,
                    name,
                    undo,
                    state: State::Intended,
                    times: GateTimes {
                        intended: at,
                        acquired: None,
                        releasing: None,
                        released: None,
                    },
                });
            }
            Record::Acquired { gate, undo } => {
                let Some(gate) = self.gates.get_mut(gate) else {
                    return false;
                };
                gate.state = State::Acquired;
                gate.times.acquired = Some(at);
                if undo.is_some() {
                    gate.undo = undo;
                }
            }
            Record::Service { process } => self.services.push(process),
            Record::Command { process, .. } => {
                self.command = Some(process);
                self.commanded = Some(at);
            }
            Record::Exited { .. } => self.exited = Some(at),
            Record::Releasing { gate } => return self.set(gate, State::Releasing, at),
            Record::Released { gate } => return self.set(gate, State::Released, at),
            Record::Attempt { errors, .. } => self.attempts.push(errors),
            Record::Closed { .. } => self.is_closed = true,
        }
        true
    }

    fn set(&mut self, gate: usize, state: State, at: SystemTime) -> bool {
        let Some(gate) = self.gates.get_mut(gate) else {
            return false;
        };
        gate.state = state;
        match state {
            State::Released => gate.times.released = Some(at),
            _ => gate.times.releasing = Some(at),
        }
        true
    }

    /// What is still to be undone, newest first.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &Gate> {
        let gates = self.gates.iter().rev();
        gates.filter(|gate| gate.undo.is_some() && gate.state != State::Released)
    }
}
