//! What can go wrong, and where.

use std::fmt;

/// What a step of a plan does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It succeeds.
    #[default]
    None,
    /// It fails, with an [`Injected`].
    Error,
    /// It panics. The panic hook is not called, so a test's output stays readable.
    Panic,
    /// It waits for ever. Only async steps can.
    Hang,
}

impl Fault {
    /// Every fault, none included.
    pub const ALL: [Fault; 4] = [Fault::None, Fault::Error, Fault::Panic, Fault::Hang];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Fault::None => "no fault",
            Fault::Error => "error",
            Fault::Panic => "panic",
            Fault::Hang => "hang",
        })
    }
}

/// A step of a plan. Its managers are numbered from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The enter of this manager.
    Enter(usize),
    /// The body.
    Body,
    /// The exit of this manager.
    Exit(usize),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Enter(manager) => write!(f, "enter of manager {manager}"),
            Step::Body => f.write_str("body"),
            Step::Exit(manager) => write!(f, "exit of manager {manager}"),
        }
    }
}

/// The error, or the panic, of a step that fails as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    pub(super) run: u64,
    pub(super) step: Step,
}

impl Injected {
    /// The step that failed.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }
}

impl fmt::Display for Injected {
    /// No two runs have the same text: it is searched for in what the scenario tells.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "injected into the {} (run #{})", self.step, self.run)
    }
}

impl std::error::Error for Injected {}
